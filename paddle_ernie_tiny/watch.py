"""What a caller of the Python API sees of a run while it trains, and how it stops it; what Ctrl-C and SIGTERM do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import psutil

from .errors import Interrupted

_GRACE_SECONDS = 8.0  # from a signal to the end; who sends one often waits ten seconds and then kills
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []  # the first of them that came


@dataclass(frozen=True)
class Progress:
    """One log line of a training: its title, steps done and in all, seconds left, and the logged losses by name."""

    title: str
    steps: int
    total_steps: int
    seconds_left: float
    losses: dict[str, float]


@dataclass(frozen=True)
class Watcher:
    """Called back by every training of a run. on_progress: at every log line. should_stop: after every step."""

    on_progress: Callable[[Progress], None] | None = None
    should_stop: Callable[[], bool] | None = None


def stop_on_signals(grace_seconds: float = _GRACE_SECONDS) -> None:
    """From now on SIGTERM ends this process as Ctrl-C does, by KeyboardInterrupt, and both end it in time.

    What is still at work `grace_seconds` after a signal, such as a long step of a training or a library that does not
    come back, is ended with all child processes. All files are written whole or not at all, so nothing is lost but
    the work since the last checkpoint. For the command line: call it in the main thread.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # which also tells of signals while a library works
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # inherited: the signals are for the main thread, which
    threading.Thread(target=_end_in_time, args=(reading, grace_seconds), daemon=True).start()  # may hold them back
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number in _STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as for what a shell starts in the background
            signal.signal(number, _stop)


def release_signals() -> None:
    """Undoes `stop_on_signals` at the end of a command: while Python shuts down, an exception becomes a traceback."""
    for number in _STOPPING:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def leave_signals() -> None:
    """Undoes `stop_on_signals`' limit of time: for a server, which ends by its own rules."""
    signal.set_wakeup_fd(-1)


def note_signal(number: int) -> None:
    """Keeps the number of the signal that ends this process; of several, the first."""
    if not _received:
        _received.append(number)


def is_stopping() -> bool:
    """Has a signal come that ends this process?"""
    return bool(_received)


def interrupted() -> Interrupted:
    """The error that ends the process, with the exit code of the signal that came (Ctrl-C without one)."""
    return Interrupted(_received[0] if _received else signal.SIGINT)


def _stop(number: int, frame: FrameType | None) -> None:
    if _received and number == signal.SIGTERM:
        return  # launchers send it several times; what it began is under way
    note_signal(number)
    raise KeyboardInterrupt


def _end_in_time(pipe: int, grace_seconds: float) -> None:
    while (number := os.read(pipe, 1)[0]) not in _STOPPING:
        pass
    time.sleep(grace_seconds)
    note_signal(number)
    error = interrupted()
    what = f"what was under way took longer than {grace_seconds:g} s and was left without a new checkpoint"
    os.write(2, f"{what}\n{error}\n".encode())
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(error.exit_code)
