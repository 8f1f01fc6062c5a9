"""Training a bi-encoder or a cross-encoder."""
