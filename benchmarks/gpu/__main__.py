"""Runs the parts, most valuable first, each in its time, and says what came out in under 60 lines."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARES = {"heads": 0.4, "lm": 0.18, "nvae": 0.18, "match": 0.12, "grow": 0.12}  # of the minutes
LINES = 60


def main() -> None:
    """Runs `python -m benchmarks.gpu OUT`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("out", type=Path, help="Folder for the JSON of each part.")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rehearse", action="store_true", help="Small, on the CPU, with Triton interpreted.")
    parser.add_argument("--data", type=Path, default=Path(".gpu"), help="What `benchmarks.gpu.carry` made.")
    parser.add_argument("--parts", default=",".join(SHARES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    parts = options.parts.split(",")
    if unknown := set(parts) - set(SHARES):
        parser.error(f"--parts {unknown.pop()}: choose among {','.join(SHARES)}")
    ended, end = {}, time.monotonic() + options.minutes * 60
    for at, part in enumerate(parts):  # what a part leaves is for those after it
        share = SHARES[part] / sum(SHARES[each] for each in parts[at:])
        ended[part] = run(part, options, max(share * (end - time.monotonic()), 0.01))
    lines, right = summary(options.out, ended)
    print("\n".join(lines[: LINES - 1]))
    sys.exit(0 if right else 1)


def run(part: str, options: argparse.Namespace, seconds: float) -> str:
    """Runs one part in a process and returns how it ended."""
    settings = dict(os.environ)
    if options.rehearse:
        settings |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable, "-m", f"benchmarks.gpu.{part}", str(options.out / f"{part}.json"),
        str(seconds), str(options.data), "small" if options.rehearse else "whole",
    ]  # fmt: skip
    (options.out / f"{part}.json").unlink(missing_ok=True)
    log = Path(tempfile.mkdtemp()) / f"{part}.log"  # few files come back from the machine
    with log.open("w") as file:
        try:
            code = subprocess.run(
                command,
                env=settings,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds * 1.15,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return "cut at its time limit"
    if code == 0:
        return "whole"
    lines = log.read_text(errors="replace").strip().splitlines() or [""]
    with (options.out / "failures.txt").open("a", encoding="utf-8") as file:
        file.write("\n".join([f"== {part}", *lines[-30:], ""]))
    return f"ended with {code}: {lines[-1][:160]}"


def summary(out: Path, ended: dict[str, str]) -> tuple[list[str], bool]:
    """Returns the lines to print, and whether every check of every part was right."""
    lines, right = [], True
    for part, how in ended.items():
        path = out / f"{part}.json"
        found = json.loads(path.read_text("utf-8")) if path.exists() else {"figures": {}, "checks": {}}
        wrong = [
            f"  WRONG {name}: {each['detail']}" for name, each in found["checks"].items() if not each["right"]
        ]
        right &= how == "whole" and not wrong and bool(found["figures"] or found["checks"])
        lines.append(
            f"{part}: {how}, {len(found['checks']) - len(wrong)} of {len(found['checks'])} checks right"
        )
        lines += wrong[:3] + [f"  {line(name, each)}" for name, each in list(found["figures"].items())[:7]]
    return lines, right


def line(name: str, figure: dict[str, object]) -> str:
    """Returns a figure and its prediction as a line."""
    value, predicted = figure["value"], figure.get("predicted")
    shown = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)[:110]
    return f"{name}: {shown}" + (f" (predicted {predicted:.4g})" if isinstance(predicted, float) else "")


if __name__ == "__main__":
    main()
