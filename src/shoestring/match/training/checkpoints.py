"""Checkpoints of a training run: whole or not there, and the best one found again wherever the folder lies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from shoestring._errors import OutputError, TrainError
from shoestring.files.atomic import flush, sync_folder
from shoestring.train.tensor_files import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, LOSS = "model.safetensors", "loss."
PARTIAL = ".partial"  # what is being written; nothing reads it


def newest(folder: Path) -> str | None:
    """Returns the last checkpoint of a run, or None where there is none yet."""
    return str(max(_all(folder), key=_step)) if _all(folder) else None


class Checkpoints:
    """What a trainer of sentence-transformers stores and reads again.

    - The weights as they are in memory, so frozen layers that are not there are no matter, and those that the loss has
      beside the model's, such as the classifier of softmax.
    - Each is written aside and renamed when it is whole; the best and the last are kept.
    """

    model: Any
    loss: Any
    args: Any
    state: Any
    accelerator: Any

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            **self.model.state_dict(),
            **{LOSS + name: each for name, each in self._of_the_loss().items()},
        }
        save_tensors(
            {name: each.detach().clone().contiguous() for name, each in weights.items()}, folder / WEIGHTS
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        try:
            self._first_only(lambda: shutil.rmtree(folder / PARTIAL, ignore_errors=True))
            super()._save_checkpoint(model, trial)  # pyrefly: ignore
            self._first_only(lambda: _publish(folder, self.state.global_step, self.state.best_global_step))
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have their own
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)
            why = getattr(error, "strerror", None) or "disk full?"
            raise OutputError(
                f"{folder}: cannot save step {self.state.global_step}: {why}; earlier checkpoints are whole, make room "
                "and run the same command to go on"
            ) from error

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / PARTIAL)

    def _first_only(self, work: Any) -> None:
        """Lets the main process work when all have come here, and the others wait."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            work()
        self.accelerator.wait_for_everyone()

    def _of_the_loss(self) -> dict[str, Tensor]:
        return {name: each for name, each in self.loss.state_dict().items() if not name.startswith("model.")}

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """The card is ours."""

    def take_best(self) -> None:
        """Takes the weights of the best step by its number: a path that was stored may be another one today.

        Raises:
            TrainError: they are gone.
        """
        best = _named(Path(self.args.output_dir), self.state.best_global_step)
        if not (best / WEIGHTS).is_file():
            raise TrainError(f"{best}: the best step of this run is gone; start again with --overwrite")
        self._load_from_checkpoint(str(best))

    def _load_from_checkpoint(self, checkpoint_path: str, *_: Any) -> None:
        weights = load_file(Path(checkpoint_path) / WEIGHTS)
        own = {name: weights.pop(LOSS + name) for name in self._of_the_loss()}
        self.model.load_state_dict(weights)
        self.loss.load_state_dict(own, strict=False)  # the model's are there already


def _publish(folder: Path, step: int, best: int | None) -> None:
    written = _named(folder / PARTIAL, step)
    flush(written)
    shutil.rmtree(_named(folder, step), ignore_errors=True)
    written.rename(_named(folder, step))
    sync_folder(folder)
    for each in _all(folder):
        if _step(each) not in (step, best):
            shutil.rmtree(each, ignore_errors=True)


def _named(folder: Path, step: int | None) -> Path:
    return folder / f"checkpoint-{step}"


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _all(folder: Path) -> list[Path]:
    return list(folder.glob("checkpoint-*"))
