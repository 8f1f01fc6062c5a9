"""Tests of shoestring.grow.plan."""
