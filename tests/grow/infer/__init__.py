"""Tests of shoestring.grow.infer."""
