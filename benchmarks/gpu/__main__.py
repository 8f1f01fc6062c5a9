"""Runs the parts, most valuable first, each in its time, and says what came out in under 60 lines."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SHARES = {"heads": 0.34, "lm": 0.2, "nvae": 0.2, "match": 0.14, "grow": 0.12}  # of the minutes
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
    total = sum(SHARES[part] for part in parts)
    ended = {part: run(part, options, options.minutes * 60 * SHARES[part] / total) for part in parts}
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
    log = options.out / f"{part}.log"
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
    last = (log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    return "whole" if code == 0 else f"ended with {code}: {last[:160]}"


def summary(out: Path, ended: dict[str, str]) -> tuple[list[str], bool]:
    """Returns the lines to print, and whether every check of every part was right."""
    lines, right = [], True
    for part, how in ended.items():
        path = out / f"{part}.json"
        found = json.loads(path.read_text("utf-8")) if path.exists() else {"figures": {}, "checks": {}}
        wrong = [
            f"  WRONG {name}: {each['detail']}" for name, each in found["checks"].items() if not each["right"]
        ]
        right &= not wrong and not how.startswith("ended with") and bool(found["figures"] or found["checks"])
        lines.append(
            f"{part}: {how}, {len(found['checks']) - len(wrong)} of {len(found['checks'])} checks right"
        )
        lines += wrong[:4] + [f"  {line(name, each)}" for name, each in list(found["figures"].items())[:8]]
    return lines, right


def line(name: str, figure: dict[str, object]) -> str:
    """Returns a figure and its prediction as a line."""
    value, predicted = figure["value"], figure.get("predicted")
    shown = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)[:110]
    return f"{name}: {shown}" + (f" (predicted {predicted:.4g})" if isinstance(predicted, float) else "")


if __name__ == "__main__":
    main()
