"""Tests of shoestring.nvae.model."""
