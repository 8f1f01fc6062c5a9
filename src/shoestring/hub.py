"""Hugging Face folders: config.json, safetensors, tokenizer files and a model card, written as one.

- `save` replaces a model in one rename and carries over what else lies in the folder, such as a run's log.
- `load` refuses what the Auto classes let pass with a warning: weights that the head needs and are missing.
- `located` finds a MODEL: a folder, or `hf:OWNER/NAME`, which alone goes to the network.
- `require_model_folder` tells in one line why a folder is not a model, before anything heavy is imported.

Under several processes only the first one writes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoestring import __version__
from shoestring._errors import InputError, OptionError, OutputError
from shoestring._extras import require
from shoestring.files import atomic_folder
from shoestring.files.sources import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def is_main_process() -> bool:
    """Tells whether this is the first process of `torchrun` or `accelerate launch`, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def save(
    folder: str | os.PathLike[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    card: str | None = None,
) -> None:
    """Writes a model, its tokenizer and its card; weights that the folder had are replaced, other files stay.

    Args:
        folder: made if it is not there; the folder around it must exist.
        model: saved as safetensors.
        tokenizer: saved beside it.
        card: becomes README.md; see `model_card`.

    Raises:
        OutputError: the folder cannot be written; what it had is untouched.
    """
    if not is_main_process():
        return
    old = Path(os.path.realpath(folder))
    with atomic_folder(old, overwrite=True) as draft:
        _write(model, draft, folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(draft)
        if card is not None:
            (draft / "README.md").write_text(card, "utf-8")
        _carry_over(old, draft)


def stamp() -> dict[str, str]:
    """Returns the version of transformers for a config.json made here; beside an older one it doubts the tokenizer."""
    return {"transformers_version": metadata.version("transformers")}


@contextmanager
def silenced() -> Iterator[None]:
    """Keeps transformers' progress bars and remarks off the screen."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def model_card(
    title: str,
    summary: str,
    *,
    tags: Sequence[str] = (),
    language: Sequence[str] = (),
    license: str | None = None,
    facts: Mapping[str, object] | None = None,
    example: str | None = None,
) -> str:
    """Returns a README.md with the front matter that the Hugging Face hub reads.

    Args:
        title: the heading.
        summary: what the model is and what it was trained on.
        tags: such as `fill-mask`.
        language: codes such as `zh`.
        license: an SPDX name.
        facts: become a table.
        example: Python code that uses the model.

    >>> print(model_card("nano", "A small encoder.", language=["zh"]).splitlines()[1])
    library_name: "transformers"
    """
    front = {
        "library_name": "transformers",
        "license": license,
        "language": list(language),
        "tags": ["shoestring", *tags],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items() if value]
    parts = ["---", *lines, "---", "", f"# {title}", "", summary, ""]
    if facts:
        parts += [
            "| | |",
            "|---|---|",
            *(f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()),
            "",
        ]
    if example:
        parts += ["```python", example.strip(), "```", ""]
    return "\n".join([*parts, f"Made with shoestring {__version__}.", ""])


def located(model: str | os.PathLike[str]) -> Path:
    """Returns where a MODEL lies on this machine; only a name that starts with `hf:` is looked for on the hub.

    Args:
        model: a folder or file that exists, or `hf:OWNER/NAME`, `hf:NAME` for the hub's oldest.

    Raises:
        InputError: there is no such folder (a near name is suggested), or the hub has no such model.
        ExtraMissing: huggingface_hub is not installed.
    """
    name = os.fspath(model)
    if name.startswith("hf:"):
        return _downloaded(name)
    if os.path.exists(name):
        return Path(name)
    if os.path.lexists(name):
        raise InputError(f"{name}: is a link to {os.readlink(name)}, which does not exist")
    near = nearest(name)
    hub_name = re.fullmatch(r"(?:[\w.-]+/)?[\w.-]+", name) and not name.startswith(".")
    hint = f"; for a model on the hub, type hf:{name}" if hub_name else ""
    raise InputError(f"{name}: no such folder{f'; did you mean {near}?' if near else ''}{hint}")


def require_model_folder(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a folder that holds a whole model.

    Args:
        path: what `located` takes.

    Raises:
        InputError: it does not; the message says what is there instead and what to type.
    """
    folder = located(path)
    if not folder.is_dir():
        raise InputError(f"{path}: is a file; give the folder around config.json and model.safetensors")
    names = sorted(os.listdir(folder))
    if "config.json" not in names:
        raise InputError(f"{path}: not a model folder, {_instead(names)}")
    _require_config(folder / "config.json")
    if not any(name in names for name in WEIGHTS):
        raise InputError(f"{path}: has config.json but no weights; model.safetensors is missing")
    for weights in folder.glob("*.safetensors"):
        _require_whole(weights)
    return folder


def load(path: str | os.PathLike[str], head: str | None = None) -> PreTrainedModel:
    """Loads a model, ready to be used.

    Args:
        path: a model folder.
        head: what follows `AutoModelFor`, such as `MaskedLM`; None loads the bare model.

    Raises:
        InputError: no model folder, or weights that this head needs are not in it or of another size.
        OptionError: there is no such head, or not for this kind of model.
    """
    return load_and_rest(path, head)[0]


def load_and_rest(path: str | os.PathLike[str], head: str | None = None) -> tuple[PreTrainedModel, list[str]]:
    """As `load`; and returns the names of weights in the folder that are not the model's."""
    folder = require_model_folder(path)
    require("train", "torch", "safetensors")
    transformers: Any = require("train", "transformers")
    name = f"AutoModelFor{head}" if head else "AutoModel"
    auto = getattr(transformers, name, None)
    if auto is None:
        raise OptionError(f"head {head!r}: transformers has no {name}; try MaskedLM or CausalLM")
    try:
        with silenced():
            model, found = auto.from_pretrained(
                folder, output_loading_info=True, local_files_only=True, ignore_mismatched_sizes=True
            )
    except ValueError as error:
        raise OptionError(f"{path}: cannot be loaded as {name}: {_first_line(error)}") from error
    except RuntimeError as error:
        if "conversion of the weights" not in str(error):  # into one, of experts; memory may be short, too
            raise
        raise InputError(
            f"{path}: weights are missing or of another size than config.json says; copy it again"
        ) from error
    for key, stored, wanted in sorted(found["mismatched_keys"]):
        raise InputError(f"{path}: {key} is {tuple(stored)}, but config.json says {tuple(wanted)}")
    missing = sorted(
        key for key in found["missing_keys"] if head or "pooler" not in key
    )  # BERT's, seldom used
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise InputError(
            f"{path}: lacks {missing[0]}{more}, which {name} needs; load it as what it was saved as"
        )
    return model, sorted(found["unexpected_keys"])


def load_tokenizer(path: str | os.PathLike[str]) -> Any:
    """Loads the tokenizer of a model folder or of a folder of its own.

    Raises:
        InputError: there is none.
    """
    folder = Path(path)
    if not any(
        (folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    ):
        raise InputError(f"{path}: has no tokenizer; tokenizer.json is missing")
    transformers: Any = require("train", "transformers")
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _downloaded(name: str) -> Path:
    hub: Any = require("train", "huggingface_hub")
    try:
        return Path(hub.snapshot_download(name.removeprefix("hf:"), etag_timeout=10))
    except (OSError, ValueError) as error:  # its own errors are of these kinds
        cause = _first_line(error).strip()
        raise InputError(
            f"{name}: cannot be had from the hub: {cause}; download it, and give its folder"
        ) from error
    except RuntimeError as error:  # httpx's, without a network
        raise InputError(
            f"{name}: the hub cannot be reached ({_first_line(error)}); give a folder"
        ) from error


def _write(model: PreTrainedModel, draft: Path, folder: object) -> None:
    from safetensors import SafetensorError

    try:
        with silenced():
            model.save_pretrained(draft)
    except SafetensorError as error:  # its own name for a full disk
        raise OutputError(f"{folder}: cannot be written: {_first_line(error)}") from error
    usual = stat.S_IMODE((draft / "config.json").stat().st_mode)
    for weights in draft.glob("*.safetensors"):  # which safetensors lets only their owner read
        weights.chmod(usual)


def _carry_over(old: Path, draft: Path) -> None:
    """Links what a save does not replace into the new folder, so that nothing is lost if it fails halfway."""
    for entry in old.iterdir() if old.is_dir() else ():
        weights = entry.name in WEIGHTS or entry.suffix == ".safetensors"
        if weights or (draft / entry.name).exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, draft / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(entry, draft / entry.name)


def _link(source: str | Path, target: str | Path) -> None:
    with suppress(OSError):
        os.link(source, target, follow_symlinks=False)
        return
    shutil.copy2(source, target, follow_symlinks=False)  # a file system without links


def _instead(names: Sequence[str]) -> str:
    if "checkpoints" in names:
        return "but a training run that has not finished; run the same command again, and it goes on"
    if "tokenizer.json" in names:
        return "but a tokenizer; give the folder that the model was saved in"
    if not names:
        return "it is empty"
    some = ", ".join(names[:3]) + (", ..." if names[3:] else "")
    return f"config.json is missing (it has {some}); give the folder that the model was saved in"


def _require_config(path: Path) -> None:
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({_first_line(error)}); save the model again") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{path}: has no model_type, so it is not the configuration of a Hugging Face model")


def _require_whole(path: Path) -> None:
    """Compares a safetensors file's length with its header: 8 bytes n, n bytes of JSON, the tensors."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: damaged, its header cannot be read; copy or save it again") from error
    whole = 8 + length + max(ends, default=0)
    if whole != size:
        raise InputError(
            f"{path}: damaged, {size:,} bytes where its header says {whole:,}; copy or save it again"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
