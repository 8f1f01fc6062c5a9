"""Tests of shoestring.grow.prove."""
