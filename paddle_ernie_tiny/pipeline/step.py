"""What a step of a run is. The run is a loop over steps; each is one small class in `steps/`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from .context import RunContext
from .layout import FINAL, METRICS
from .lineage import StepRecord, fingerprint, identity


class Step:
    """One step of one student's run, or of the teacher.

    `folder` holds its record and what it trains. `settings` is its section of the configuration. `product` is what it
    leaves (default: the model in its folder); if that is gone, the step runs again.
    """

    name: str
    every_process = True  # do all processes of a distributed run take part?
    record: StepRecord  # since `state` was asked

    def __init__(self, context: RunContext, folder: Path, settings: Any = None, product: Path | None = None):
        self.context, self.folder, self.settings = context, folder, settings
        self.product = product or folder / FINAL

    def inputs(self) -> dict[str, Any]:
        """What decides the result, as JSON values; asked for only after the steps before it are done."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        """Does the work, from the last checkpoint if there is one. Returns what the record keeps.

        Paddle names parameters by a counter, and optimiser states by parameters. A run lets each step count from
        zero, so that a process that skips finished steps finds the names that its checkpoint holds.
        """
        raise NotImplementedError

    def measure_inputs(self) -> dict[str, Any] | None:
        """What decides the measurement beside the result; None: nothing is measured."""
        return None

    def measure(self) -> dict[str, Any]:
        """What `metrics.json` keeps of the finished step."""
        raise NotImplementedError

    def gate(self) -> None:
        """Raises GateError if later steps must not be built on what was measured."""

    @property
    def title(self) -> str:
        """The step's name on the screen; the teacher's steps belong to no student."""
        own = self.context.student and self.folder.is_relative_to(self.context.folder.root)
        return f"{self.name} of {self.context.student}" if own else self.name

    def state(self) -> tuple[str, list[str]]:
        """("done" | "resume" | "stale" | "new", what changed since it was recorded)."""
        self.record = StepRecord(self.folder, self.inputs())
        state, changed = self.record.state()
        if state == "done" and not self.product.exists():
            return "stale", [f"{self.product} is gone"]
        return state, changed

    def begin(self, fresh: bool) -> None:
        """Opens the folder; `fresh` removes what an earlier, different run left there. In the main process alone."""
        self.record.begin(fresh)

    def finish(self, result: dict[str, Any]) -> None:
        """Records the step as done. In the main process alone."""
        self.record.finish(result)

    def remove(self) -> None:
        """Removes the step's work, so that it runs again."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def measure_if_needed(self) -> list[str]:
        """Measures, unless that was done for the same inputs; lines for the screen if there is a new score."""
        inputs = self.measure_inputs()
        if inputs is None:
            return []
        decisive = fingerprint({"step": identity(self.folder), **inputs})
        known = read_json(self.folder / METRICS)
        if known is not None and known["inputs"] == decisive:
            return []
        values = self.measure()
        write_json(self.folder / METRICS, {"inputs": decisive, **values})
        score = values.get("score")
        return [] if score is None else [f"{self.title}: score {score:.4f} ({values.get('score_kind', 'classifier')})"]
