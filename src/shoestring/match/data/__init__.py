"""Labelled pairs, and what two sets have in common."""
