"""Checkpoints as they lie on disk, read tensor by tensor."""
