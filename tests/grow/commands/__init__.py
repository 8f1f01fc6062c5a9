"""Tests of shoestring.grow.commands."""
