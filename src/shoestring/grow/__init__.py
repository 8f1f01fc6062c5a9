"""Enlarging a trained Transformer without changing what it computes, with proof."""
