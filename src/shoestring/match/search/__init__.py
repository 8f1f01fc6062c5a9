"""Texts found by meaning: a folder index, Qdrant, hits."""
