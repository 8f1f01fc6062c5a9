"""The effective rank of attention, measured and drawn."""
