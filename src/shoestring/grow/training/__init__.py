"""Training on: optimizer moments, and when growing pays."""
