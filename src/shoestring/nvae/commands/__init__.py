"""`shoestring nvae`, one file for each subcommand."""
