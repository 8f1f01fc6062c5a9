"""`shoestring lm`, one file for each kind of command; each is a thin shell over its function."""
