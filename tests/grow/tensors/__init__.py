"""Tests of shoestring.grow.tensors."""
