"""Checkpoints in and out: CPM's shards, Hugging Face folders, int8 and int4, GGUF."""
