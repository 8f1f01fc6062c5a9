"""Tests of shoestring.nvae.images."""
