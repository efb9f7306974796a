"""Attempts in a process of its own, many to a process: bounded in time and memory, and started again when it dies."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import queue
import resource
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .harness import Outcome

SECONDS, BYTES = 5.0, 1 << 30  # of CPU time, and beyond what the process holds before the first attempt
_HANG_SECONDS = 20.0  # of the clock: other processes are at work too
_LONGEST_MESSAGE = 20_000


def judge_error(error: BaseException) -> Outcome:
    """The verdict on what an attempt raised: "refused" only for the toolkit's input errors with place and remedy."""
    from paddle_ernie_tiny.errors import InputError, InputErrors

    if isinstance(error, MemoryError):
        return Outcome("memory", _place(error))
    if not isinstance(error, InputError):
        return Outcome("bare", f"{type(error).__name__}: {str(error)[:200]} at {_place(error)}")
    message, wanting = str(error), []
    for single in error.errors if isinstance(error, InputErrors) else [error]:
        wanting += [name for name in ("where", "remedy") if not getattr(single, name)]
    if len(message) > _LONGEST_MESSAGE:
        wanting.append(f"a message under {_LONGEST_MESSAGE} characters, it has {len(message)}")
    try:
        message.encode()
    except UnicodeEncodeError:
        wanting.append("a message that can be printed")
    if wanting:
        return Outcome("unclear", f"lacks {', '.join(dict.fromkeys(wanting))}: {message[:200]!r}")
    return Outcome("refused", message[:200])


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "paddle_ernie_tiny" in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"


def _serve(connection: Connection, module: str, setup: Any, output: str) -> None:
    """The process: takes attempts until the connection closes."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    attempt = importlib.import_module(module).prepare(setup)
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    connection.send("ready")
    while True:
        try:
            value = connection.recv()
        except EOFError:
            return
        resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, resource.RLIM_INFINITY))
        began = time.process_time()
        try:
            outcome = attempt(value)
        except BaseException as error:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            outcome = judge_error(error)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        took = time.process_time() - began
        if took > SECONDS and outcome.good:
            outcome = Outcome("slow", f"{took:.1f} s of CPU time: {outcome.detail}")
        outcome.facts["cpu_seconds"] = round(took, 3)
        connection.send(outcome)


@dataclass
class Sandbox:
    """One such process. module: has `prepare(setup)`, which returns the function that takes an attempt's value."""

    module: str
    setup: Any = None
    _process: Any = field(default=None, repr=False)
    _connection: Any = field(default=None, repr=False)

    def attempt(self, value: Any) -> Outcome:
        """The outcome of one attempt; a process that died or hung is replaced at the next one."""
        if self._process is None:
            self._start()
        try:
            self._connection.send(value)
            if not self._connection.poll(_HANG_SECONDS):
                return Outcome("hang", f"no answer after {_HANG_SECONDS:.0f} s: {self._end()}")
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            return Outcome("crash", f"the process ended with {code}: {self._end()}")

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._end()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        handle, self._output = tempfile.mkstemp(prefix="ernie-tiny-sandbox-")
        os.close(handle)
        self._connection, child = context.Pipe()
        arguments = (child, self.module, self.setup, self._output)
        self._process = context.Process(target=_serve, args=arguments)  # no daemon: preflight has children of its own
        self._process.start()
        child.close()
        try:
            ready = self._connection.poll(120) and self._connection.recv() == "ready"
        except EOFError:
            ready = False
        if not ready:
            raise RuntimeError(f"{self.module} cannot be prepared: {self._end()}")

    def _end(self) -> str:
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = None
        printed = Path(self._output).read_text(encoding="utf-8", errors="replace").strip()
        os.unlink(self._output)
        return printed[-300:]


@contextmanager
def sandboxes(count: int, module: str, setup: Any = None) -> Iterator[queue.Queue[Sandbox]]:
    """A queue of sandboxes for as many threads; each takes one and puts it back."""
    made = [Sandbox(module, setup) for _ in range(count)]
    ready: queue.Queue[Sandbox] = queue.Queue()
    for sandbox in made:
        ready.put(sandbox)
    try:
        yield ready
    finally:
        for sandbox in made:
            sandbox.close()
