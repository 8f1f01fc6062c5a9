"""`shoestring match`, one file for each subcommand."""
