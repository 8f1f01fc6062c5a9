"""What many tests share: the real data where it is at hand, and a command-line runner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# A shell without job control starts what follows with `&` deaf to Ctrl-C, and we and our processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a GPU, Triton's kernels are interpreted; Triton asks when it is first imported, whoever does that.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Shapes in signatures are checked in tests; Triton reads the kernels itself.
CHECKED = ("attention", "blocks", "heads", "modeling", "positions")
MIXING = (
    "cache", "call", "chunked", "core", "dropout", "eager", "function", "fused", "head_mixes", "masks", "mix", "module",
    "written_out",
)  # fmt: skip
install_import_hook(
    [
        *(f"shoestring.transformer.model.{name}" for name in CHECKED),
        "shoestring.transformer.rank.measure",
        *(f"shoestring.transformer.talking_heads.{name}" for name in MIXING),
        "shoestring.lm.weights.quantize",
        "shoestring.match.training.cosent",
        *(
            f"shoestring.nvae.model.{name}"
            for name in ("cells", "flows", "layers", "likelihoods", "modeling", "normal", "towers")
        ),
    ],
    "beartype.beartype",
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


LEFT_OUT = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data beside the checkout: for tests in addition, which are left out without it."""
    return DATA


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what wants real data that is not there."""
    left = [] if DATA.is_dir() else [item for item in items if "data" in getattr(item, "fixturenames", ())]
    config.stash[LEFT_OUT] = getattr(config, "workeroutput", {})["left out"] = len(left)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Hears from a worker of xdist what it left out; each leaves out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left out", 0)


@pytest.fixture
def shoestring(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the real command in a fresh process, in an empty folder."""

    def run(*arguments: object, timeout: float = 300, **settings) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "shoestring", *map(str, arguments)]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=timeout, **settings
        )

    return run


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user may reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Callable:
    """Permissions count in this block even for root, who becomes nobody."""

    @contextmanager
    def dropped() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return dropped


def pytest_terminal_summary(terminalreporter) -> None:
    """Ends a run with what was not run and why: a green run says what it has not looked at."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] = reasons.get(reason.removeprefix("Skipped: "), 0) + 1
    if left := 0 if DATA.is_dir() else terminalreporter.config.stash.get(LEFT_OUT, 0):
        reasons["more tests, on real data: the folder of real data is not beside this checkout"] = left
    if reasons:
        terminalreporter.section("skipped, and why")
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
            terminalreporter.line(f"{count:4}  {reason}")
