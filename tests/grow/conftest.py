"""A way to grow in tests: small model in, folder out, with everything that a user gets."""

from pathlib import Path

import pytest

from shoestring.grow.growing import grow, planned
from shoestring.grow.plan.request import Request


@pytest.fixture
def enlarge(tmp_path):
    """Grows a folder without the proof on small copies, which these tests do themselves."""

    def run(source: Path, name: str = "grown", **request) -> Path:
        verify = request.pop("verify", "algebra")
        grow(source, tmp_path / name, Request(**request), verify=verify)
        return tmp_path / name

    return run


@pytest.fixture
def plan_of():
    """Plans a growth."""
    return lambda source, **request: planned(source, Request(**request))
