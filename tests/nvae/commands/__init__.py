"""Tests of shoestring.nvae.commands."""
