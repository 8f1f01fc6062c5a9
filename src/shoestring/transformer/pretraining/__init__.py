"""Pre-training: packed blocks, objectives, the run."""
