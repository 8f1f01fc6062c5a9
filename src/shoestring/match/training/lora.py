"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685) by peft: few weights are trained, and then merged.

The folder that is written is a plain model, as large as without; what gets small is the optimiser's memory and the
checkpoints' share that changes. A head that starts from nothing is trained whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shoestring._errors import OptionError
from shoestring._extras import require


@contextmanager
def adapted(model: Any, rank: int) -> Iterator[None]:
    """Trains low-rank additions to all linear layers of the encoder while the block lasts; merges them at its end.

    Args:
        model: a SentenceTransformer or CrossEncoder.
        rank: of the additions, whose scale is 2; 0 trains the weights themselves.

    Raises:
        OptionError: no matrix has such a rank, or peft finds no linear layer.
    """
    if not rank:
        yield
        return
    peft: Any = require("lora", "peft")
    base = model.transformers_model.base_model
    most = max(min(each.shape) for each in base.parameters() if each.ndim == 2)
    if rank > most:
        raise OptionError(
            f"lora {rank}: no matrix of {type(base).__name__} has more than rank {most}; 8 to 32 are usual"
        )
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.05, target_modules="all-linear")
    still = [name for name, each in base.named_parameters() if not each.requires_grad]
    try:
        tuner = peft.LoraModel(base, settings, "default")
    except ValueError as error:
        raise OptionError(
            f"lora {rank}: peft has none for {type(base).__name__} ({str(error).splitlines()[0]}); leave it out"
        ) from error
    try:
        yield
    finally:
        tuner.merge_and_unload()
        for name, each in base.named_parameters():
            each.requires_grad_(name not in still)
