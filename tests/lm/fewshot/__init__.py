"""Tests of shoestring.lm.fewshot."""
