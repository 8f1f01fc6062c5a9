"""Tests of shoestring.lm.commands."""
