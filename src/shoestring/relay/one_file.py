"""How relay.pyz begins: its byte code is for one version of Python, and any other is told so.

`run` begins anew without `runpy`, by which Python starts such a file, and which takes 1 MB of a router's memory.
"""

import os
import sys
from importlib import import_module

BUILT = (0, 0)  # `make relay-pyz` writes the version here
LEAN = "import sys; del sys.argv[0]; sys.path[:0] = sys.argv[:1]; import shoestring.relay.__main__"

if sys.version_info[:2] != BUILT:
    needed, found = (".".join(map(str, version)) for version in (BUILT, sys.version_info[:2]))
    sys.exit(f"relay.pyz is for Python {needed}, this is {found}; type: make relay-pyz PYTHON=python{found}")

if sys.argv[1:2] == ["run"]:
    path = os.path.abspath(sys.argv[0])
    if os.access(sys.executable or "", os.X_OK):
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", LEAN, path, *sys.argv[1:]])

import_module("shoestring.relay.__main__")
