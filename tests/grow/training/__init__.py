"""Tests of shoestring.grow.training."""
