"""Tests of shoestring.nvae.training."""
