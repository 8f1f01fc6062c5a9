"""How relay.pyz begins: its byte code is for one version of Python, and any other is told so."""

import sys

BUILT = (0, 0)  # `make relay-pyz` writes the version here

if sys.version_info[:2] != BUILT:
    needed, found = (".".join(map(str, version)) for version in (BUILT, sys.version_info[:2]))
    sys.exit(f"relay.pyz is for Python {needed}, this is {found}; type: make relay-pyz PYTHON=python{found}")

from shoestring.relay.commands.main import main  # noqa: E402

main()
