"""`python -m shoestring.relay` is the relay without the rest of shoestring."""

from shoestring.relay.commands.main import main

main()
