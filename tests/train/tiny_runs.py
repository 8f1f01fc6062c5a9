"""Tiny models and examples, and what a run of them left.

Run as a script, this file trains once: `python tiny_runs.py OUTPUT '{"settings": {...}, ...}'`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from shoestring.train import TrainSettings, fit
from shoestring.ui import UI

QUIET = UI(quiet=True)
VOCABULARY = 60
SMALL = {"steps": 12, "batch_size": 8, "save_every": 4, "log_every": 3}


def tiny(kind: str = "bert", dropout: float = 0.0, seed: int = 0):
    """A model from its configuration: bert ignores num_items_in_batch, gpt2 shifts its labels."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    if kind == "bert":
        return BertForMaskedLM(
            BertConfig(
                vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=32, max_position_embeddings=16, hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )  # fmt: skip
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=16, resid_pdrop=dropout,
        embd_pdrop=dropout, attn_pdrop=dropout, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


class Examples:
    """Example k has 1 to 9 targets; at example `at`, `happens` happens."""

    def __init__(self, count: int = 96, at: int | None = None, happens=None) -> None:
        self.count, self.at, self.happens, self.seen = count, at, happens, []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> dict:
        import torch

        self.seen.append(k)
        if k == self.at:
            self.happens()
        generator = torch.Generator().manual_seed(k)
        ids = torch.randint(1, VOCABULARY, (12,), generator=generator)
        labels = torch.where(torch.arange(12) > 1 + 2 * (k % 5), -100, ids)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def weights(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


def losses(log: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in map(json.loads, log.open()) if "loss" in line}


def stop():
    raise KeyboardInterrupt


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def main(output: str, given: dict) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    settings = TrainSettings(**given["settings"])
    examples = Examples(settings.examples, at=given.get("kill_at"), happens=kill)
    evaluate = Examples(given["evaluate"]) if "evaluate" in given else None
    model = tiny(dropout=given.get("dropout", 0.0))
    history = fit(model, examples, settings, output, eval_examples=evaluate, ui=QUIET)
    if os.environ.get("RANK", "0") == "0":
        print(
            json.dumps(
                {
                    "losses": history.losses,
                    "eval_losses": history.eval_losses,
                    "resumed_from": history.resumed_from,
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
