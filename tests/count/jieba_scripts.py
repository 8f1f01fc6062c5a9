"""jieba's own test scripts, run with jieba and with ours in its place: `python tests/count/jieba_scripts.py [SDIST]`.

Fetches jieba's source distribution from PyPI (or takes one), runs every script of its `test` folder twice and compares
what they print, timings aside. The distribution lacks the files that some scripts read (a user dictionary, a text, a
small dictionary); stand-ins are written, the same for both. Paddle's scripts are left out where paddle is not there,
Whoosh's where whoosh is not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

ARGUMENTS = {
    "test_file.py": ["text.txt"],
    "test_pos_file.py": ["text.txt"],
    "test_whoosh_file.py": ["text.txt"],
}
NEEDS = {"paddle": "paddle", "whoosh": "whoosh"}
USER_DICTIONARY = "云计算 5\n李小福 2 nr\n创新办 3 i\neasy_install 3 eng\n好用 300\n台中\n凱特琳 nz\n"
THREADS = ("test_lock.py", "test_multithread.py")  # which print all at once, with their threads' numbers
TIMES = re.compile(r"(?im)^.*(cost|speed|second|time).*$|[\d.e+-]+ (bytes/second|s\b)")
RUN = """
import runpy, sys
place, script, *arguments = sys.argv[1:]
sys.path.insert(0, "../")
if place == "ours":
    import shoestring.count.jieba as ours
    from shoestring.count.jieba import analyse, posseg
    sys.modules.update({"jieba": ours, "jieba.posseg": posseg, "jieba.analyse": analyse})
    ours.__dict__.update(posseg=posseg, analyse=analyse)
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


def main(given: str | None) -> int:
    """Returns how many scripts print something else."""
    with tempfile.TemporaryDirectory() as name:
        archive = Path(given) if given else fetched(Path(name))
        with tarfile.open(archive) as tar:
            tar.extractall(name, filter="data")
        folder = next(Path(name).glob("jieba-*/test"))
        stand_ins(folder)
        different = ran = 0
        for script in sorted(folder.glob("*.py")):
            if any(word in script.name and not find_spec(module) for word, module in NEEDS.items()):
                print(f"left out   {script.name}")
                continue
            theirs, ours = (printed(place, script) for place in ("theirs", "ours"))
            same = theirs == ours or (script.name in THREADS and shuffled(theirs) == shuffled(ours))
            ran, different = ran + 1, different + (not same)
            print(f"{'same' if same else 'DIFFERENT':10} {script.name} ({theirs.count(chr(10))} lines)")
            if not same:
                print(ours[-2000:])
    print(f"{ran} scripts, {different} print something else")
    return different


def fetched(folder: Path) -> Path:
    """Downloads the source distribution."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        "jieba==0.42.1",
    ]
    subprocess.run([*command, "-d", str(folder)], check=True)
    return next(folder.glob("jieba-*.tar.gz"))


def stand_ins(folder: Path) -> None:
    """Writes the files that the scripts read and the distribution has not."""
    words = (
        Path(next(iter(find_spec("jieba").submodule_search_locations)), "dict.txt").read_bytes().split(b"\n")
    )
    (folder / "userdict.txt").write_text(USER_DICTIONARY, encoding="utf-8")
    (folder / "text.txt").write_text("我来到北京清华大学，他来到了网易杭研大厦。\n" * 50, encoding="utf-8")
    for name in ("foobar.txt", "../extra_dict/dict.txt.small", "../extra_dict/dict.txt.big"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            b"\n".join([word for word in words if b" " in word][:: 5 if "big" not in name else 1]) + b"\n"
        )


def printed(place: str, script: Path) -> str:
    """What a script prints, with its exit code and without its timings."""
    command = [sys.executable, "-c", RUN, place, script.name, *ARGUMENTS.get(script.name, [])]
    done = subprocess.run(
        command, cwd=script.parent, capture_output=True, text=True, timeout=600, check=False
    )
    wrong = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    return f"{TIMES.sub('', done.stdout)}\nexit {done.returncode} {wrong}"


def shuffled(text: str) -> list[str]:
    """The characters that are no digits, in order: threads print into each other's lines."""
    return sorted(character for character in text if not character.isdigit())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None) > 0)
