"""Exact word frequencies of a huge corpus."""
