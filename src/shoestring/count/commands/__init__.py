"""`shoestring count`, one file for each subcommand."""
