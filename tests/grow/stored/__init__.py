"""Tests of shoestring.grow.stored."""
