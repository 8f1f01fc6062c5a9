"""The family: configuration, blocks, heads."""
