"""`shoestring tour`."""
