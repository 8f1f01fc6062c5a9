"""Tests of shoestring.lm.serve."""
