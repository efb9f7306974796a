"""kill -9 at moments spread over all steps of all kinds of runs; then the run goes on until it is done."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .commands import Command
from .harness import Outcome, Part
from .miniature import VARIANTS, begun, miniature
from .moments import resumed

KILLS_PER_RUN = 5
# Of ten runs: cached signals are part of all of them.
_MIX = ["plain", "augmented", "plain", "two processes", "augmented", "plain", "students", "augmented", "plain"] + [
    "augmented"
]


class Kill(Part):
    """A case is one run: its kind, and of each kill a step (as a share of all) and a moment in it (as a share)."""

    name, unit, whole = "kill", "kills", 100
    bar = "100 kills, all runs finish, all weight files and scores hash-equal to the undisturbed run"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """`count` kills, five to a run, over steps in their order."""
        rng = random.Random(f"kill {self.seed}")
        cases = []
        for run in range(-(-count // KILLS_PER_RUN)):
            kills = min(KILLS_PER_RUN, count - run * KILLS_PER_RUN)
            # one in each of equal parts of the run, so that all steps have their turn
            at = [(kill + rng.random()) / kills for kill in range(kills)]
            moments = [[round(place, 3), round(rng.random(), 3)] for place in at]
            cases.append({"variant": _MIX[run % len(_MIX)], "kills": moments})
        return cases

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The runs are made when the first case asks for them."""
        yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Kills one run several times, lets it finish, and compares. A run that had ended before counts no kill."""
        made = miniature(self.work, case["variant"])
        root, log = self.work / f"kill-{case['id']}", self.work / "logs" / f"kill-{case['id']}.log"
        shutil.rmtree(root, ignore_errors=True)
        log.unlink(missing_ok=True)
        timeline, hit = made.timeline, []
        for place, share in case["kills"]:
            step, _, seconds = timeline[int(place * len(timeline))]
            command = Command.start(made.arguments(root), log)
            there = re.compile(rf"^\[\d+/\d+\] {re.escape(step)}(: resuming|: re-running.*|: already done)?$", re.M)
            if step == "import" or command.wait_until(lambda c=command, t=there: bool(t.search(c.text)), 180):
                command.wait_until(lambda: False, share * seconds)
            if command.alive:
                hit.append((["import", *begun(command.text)])[-1])  # a slow or fast machine may be elsewhere by now
            command.kill_all()
        outcome = resumed(made, root, log, Outcome("right", "", len(hit), {"hit": hit}))
        if outcome.good:
            shutil.rmtree(root)
            log.unlink()
        return outcome

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """Runs of each kind that finished right, and kills that struck each step."""
        runs = {name: [line for line in lines if line["case"]["variant"] == name] for name in VARIANTS}
        hits = [step for line in lines for step in line["facts"].get("hit", [])]
        return {
            "runs": {name: len(found) for name, found in runs.items() if found},
            "kills_by_step": {step: hits.count(step) for step in dict.fromkeys(sorted(hits))},
        }
