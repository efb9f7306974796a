"""The trainings of a search, one after another in one process; each is recorded, and none is made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from ..data.rows import characters
from ..errors import InputError, InputErrors
from ..files import write_json
from ..machine import import_paddle
from ..pipeline.context import RunContext
from ..pipeline.preflight import check_student, preflight
from ..pipeline.pruning import tokens_kept
from ..pipeline.run import run
from ..pipeline.sources import Sources
from ..pipeline.step import DONE, RunFolder, fingerprint
from ..seals import read_seal, whole_or_none, write_seal
from ..stages import STAGES
from ..study.group import logged, shared_out, with_steps
from ..training.batches import rows_of_batches
from ..training.trainer import total_steps
from ..watch import Progress, Watcher

LOG, PROGRESS, TRIALS = "log.txt", "progress.json", "trials"
_DECIDE_NOTHING = {"output_dir", "signals_folder", "save_minutes", "benchmark", "card"}
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the training texts' lengths


@dataclass(frozen=True)
class Trial:
    """A training: a run until one of its steps. `name` is the run's folder below the search's folder `root`.

    measured: also on the scored split, and probes of stages without labels; otherwise by dev alone. mark: tells
    apart the records of several trials in one folder, if not `until`.
    """

    name: str
    config: RunConfig
    until: str | None
    root: Path
    measured: bool = False
    mark: str = ""

    @property
    def shared(self) -> Path:
        """Teacher and prepared data, the same for all trials."""
        return self.root / "shared"

    def key(self) -> str:
        """Changes with everything that decides its result."""
        unused = _DECIDE_NOTHING | ({"export"} if self.until else set())
        values = self.config.model_dump(mode="json", exclude=unused)
        return fingerprint([values, self.until, self.measured, Sources(self.config).sums])

    def record(self) -> dict[str, Any] | None:
        """What it has given; None: it is not finished, or changed since, or damaged."""
        known = whole_or_none(self._seal, self.name)
        return known if known and known["key"] == self.key() else None

    @property
    def _seal(self) -> Path:
        name = "-".join(filter(None, [*self.name.split("/"), self.until, self.mark]))
        return self.root / TRIALS / f"{name}.json"

    def finish(self, values: dict[str, Any]) -> dict[str, Any]:
        """Records it as done."""
        recorded = {"key": self.key(), **values}
        self._seal.parent.mkdir(exist_ok=True)
        write_seal(self._seal, recorded)
        return recorded


def do_trial(trial: Trial) -> dict[str, Any]:
    """In the child process: trains, and gives {"stages": [{"name", "steps", "seconds", "dev"}]} of what was trained."""
    import_paddle()
    with logged(trial.root / LOG):
        trial.shared.mkdir(parents=True, exist_ok=True)
        run(trial.config, until=trial.until, watcher=_watched(trial), shared=trial.shared, measured=trial.measured)
        folder = RunFolder(Path(trial.config.output_dir), trial.shared)
        stages = []
        for index, stage in enumerate(trial.config.stages):
            done = read_seal(folder.stage(index, stage.stage) / DONE)
            if done is not None:
                result = done["result"]
                best = (result.get("best") or {}).get("score")
                stages.append(
                    {"name": stage.stage, "steps": result["steps"], "seconds": result["seconds"], "dev": best}
                )
        (trial.root / PROGRESS).unlink(missing_ok=True)
        return trial.finish({"stages": stages})


def _watched(trial: Trial) -> Watcher:
    def keep(progress: Progress) -> None:
        values = {"title": progress.title, "done": progress.steps, "of": progress.total_steps}
        write_json(trial.root / PROGRESS, values)

    return Watcher(on_progress=keep)


def describe(config: RunConfig, root: Path, pruned: bool, each: Mapping[str, RunConfig]) -> dict[str, Any]:
    """In the child process: what is known of a run before any training; checks data, teacher, and the students of each.

    {"teacher": its sizes and vocab_size, "labels": how many outputs, "lengths": five quantiles of the training texts'
    tokens, "used_tokens": of a pruned vocabulary, where one is asked for, "metric", "evaluated_on", "floor"}. Raises
    InputErrors.
    """
    import_paddle()
    with logged(root / LOG):
        (context,) = preflight(config, shared=root / "shared").values()
        _check_students(context, each)
        lengths = np.sort(_lengths(context))
        at = [lengths[min(len(lengths) - 1, int(q * len(lengths)))] for q in _QUANTILES]
        floor = context.floor
        return {
            "teacher": context.teacher,
            "labels": len(context.data.labels),
            "lengths": [int(length) for length in at],
            "used_tokens": tokens_kept(config) if pruned else None,
            "metric": context.metric,
            "evaluated_on": "test" if config.data.test else "dev",
            "floor": floor and floor.facts,
        }


def _check_students(context: RunContext, each: Mapping[str, RunConfig]) -> None:
    errors = []
    for name, config in each.items():
        try:
            check_student(context, config)
        except InputError as error:
            errors.append(InputError(error.what, f"student {name}: {error.where}", error.remedy))
    if errors:
        raise InputErrors(errors)


def _lengths(context: RunContext) -> np.ndarray:
    """Tokens of the training rows; before there is a vocabulary, characters and the special tokens."""
    most, rows = context.config.task.max_length_tokens, context.data.train
    if context.teacher_source is None:
        return np.array([min(most, characters(row) + 2) for row in rows])
    return np.asarray(context.rows("train", "teacher").lengths)


def count_steps(config: RunConfig, root: Path) -> list[int]:
    """In the child process: optimiser steps of each stage of a run whose teacher is there."""
    import_paddle()
    with logged(root / LOG):
        (context,) = preflight(config, lambda line: None, root / "shared").values()
        counts = [rows_of_batches(context.stage_rows(index, "student")) for index in range(len(config.stages))]
    return [total_steps(stage.training, count) for stage, count in zip(config.stages, counts, strict=True)]


def last_alone(config: RunConfig, steps: int) -> RunConfig:
    """The run with its last stage alone, which has so many steps."""
    stage = config.stages[-1]
    return config.model_copy(
        update={"stages": [stage.model_copy(update={"training": with_steps(stage.training, steps)})]}
    )


def short_run(config: RunConfig, folder: str, task_steps: Sequence[int], rungs: Sequence[int]) -> tuple[RunConfig, str]:
    """The run of a candidate at a rung: its stages on the task once for every rung so far; and its last step's name.

    task_steps: of these stages in the full recipe; they share a rung's steps in proportion. rungs: steps of each.
    """
    on_task = [stage for stage in config.stages if not STAGES[stage.stage].is_general]
    stages = []
    for steps in rungs:
        for stage, part in zip(on_task, shared_out(list(task_steps), steps), strict=True):
            training = with_steps(stage.training, part).model_copy(update={"save_steps": part, "early_stopping": None})
            stages.append(stage.model_copy(update={"training": training}))
    last, times = on_task[-1].stage, len(rungs)
    values = {"stages": stages, "output_dir": folder}
    return config.model_copy(update=values), last if times == 1 else f"{last}-{times}"
