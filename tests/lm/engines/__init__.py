"""Tests of shoestring.lm.engines."""
