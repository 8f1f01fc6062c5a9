"""`python -m shoestring` is the `shoestring` command."""

from shoestring.cli import main

main()
