"""Transformers whose key size is free."""
