"""Tests of shoestring.lm.weights."""
