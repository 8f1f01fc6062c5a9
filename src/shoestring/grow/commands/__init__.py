"""`shoestring grow`, one file for each subcommand."""
