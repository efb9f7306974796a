"""What a search knows of its candidates, as results.json holds it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..benchmark.subjects import Shape, parameters
from ..deploy.bundle import MANIFEST
from ..files import read_json
from .bounds import broken_bounds
from .search_settings import SearchSettings
from .shape_speed import Figures, ShapeSpeeds
from .space import CandidateStudent
from .trials import Trial

Values = dict[str, Any]
_OF_SCORED = ("score", "score_unseen", "interval")


@dataclass
class Entry:
    """A candidate on its way: its figures, its partial scores, and why it is out ("": it is not)."""

    candidate: CandidateStudent
    predicted: Values = field(default_factory=dict)  # by measuring its shape, or by the regression
    measured: Values = field(default_factory=dict)  # of its bundle
    rungs: list[Values] = field(default_factory=list)
    out: str = ""
    final: Values | None = None

    @property
    def values(self) -> Values:
        """What counts against the budget: the bundle's figures where there is one."""
        return self.measured or self.predicted

    @property
    def at_best(self) -> Values:
        """The same, but a latency that was predicted may be as much lower as the worst prediction was off."""
        values = self.values
        if values["measured"]:
            return values
        times = values["latency_ms"] / values["latency_low_ms"] if values["latency_low_ms"] else 1.0
        return {
            **values,
            "latency_ms": values["latency_low_ms"],
            "texts_per_second": times * values["texts_per_second"],
        }

    def finish(self, record: Values, bundle: Path, root: Path) -> None:
        """Takes over what its run has given. record: of the trial. bundle: in the run's folder.

        Scores are the bundle's: of one that is int8 or has a pruned vocabulary, those that were measured of it.
        """
        folder = bundle.parent
        report, own = read_json(folder / "report.json"), record["bundle"]
        student, fidelity = report["student"], (report.get("fidelity") or {}).get("student") or {}
        scores = {"dev": record["stages"][-1]["dev"], **{name: student.get(name) for name in _OF_SCORED}}
        if own is not None:
            teacher = report["teacher"]["score"]
            scores = {**dict.fromkeys(scores), **own}
            report, fidelity = {**report, "retention": scores["score"] / teacher if teacher else None}, {}
        self.final = {
            **scores,
            "steps": sum(stage["steps"] for stage in record["stages"]),
            "seconds": sum(stage["seconds"] for stage in record["stages"]),
            "parameters": read_json(bundle / MANIFEST)["parameters"],
            "retention": report.get("retention"),
            "agreement": fidelity.get("agreement"),
            "bundle": os.path.relpath(bundle, root),
            "report": os.path.relpath(folder / "report.html", root),
        }


class SearchState:
    """Everything that the report says, filled in while the search goes on."""

    def __init__(self, settings: SearchSettings, command: str):
        self.settings, self.command = settings, command
        self.entries: dict[CandidateStudent, Entry] = {}
        self.left_out: dict[str, str] = {}
        self.facts: Values = {}  # of the run, before any training
        self.speeds: ShapeSpeeds | None = None
        self.full_steps = {"general": 0, "task": 0}
        self.nearest: CandidateStudent | None = None
        self.winner: CandidateStudent | None = None
        self.references: dict[str, Values] = {}  # teacher, linear floor, the winner's shape without distillation
        self.environment: Values = {}
        self._trained: dict[str, int] = {}  # steps by folder

    def values(self, one: CandidateStudent, shape: Shape) -> Values:
        """A candidate's figures, by bound, with the spread of the latency."""
        assert self.speeds is not None, "shapes are measured first"
        return figures_as_values(self.speeds.figures(shape, one.precision), self.settings.at.batch, parameters(shape))

    def count(self, trial: Trial, record: Values) -> None:
        """Counts the steps of a trial; one that goes on in the same folder has those before it as well."""
        steps = sum(stage["steps"] for stage in record["stages"])
        self._trained[trial.name] = max(steps, self._trained.get(trial.name, 0))

    def choose(self, finalists: list[CandidateStudent]) -> CandidateStudent | None:
        """The finalist with the best dev score of those that keep to the budget as measured; None: none does.

        Of equal scores the one with the lower latency.
        """
        limits = self.settings.budget.bounds
        for one in finalists:
            self.entries[one].out = "; ".join(map(str, broken_bounds(self.entries[one].values, limits)))
        within = [one for one in finalists if not self.entries[one].out]
        self.winner = max(within, key=self._rank) if within else None
        return self.winner

    def _rank(self, one: CandidateStudent) -> tuple[float, float]:
        entry = self.entries[one]
        return (entry.final or {})["dev"], -entry.values["latency_ms"]

    def add_baseline(self, one: CandidateStudent, measured: Values) -> None:
        """Takes the reference without distillation, of the winner's shape."""
        own = {name: measured.get(name) for name in _OF_SCORED}
        self.references["without distillation"] = {**own, "latency_ms": self.entries[one].values["latency_ms"]}

    def results(self) -> Values:
        """results.json."""
        trained = sum(self._trained.values())
        alone = sum(self.full_steps.values())
        candidates = sum(bool(entry.rungs) for entry in self.entries.values())
        return {
            "name": Path(self.settings.output_dir).name,
            "complete": self.winner is not None,
            "budget": self.settings.budget.bounds,
            "at": self.settings.at.model_dump(mode="json"),
            "facts": self.facts,
            "speed": self.speeds and self.speeds.record(),
            "candidates": [
                {
                    "name": one.name,
                    **asdict(one),
                    **{name: getattr(entry, name) for name in ("predicted", "measured", "rungs", "out", "final")},
                }
                for one, entry in self.entries.items()
            ],
            "left_out": self.left_out,
            "references": self.references,
            "nearest": self.nearest and self.nearest.name,
            "winner": self.winner and self.winner.name,
            "steps": {
                "trained": trained,
                "full_recipe": alone,
                "general": self.full_steps["general"],
                "candidates": candidates,
                "times_full_recipe": trained / alone if alone else None,
                "times_per_4_candidates": trained / alone / (candidates / 4) if alone and candidates else None,
            },
            "environment": self.environment,
            "command": self.command,
        }


def figures_as_values(figures: Figures, batch: int, parameter_count: int) -> Values:
    """Figures by the names of bounds, with the spread of the latency and whether it was measured."""
    return {
        "latency_ms": figures.latency_ms,
        "latency_low_ms": figures.low,
        "latency_high_ms": figures.high,
        "texts_per_second": batch * 1e3 / figures.latency_ms,
        "files_mb": figures.files_mb,
        "rss_mb": figures.rss_mb,
        "parameters_m": parameter_count / 1e6,
        "measured": figures.measured,
    }
