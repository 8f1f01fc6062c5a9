"""Hypothesis without a time limit per example, as a busy machine is no failure; and the rig of real peers."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from .rig import MISSING, Rig

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A key and a certificate for PEAP."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}; type: make peers")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=switch",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def rig(tmp_path, certificate) -> Iterator[Rig]:
    """Switch, router and PC, joined by cables."""
    for name in ("key.pem", "cert.pem"):
        shutil.copy(certificate / name, tmp_path)
    rig = Rig(tmp_path)
    try:
        yield rig
    finally:
        rig.close()
