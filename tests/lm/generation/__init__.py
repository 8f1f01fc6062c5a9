"""Tests of shoestring.lm.generation."""
