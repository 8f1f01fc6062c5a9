"""Grow a trained model to twice its width without changing what it computes, then see that it is so.

    python examples/grow_a_model.py

For a model of yours the same is: shoestring grow FOLDER BIGGER --hidden 2x. Expected output (seconds):

    llama (explicit rule, head tied)
    0.12 M -> 0.41 M parameters, 0.000 GB -> 0.002 GB
    exact    hidden 64 -> 128: whole copies keep mean, variance and eps of every norm
    ...
      fp64: the rules                  max difference 1.1e-15 of outputs up to 1.37
    ...
    exact    hidden 64 -> 80: copies scaled so that the mean square stays, so RMSNorm's gain and eps do
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from shoestring.grow import Request, grow, planned


def random_llama(folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = random_llama(folder / "small")
        report = grow(source, folder / "big", Request(hidden="2x"))
        print("\n".join(report.lines()))
        plan = planned(source, Request(hidden="80", heads="1x", kv_heads="1x", ffn="1x"))
        print("exact   ", *plan.exact)


if __name__ == "__main__":
    main()
