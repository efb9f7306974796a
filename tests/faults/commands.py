"""`ernie-tiny` as a process: started, watched, killed with all its children, and its end judged."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from .harness import Outcome

ROOT = Path(__file__).resolve().parents[2]
_MARK = "ERNIE_TINY_FAULTS_CASE"  # in the environment of a process and all of its children
_LONGEST_MESSAGE = 20_000  # characters


def environment(**more: str) -> dict[str, str]:
    """One thread per process: runs are compared to the byte, and several are at work at a time."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    fixed = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return {**os.environ, "PYTHONPATH": path, **fixed, **more}


@dataclass
class Command:
    """A running `ernie-tiny`, its log, and the mark that its children inherit."""

    process: subprocess.Popen
    log: Path
    mark: str
    offset: int  # where this command's output begins in the log

    @classmethod
    def start(cls, arguments: Sequence[str | Path], log: Path, piped: bool = False) -> Command:
        """Starts it in a session of its own.

        piped: this process writes the log, so that the command can speak when it may not write any file.
        """
        mark = uuid.uuid4().hex
        offset = log.stat().st_size if log.is_file() else 0
        log.parent.mkdir(parents=True, exist_ok=True)

        def hear_ctrl_c() -> None:  # it may be ignored where tests run in the background
            signal.signal(signal.SIGINT, signal.default_int_handler)

        output = log.open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "paddle_ernie_tiny", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=subprocess.STDOUT,
            env=environment(**{_MARK: mark}),
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )
        if process.stdout is None:
            output.close()
        else:
            threading.Thread(target=_copy, args=(process.stdout, output), daemon=True).start()
        return cls(process, log, mark, offset)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_bytes()[self.offset :].decode("utf-8", "replace")

    @property
    def alive(self) -> bool:
        """Has it not ended?"""
        return self.process.poll() is None

    def wait_until(self, condition: Callable[[], bool], seconds: float, poll: float = 0.004) -> bool:
        """True as soon as the condition holds; False if the process ends first, or the time."""
        end = time.monotonic() + seconds
        while self.alive and time.monotonic() < end:
            if condition():
                return True
            time.sleep(poll)
        return False

    def signal(self, number: int) -> None:
        """Sends a signal to the main process alone, as `kill PID` does."""
        if self.alive:
            self.process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL for the process and everything that it started, as when the machine takes all of it away."""
        for _ in range(3):
            for process in self.family():
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            self.process.wait()
            if not self.family():
                return

    def finish(self, seconds: float) -> int | None:
        """The exit code as a shell shows it (143 after SIGTERM); None if it hung and was killed."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            return None
        return code if code >= 0 else 128 - code

    def family(self) -> list[psutil.Process]:
        """The processes with this command's mark that are still alive."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    with source, target:
        while block := os.read(source.fileno(), 1 << 16):
            target.write(block)
            target.flush()


def finish(arguments: Sequence[str | Path], log: Path, seconds: float = 240) -> tuple[int | None, str]:
    """(exit code, None if it hung; what was printed) of a command that is left alone."""
    command = Command.start(arguments, log)
    return command.finish(seconds), command.text


def is_bare(text: str) -> bool:
    """Does the output hold a traceback, or the error of no one's own?"""
    return "Traceback (most recent call last)" in text or "ERNIE_TINY_DEBUG=1" in text or "Fatal Python error" in text


def last_error(text: str) -> str:
    """From the last `error:` on."""
    start = max(text.rfind("\nerror: "), 0 if text.startswith("error: ") else -1)
    return text[start:].strip() if start >= 0 else ""


def judge_failure(code: int | None, text: str, codes: tuple[int, ...] = (2,), path: bool = True) -> Outcome:
    """The verdict on a command that did not succeed: "refused" only for one clear message with place and remedy.

    codes: exit codes that are right. path: must the message name a path?
    """
    tail = last_error(text)[:400] or text.strip()[-400:]
    if code is None:
        return Outcome("hang", tail)
    if code > 128 and code not in codes:
        return Outcome("crash", f"exit {code}: {tail}")
    if is_bare(text):
        return Outcome("bare", f"exit {code}: {tail}")
    message = last_error(text)
    wanting = []
    if code not in codes:
        wanting.append(f"exit code {code}")
    if "remedy: " not in message:
        wanting.append("no remedy")
    if path and not re.search(r"[\w.-]+/[\w./-]+", message.partition("remedy: ")[0]):
        wanting.append("no path")
    if len(message) > _LONGEST_MESSAGE:
        wanting.append(f"{len(message)} characters")
    return Outcome("unclear", f"{', '.join(wanting)}: {message or tail}") if wanting else Outcome("refused", message)
