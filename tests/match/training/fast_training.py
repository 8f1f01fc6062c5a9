"""A run that takes a second."""

from __future__ import annotations

from shoestring.match.training.settings import Training

FAST = Training(epochs=1, learning_rate=2e-3, max_length=16, batch_size=32, device="cpu", precision="fp32")
