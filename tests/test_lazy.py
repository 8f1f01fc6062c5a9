"""What packages promise in `__all__` is what they give, and nothing is loaded before it is asked for."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PACKAGES = ("count", "grow", "lm", "match", "nvae", "transformer")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_all_is_there(package):
    module = import_module(f"shoestring.{package}")
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=f"'shoestring.{package}' has no attribute 'nothing'"):
        _ = module.nothing


def test_importing_the_packages_loads_nothing_heavy():
    imports = "; ".join(f"import shoestring.{package}" for package in PACKAGES)
    heavy = "{'torch', 'numpy', 'transformers', 'click', 'pyarrow'} & set(sys.modules)"
    asked = subprocess.run(
        [sys.executable, "-c", f"import sys; {imports}; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout == "set()\n"
