"""The parent's end of a worker: starts it, asks it one thing at a time, and says what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from ..errors import ErnieTinyError


class Worker:
    """A child process that runs `worker.py` with its own number of threads."""

    def __init__(self, name: str, threads: int):
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        if threads > 1:
            environment["TOKENIZERS_PARALLELISM"], environment["RAYON_NUM_THREADS"] = "true", str(threads)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "paddle_ernie_tiny.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf-8",
        )

    def ask(self, order: str, **values) -> dict:
        """Sends an order and waits for its answer. Raises ErnieTinyError when the worker has died."""
        try:
            self._child.stdin.write(json.dumps({"order": order, **values}) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._child.wait()
            self._log.seek(0)
            said = self._log.read().strip().splitlines()
            last = next((text for text in reversed(said) if text.strip()), "no output")
            raise ErnieTinyError(f"the worker ended with code {self._child.returncode}: {last}", self.name)
        return json.loads(line)

    def close(self) -> None:
        self._child.stdin.close()
        try:
            self._child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()
        self._log.close()
