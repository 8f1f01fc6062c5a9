"""What `benchmarks/lm.py` measures at CPM's width: checkpoints to measure on, and one file for each part."""
