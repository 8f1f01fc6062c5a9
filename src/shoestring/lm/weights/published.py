"""Whether shards are the files that CPM-LM was published as; they are hashed beside the conversion, not before it.

One pass over each file gives both digests that were published, SHA-1 and MD5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from shoestring._errors import InputError

FILES = {  # name -> digests; CPM-LM 2.6B, 2020
    "mp_rank_00_model_states.pt": {
        "SHA-1": "71d6b6ad4f47b46724eb82c05da8fb9175e62a7d",
        "MD5": "f3f6d2f7d84c6a45290a31dabf79ddac",
    },
    "mp_rank_01_model_states.pt": {
        "SHA-1": "42aa247a262e2011fa5e276f1a8389fad6d80edc",
        "MD5": "b0e960be4b5226e759ae6fc5246f9160",
    },
}
_BLOCK = 1 << 22


@contextmanager
def checking(files: Sequence[Path]) -> Iterator[Future[None]]:
    """Hashes files in a thread while the block runs; the future raises what `require_published` does."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(require_published, files, stop)
        try:
            yield future
        finally:
            stop.set()


def require_published(files: Sequence[Path], stop: Event | None = None) -> None:
    """Raises InputError if a file's digests are not the published ones; returns early once `stop` is set."""
    for file in files:
        found = _digests(file, stop)
        for kind, wanted in FILES[file.name].items():
            if found is not None and found[kind] != wanted:
                raise InputError(
                    f"{file}: {kind} {found[kind]}, but CPM-LM was published with {wanted}; download it again, or "
                    "pass --unpublished if these are weights of your own"
                )


def _digests(file: Path, stop: Event | None) -> dict[str, str] | None:
    digests = {
        "SHA-1": hashlib.sha1(usedforsecurity=False),
        "MD5": hashlib.md5(usedforsecurity=False),
    }
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            if stop is not None and stop.is_set():
                return None
            for digest in digests.values():
                digest.update(block)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}
