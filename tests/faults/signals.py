"""SIGTERM and Ctrl-C in every kind of moment: soon over, no child left, and the run goes on to the same result."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from typing import Any

from .commands import Command, is_bare, last_error
from .harness import Outcome, Part
from .miniature import miniature
from .moments import MOMENTS, resumed

WITHIN_SECONDS = 10.0
_CODES = {"SIGTERM": 143, "SIGINT": 130}


class Signals(Part):
    """A case is a moment and a signal: SIGTERM to the main process, SIGINT to the group, as a terminal sends it."""

    name, unit, whole = "signals", "signals", 40
    bar = "20 kinds of moment, 40 signals: exit within 10 s with 143 or 130, no child left, resume hash-equal"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """All moments with both signals, in an order that the seed decides; again from the start beyond 40."""
        every = [{"moment": moment.name, "signal": name} for name in _CODES for moment in MOMENTS]
        random.Random(f"signals {self.seed}").shuffle(every)
        return [every[number % len(every)] for number in range(count)]

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Signals one run, and lets it finish."""
        moment = next(moment for moment in MOMENTS if moment.name == case["moment"])
        made = miniature(self.work, moment.variant)
        root, log = self.work / f"signals-{case['id']}", self.work / "logs" / f"signals-{case['id']}.log"
        log.unlink(missing_ok=True)
        command = moment.reach(made, root, log)
        began = time.monotonic()
        if case["signal"] == "SIGINT":
            os.killpg(command.process.pid, signal.SIGINT)
        else:
            command.signal(signal.SIGTERM)
        outcome = resumed(made, root, log, self._ended(command, case["signal"], began))
        if outcome.good:
            shutil.rmtree(root)
            log.unlink()
        return outcome

    def _ended(self, command: Command, name: str, began: float) -> Outcome:
        """How the run took the signal."""
        code = command.finish(max(0.1, WITHIN_SECONDS - (time.monotonic() - began)))
        took, text = time.monotonic() - began, command.text
        facts = {"exit": code, "seconds": round(took, 2)}
        tail = last_error(text)[:400] or text.strip()[-400:]
        if code is None:
            command.kill_all()
            return Outcome("hang", f"alive {WITHIN_SECONDS:.0f} s after {name}: {tail}", facts=facts)
        while command.family() and time.monotonic() - began < WITHIN_SECONDS:
            time.sleep(0.1)  # a killed process of much memory takes a moment to go
        orphans = [" ".join(process.cmdline())[:200] for process in command.family()]
        command.kill_all()
        if orphans:
            return Outcome("orphan", f"{len(orphans)} children lived on: {orphans[0]}", facts=facts)
        if is_bare(text) or "FatalError" in text:
            return Outcome("bare", f"exit {code}: {tail}", facts=facts)
        if code != _CODES[name]:
            return Outcome("unclear", f"exit {code} after {name}: {tail}", facts=facts)
        return Outcome("right", facts=facts)

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """The longest time until the exit."""
        facts = [line["facts"] for line in lines if "seconds" in line["facts"]]
        return {"longest_seconds_to_exit": max((fact["seconds"] for fact in facts), default=None)}
