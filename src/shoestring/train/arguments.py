"""Our settings in the Trainer's form: which device, which precision, and every automatism of its own off."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import TrainingArguments

from shoestring._errors import OptionError
from shoestring.train.settings import TrainSettings


def device_of(settings: TrainSettings) -> str:
    """Returns cpu, cuda or mps.

    Raises:
        OptionError: this machine does not have it.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [name for name, ok in here.items() if ok]
    if settings.device == "auto":
        return available[0]
    if settings.device not in available:
        raise OptionError(f"device {settings.device!r} is not on this machine; it has {', '.join(available)}")
    return settings.device


def half(settings: TrainSettings, device: str) -> bool:
    """Tells whether a run computes in bf16: where it was asked for, or where the device has it natively."""
    if settings.precision != "auto":
        return settings.precision == "bf16"
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def arguments(settings: TrainSettings, folder: Path, processes: int) -> TrainingArguments:
    """Returns the Trainer's form of our settings, with every automatism of its own off."""
    device = device_of(settings)
    size, passes = settings.micro_batches(processes)
    values = TrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=passes,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.clip,
        seed=settings.seed,
        use_cpu=device == "cpu",
        ddp_backend="gloo" if device == "cpu" and processes > 1 else None,
        bf16=half(settings, device),
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
    )
    values._n_gpu = 1  # several devices are for torchrun, never for torch's DataParallel
    return values
