"""The real server in a process of its own, for tests that ask it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai


class Running:
    """The real command."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-m", "shoestring", "lm", "serve", str(folder), "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if line.startswith("http://"):
                self.url = line.split()[0]
                break
        else:
            raise RuntimeError(f"the server ended with {self.process.wait()}")
        self.client = openai.OpenAI(base_url=f"{self.url}v1", api_key="k", max_retries=0, timeout=60)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read().decode()

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Returns status and JSON of an answer; `body` is bytes as they are, or a JSON value."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def counted(self, name: str) -> float:
        """Returns one of /metrics."""
        lines = self.get("metrics").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"shoestring_{name} "))

    def stop(self) -> int:
        self.process.terminate()
        self.process.wait(60)
        self.process.stderr.close()
        return self.process.returncode


@contextlib.contextmanager
def running(folder, *options) -> Iterator[Running]:
    """Serves a folder as long as it is needed."""
    server = Running(folder, *options)
    try:
        yield server
    finally:
        server.stop()
