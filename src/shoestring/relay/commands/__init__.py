"""`shoestring relay`, one file for each subcommand."""
