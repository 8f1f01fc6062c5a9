"""Every command, misused in every way: each must end in one line (or its help) and the right exit code.

    python tools/misuse.py            all of it; minutes
    python tools/misuse.py --fast     a sample, in a minute, as `make test` runs it

A command is found from the tables of verbs, so that a new one is misused too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import click

from shoestring.cli import VERBS, command

BASE = ("click", "rich", "tqdm", "markdown_it", "mdurl", "pygments")
WITHOUT_EXTRAS = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {BASE!r} + ("shoestring", "sitecustomize") or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
LOW_MEMORY = 400 << 20
INTERRUPTED_AFTER = 1.0


@dataclass(frozen=True)
class Case:
    """One misuse of one command."""

    words: tuple[str, ...]  # what is typed after `shoestring`
    way: str
    codes: frozenset[int]
    lines: int | None = 1  # on stderr; None: any number, such as a help
    settings: dict[str, str] = field(default_factory=dict, hash=False)
    shut: bool = False  # stdout is a pipe that nobody reads
    powerless: bool = False  # root's right to read everything is taken away
    memory: int | None = None
    interrupted: bool = False


def commands() -> Iterator[tuple[tuple[str, ...], click.Command | None]]:
    """Yields what is typed and the click command, None for the relay's, which does without click."""
    for verb in VERBS:
        found = command(verb)
        if not isinstance(found, click.Command):
            from shoestring.relay.commands.main import VERBS as relay

            yield from (((verb, each), None) for each in relay)
            continue
        yield (verb,), getattr(found, "own", None) or found
        yield from (((verb, name), each) for name, each in getattr(found, "commands", {}).items())


def cases(folder: Path) -> Iterator[Case]:
    """Yields every misuse of every command."""
    (folder / "secret").mkdir(mode=0o000)
    (folder / "absent").mkdir()
    (folder / "absent" / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    usage = frozenset([2])
    for words, each in commands():
        group = isinstance(each, click.Group)
        # a command that writes a folder makes what is not there
        failed = frozenset([0, 1, 2]) if words == ("examples",) else frozenset([1, 2])
        yield Case((*words, "--help"), "help in ASCII", frozenset([0]), 0, {"PYTHONIOENCODING": "ascii"})
        yield Case((*words, "--help"), "closed pipe", frozenset([0]), 0, shut=True)
        yield Case((*words, "--no-such-option"), "unknown option", usage)
        if group or each is None:
            continue
        if any(parameter.required for parameter in each.params):
            yield Case(words, "no arguments", usage, None)
        if any(given.required and not isinstance(given.type, click.Choice) for given in each.params):
            for way, given, settings in (
                ("wrong path", "no-such-thing", {}),
                ("a folder for a file", ".", {}),
                ("Chinese path in GBK", "没有😀", {"PYTHONIOENCODING": "gbk"}),
                ("without extras", "no-such-thing", {"PYTHONPATH": "absent"}),
            ):
                codes = frozenset([0, 1, 2]) if given == "." else failed
                alone = None if given == "." or 0 in failed else 1
                yield Case(filled(words, each, given), way, codes, alone, settings)
            yield Case(filled(words, each, "secret"), "no permission", failed, powerless=True)
            yield Case(filled(words, each, "no-such-thing"), "low memory", failed, memory=LOW_MEMORY)
            yield Case(filled(words, each, "no-such-thing"), "Ctrl-C", failed | {130}, interrupted=True)
        for option in each.params:
            if isinstance(option, click.Option) and isinstance(option.type, click.Choice):
                yield Case((*words, option.opts[-1], "no-such-choice"), "unknown choice", usage)
                break


def filled(words: tuple[str, ...], each: click.Command, given: str) -> tuple[str, ...]:
    """Returns a command line whose required arguments are all there; paths are the given one."""
    out = [*words, "-q"]
    for parameter in each.params:
        if not parameter.required:
            continue
        value = given
        if isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        elif parameter.type in (click.INT, click.FLOAT):
            value = "1"
        elif isinstance(parameter, click.Option) and "--output" in parameter.opts:
            value = "out"
        out += (
            [parameter.opts[0], value]
            if isinstance(parameter, click.Option)
            else [value] * max(1, parameter.nargs)
        )
    return tuple(out)


def wrong(case: Case, folder: Path) -> str | None:
    """Runs a case in a process of its own and returns what is wrong with how it ended."""
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", **case.settings}
    if "PYTHONPATH" in case.settings:
        settings["PYTHONPATH"] = os.pathsep.join([str(folder / "absent"), os.environ.get("PYTHONPATH", "")])
    reader, writer = os.pipe()
    if case.shut:
        os.close(reader)
    line = [sys.executable, "-m", "shoestring", *case.words]
    if case.memory:
        line = ["prlimit", f"--as={case.memory}", *line]
    if case.powerless:
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    process = subprocess.Popen(
        line, cwd=folder, env=settings, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace", stdout=writer if case.shut else subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    if not case.shut:
        os.close(reader)
    if case.interrupted:
        time.sleep(INTERRUPTED_AFTER)
        process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=120)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return "still running after 120 s"
    lines = [each for each in said.splitlines() if each.strip()]
    if "Traceback" in said:
        return f"a traceback: {lines[-1]}"
    code = process.returncode
    if code == -signal.SIGINT and said.startswith("Interrupted"):
        code = 130  # what a shell shows; CPython ends so where Ctrl-C met an eval(), such as a namedtuple's
    if code not in case.codes:
        return f"exit code {code}: {' '.join(lines)[:200]}"
    if case.lines is not None and len(lines) != case.lines and not (case.interrupted and not lines):
        return f"{len(lines)} lines: {' / '.join(lines)[:300]}"
    return None


def possible(case: Case) -> bool:
    """Tells whether this machine can misuse a command so."""
    if case.memory:
        return shutil.which("prlimit") is not None
    return not case.powerless or (os.geteuid() == 0 and shutil.which("setpriv") is not None)


def sample(every: list[Case]) -> list[Case]:
    """Returns a few of every way, of different commands."""
    seen: dict[str, int] = {}
    out = []
    for at, case in enumerate(every):
        kept = seen.get(case.way, 0)
        if kept < 3 and (at * 7) % 5 < 2:
            seen[case.way] = kept + 1
            out.append(case)
    return out


def main() -> None:
    """Runs the cases and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--only", default="", help="a word of the command line or way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = [each for each in cases(folder) if possible(each)]
        if options.fast:
            every = sample(every)
        every = [each for each in every if options.only in " ".join((*each.words, each.way))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            good = 0
            for case, result in zip(every, pool.map(lambda case: wrong(case, folder), every), strict=True):
                good += result is None
                if result:
                    print(f"{case.way}: shoestring {' '.join(case.words)}: {result}", flush=True)
        (folder / "secret").chmod(0o700)
    print(f"{good} of {len(every)}: one line, right exit code")
    sys.exit(0 if good == len(every) else 1)


if __name__ == "__main__":
    main()
