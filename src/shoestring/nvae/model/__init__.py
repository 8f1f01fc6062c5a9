"""The network and its distributions."""
