"""How long `shoestring --help` takes beside a bare Python, alternately in one run.

python benchmarks/startup.py            -> benchmarks/results/startup.json
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "startup.json"
ROUNDS = 40
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import click": [sys.executable, "-c", "import click"],
    "shoestring --help": [str(Path(sysconfig.get_path("scripts"), "shoestring")), "--help"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians["python -c pass"]
    result = {
        "rounds": ROUNDS,
        "python": sys.version.split()[0],
        "milliseconds": {name: round(1000 * value, 2) for name, value in medians.items()},
        "ratio_to_bare_python": {name: round(value / bare, 2) for name, value in medians.items()},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
