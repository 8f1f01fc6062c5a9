"""Tests of shoestring.nvae.inference."""
