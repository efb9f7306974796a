"""One process that trains for a search, watched from outside: its errors, its progress, the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from tqdm import tqdm

from ..errors import ErnieTinyError
from ..files import read_json
from ..machine import thread_count
from ..processes import Workers
from .trials import LOG, PROGRESS, Trial, do_trial

_TURN_SECONDS = 0.5  # between two looks at the process


class ProcessEndedError(ErnieTinyError):
    """The process that trains is gone, which is no candidate's fault."""


class Desk:
    """Hands out trials one by one while its `with` block lasts; what was made before is taken as it is."""

    def __init__(self, root: Path, say: Callable[[str], None]):
        self.root, self.say = root, say
        self.planned = self.passed = 0  # optimiser steps that are to be made, and those of finished trials
        self._trained, self._seconds = 0, 0.0  # steps and seconds of this call
        # all cores for one training: with other threads, sums have other last digits
        self._workers = Workers(1, {"OMP_NUM_THREADS": str(thread_count("auto"))})
        self._bar: tqdm | None = None

    def __enter__(self) -> Desk:
        self._workers.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        self._workers.__exit__(kind, error, trace)

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function gives in the process. Raises its errors, and ProcessEndedError if the process dies."""
        try:
            future = self._workers.submit(function, *args)
            while not future.done():
                wait([future], timeout=_TURN_SECONDS)
                self._show()
            return future.result()
        except BrokenProcessPool:
            what = "the process of the search ended without an answer; the system may have killed it for its memory"
            raise ProcessEndedError(what, str(self.root / LOG), "run the same command again, it continues") from None

    def do(self, trial: Trial, steps: int) -> dict[str, Any]:
        """The record of a trial, which is made now if it is not there. steps: how many are counted for it."""
        known = trial.record()
        if known is None:
            begun = time.time()
            (self.root / PROGRESS).unlink(missing_ok=True)  # of a process that was killed
            known = self.ask(do_trial, trial)
            if steps:  # those of the teacher say nothing of a student's
                self._trained, self._seconds = self._trained + steps, self._seconds + time.time() - begun
        self.passed += steps
        return known

    @property
    def left(self) -> str:
        """The time that the rest takes if its steps take as long as those before."""
        if not self._trained:
            return "time left not known yet"
        seconds = self._seconds / self._trained * max(0, self.planned - self.passed)
        return f"left about {tqdm.format_interval(seconds)}"

    def _show(self) -> None:
        if not Console().is_terminal or not self.planned:
            return
        if self._bar is None:
            self._bar = tqdm(unit="step", leave=False)
        now = read_json(self.root / PROGRESS) or {}
        self._bar.total, self._bar.n = self.planned, min(self.planned, self.passed + now.get("done", 0))
        self._bar.set_description(now.get("title", "search"))
