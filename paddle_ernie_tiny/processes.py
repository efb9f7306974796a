"""Work in a fresh process of its own: Paddle flags that must be set before it is imported, or several cores at once.

Requests, results and exceptions cross as Python objects. The child does not run the user's script again (as spawned
processes otherwise do), so a script that calls the toolkit needs no `if __name__ == "__main__"`.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from .errors import ErnieTinyError, InputError
from .machine import tune_process

T = TypeVar("T")
_LOG_LINES = 20
SAFE_PATH = "PYTHONSAFEPATH"  # not empty: Python does not look for modules in the working folder
_starting = threading.Lock()
# What every fresh process calls first, by name: functions of modules with their arguments.
child_setup: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}


class _Child(multiprocessing.context.SpawnProcess):
    """A process that ends when it is told to: SIGTERM is for this one, see `_fresh`."""

    terminate = multiprocessing.context.SpawnProcess.kill


class _Context(multiprocessing.context.SpawnContext):
    Process = _Child


class Workers(ProcessPoolExecutor):
    """Fresh processes, `count` of them, that keep their module state between calls.

    environment: variables that are set in them before anything heavy is imported. log: file that gets what they
    print; None: they share this process's output. Ctrl-C and SIGTERM reach this process alone; where they or an error
    leave the `with` block, the processes are killed: nobody waits for what they and those after them would give.
    """

    def __init__(self, count: int, environment: dict[str, str] | None = None, log: Path | None = None):
        self._children: set[Any] = set()
        arguments = (environment or {}, None if log is None else str(log), list(child_setup.values()))
        super().__init__(count, mp_context=_Context(), initializer=_start, initargs=arguments)

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As `ProcessPoolExecutor.submit`; `function` is a module's, arguments and result can be pickled."""
        with _starting, _held_back(), _fresh():
            others = set(multiprocessing.active_children())
            future = super().submit(function, *args, **kwargs)
            self._children |= set(multiprocessing.active_children()) - others
            return future

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> bool | None:
        if kind is not None:
            for child in self._children:
                child.kill()
        return super().__exit__(kind, *error)


def in_child(what: str, function: Callable[..., T], *args: Any, environment: dict[str, str] | None = None) -> T:
    """`function(*args)` in a fresh process. Its exceptions are raised here; what it prints is shown only if it dies.

    Raises ErnieTinyError with the last lines of its output if the process ends without an answer. `what` names the
    work in that message.
    """
    with tempfile.TemporaryDirectory(prefix="ernie-tiny-") as folder:
        log = Path(folder) / "output.log"
        with Workers(1, environment, log) as worker:
            try:
                return worker.submit(function, *args).result()
            except BrokenProcessPool:
                lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
                last = "\n".join(lines[-_LOG_LINES:]) or "no output"
                raise ErnieTinyError(f"the {what} process ended without an answer; its last output:\n{last}") from None


def run_python(python: str, program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program that stands alone by another interpreter, in `folder`; returns its exit code and output.

    It sees none of this package: modules are found in the interpreter's own environment, and in `folder`. Raises
    InputError for no such interpreter.
    """
    found = shutil.which(python)
    if found is None:
        raise InputError("no such program", python, "give the path of a Python, such as venv/bin/python")
    source = program.read_text(encoding="utf-8")  # as text: beside a file, its neighbours would be modules
    environment = {**os.environ, "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if os.path.abspath(found) != sys.executable:  # PYTHONPATH and the like are meant for this interpreter
        environment = {key: value for key, value in environment.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    command = [os.path.abspath(found), "-c", source, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )


def _end_with_parent() -> None:
    """Ends this process when its parent does, also one that was killed; a pool's process would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        signal.raise_signal(signal.SIGKILL)


def _start(environment: dict[str, str], log: str | None, setup: list[tuple[Callable[..., Any], tuple]]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        sys.stdout.flush()
        os.dup2(file, 1)
        os.dup2(file, 2)
    tune_process()
    for function, arguments in setup:
        function(*arguments)


@contextmanager
def _held_back() -> Iterator[None]:
    """Ctrl-C and SIGTERM act after the block: in its middle they would leave a process that waits for its orders.

    To block them is not enough: they reach another thread of this process, and Python calls its handlers in this one.
    """
    if threading.current_thread() is not threading.main_thread():  # where Python calls no handler
        yield
        return
    came: list[int] = []
    both = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    own = {number: handler for number, handler in both.items() if callable(handler)}
    for number in own:
        signal.signal(number, lambda received, _: came.append(received))
    try:
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
        for received in came:
            signal.raise_signal(received)


@contextmanager
def _fresh() -> Iterator[None]:
    """What a process that is spawned in the block inherits.

    - An empty main module: it would import this one's, and so run it again.
    - No modules from the working folder: a file called random.py there is not Python's (from Python 3.11 on).
    - Ctrl-C and SIGTERM blocked, whatever Paddle does with them: the process that waits for it decides.
    """
    main, safe = sys.modules["__main__"], os.environ.get(SAFE_PATH)
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ[SAFE_PATH] = "1"
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if safe is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = safe
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
