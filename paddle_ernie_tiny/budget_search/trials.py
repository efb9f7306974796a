"""The trainings of a search, one after another in one process; each is recorded, and none is made twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config import RunConfig
from ..data.text_tokenizer import TextTokenizer
from ..deploy.bundle import MANIFEST
from ..deploy.predictor import Predictor
from ..deploy.row_files import LabelledRows, evaluate_rows
from ..errors import InputError, InputErrors
from ..machine import import_paddle, thread_count
from ..models.build import read_model_config
from ..models.initialise import start_folder
from ..pipeline.context import RunContext
from ..pipeline.preflight import check_student, preflight
from ..pipeline.pruning import planned_tokenizer, run_tokens
from ..pipeline.run import run
from ..pipeline.sources import Sources
from ..pipeline.step import DONE, FINAL, METRICS, RunFolder, fingerprint
from ..processes import in_child
from ..seals import read_seal, whole_or_none, write_seal
from ..stages import STAGES, step_names
from ..study.group import logged, shared_out, watched, with_steps
from ..training.batches import rows_of_batches
from ..training.trainer import total_steps

LOG, PROGRESS, TRIALS = "log.txt", "progress.json", "trials"
_DECIDE_NOTHING = {"output_dir", "signals_folder", "save_minutes", "benchmark", "card"}
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the training texts' lengths


@dataclass(frozen=True)
class Trial:
    """A training: a run until one of its steps. `name` is the run's folder below the search's folder `root`.

    measured: also on the scored split, and probes of stages without labels; otherwise by dev alone. engine: in which
    the bundle is scored, if it is int8 or has a pruned vocabulary.
    """

    name: str
    config: RunConfig
    until: str | None
    root: Path
    measured: bool = False
    engine: str = ""

    @property
    def shared(self) -> Path:
        """Teacher and prepared data, the same for all trials."""
        return self.root / "shared"

    def key(self) -> str:
        """Changes with everything that decides its result."""
        unused = _DECIDE_NOTHING | ({"export"} if self.until else set())
        values = self.config.model_dump(mode="json", exclude=unused)
        return fingerprint([values, self.until, self.measured, self.engine, Sources(self.config).sums])

    def record(self) -> dict[str, Any] | None:
        """What it has given; None: it is not finished, or changed since, or damaged, or its files are gone."""
        known = whole_or_none(self._seal, self.name)
        return known if known and known["key"] == self.key() and self._is_there() else None

    def _is_there(self) -> bool:
        """Is what others start from, and what the report reads, still in the run's folder?"""
        folder, stages = RunFolder(Path(self.config.output_dir)), [stage.stage for stage in self.config.stages]
        if self.until is None:
            return folder.report.is_file() and (bundle_of(self.config) / MANIFEST).is_file()
        if self.until == "baseline":
            return (folder.baseline / METRICS).is_file()
        made = [step for step, name in enumerate(step_names(stages)) if name == self.until]
        return all((folder.stage(step, stages[step]) / FINAL).is_dir() for step in made)

    @property
    def _seal(self) -> Path:
        name = "-".join(filter(None, [*self.name.split("/"), self.until]))
        return self.root / TRIALS / f"{name}.json"

    def finish(self, values: dict[str, Any]) -> dict[str, Any]:
        """Records it as done."""
        recorded = {"key": self.key(), **values}
        self._seal.parent.mkdir(exist_ok=True)
        write_seal(self._seal, recorded)
        return recorded


def do_trial(trial: Trial) -> dict[str, Any]:
    """In the child process: trains, and gives {"stages": [{"name", "steps", "seconds", "dev"}]} of what was trained.

    And "bundle", what `_scores_of_bundle` gives.
    """
    import_paddle()
    with logged(trial.root / LOG):
        trial.shared.mkdir(parents=True, exist_ok=True)
        run(
            trial.config,
            until=trial.until,
            watcher=watched(trial.root / PROGRESS),
            shared=trial.shared,
            measured=trial.measured,
        )
        folder = RunFolder(Path(trial.config.output_dir), trial.shared)
        stages, names = [], step_names([stage.stage for stage in trial.config.stages])
        # of later stages, an earlier budget or base may have left something there
        last = len(names) if trial.until is None else names.index(trial.until) + 1 if trial.until in names else 0
        for index, stage in enumerate(trial.config.stages[:last]):
            done = read_seal(folder.stage(index, stage.stage) / DONE)
            if done is not None:
                result = done["result"]
                best = (result.get("best") or {}).get("score")
                stages.append(
                    {"name": stage.stage, "steps": result["steps"], "seconds": result["seconds"], "dev": best}
                )
        (trial.root / PROGRESS).unlink(missing_ok=True)
        return trial.finish({"stages": stages, "bundle": _scores_of_bundle(trial)})


def bundle_of(config: RunConfig) -> Path:
    """The bundle that a run is made for: the int8 one, if there is one."""
    folder = RunFolder(Path(config.output_dir))
    return folder.bundle if config.export.int8 is None else folder.int8_bundle


def _scores_of_bundle(trial: Trial) -> dict[str, Any] | None:
    """{"dev": score, "score", "interval"} of a bundle that answers otherwise than the student as it was trained.

    None for other bundles, and where the trial has no engine to score it in.
    """
    export = trial.config.export
    if not trial.engine or (export.int8 is None and export.prune_vocabulary is None):
        return None
    (context,) = preflight(trial.config, lambda line: None, trial.shared).values()
    splits = [LabelledRows.of(context.data.dev), LabelledRows.of(context.data.test)]
    dev, scored = in_child("scoring", _scored, bundle_of(trial.config), trial.engine, splits)
    return {"dev": dev[context.metric], "score": scored[context.metric], "interval": scored["interval"]}


def _scored(bundle: Path, engine: str, splits: list[LabelledRows]) -> list[dict[str, Any]]:
    predictor = Predictor(bundle, threads=thread_count("auto"), engine=engine)
    return [evaluate_rows(predictor, rows) for rows in splits]


def describe(
    config: RunConfig, root: Path, measured: bool, pruned: bool, each: Mapping[str, RunConfig]
) -> dict[str, Any]:
    """In the child process: what is known of a run before any training; checks data, teacher, and the students of each.

    {"teacher": its sizes, "tokens": of the student's vocabulary, "used_tokens": of a pruned one, if `pruned`, "graph":
    in which the kind of task is exported, "labels": how many outputs, "lengths": if `measured`, five quantiles of the
    training texts' tokens, "metric", "evaluated_on", "floor"}. Raises InputErrors.
    """
    import_paddle()
    with logged(root / LOG):
        (context,) = preflight(config, shared=root / "shared").values()
        _check_students(context, each)
        data, model = context.data, start_folder(config.student) or context.teacher_source
        tokenizer = planned_tokenizer(config, data)
        tokens = read_model_config(model)["vocab_size"] if model else tokenizer.vocab_size
        floor = context.floor
        return {
            # of a vocabulary that is learnt in the run, the configuration has only the size that it has at most
            "teacher": context.teacher if model else {**(context.teacher or {}), "vocab_size": tokens},
            "tokens": tokens,
            "graph": data.kind.graphs[0],
            "labels": len(data.labels),
            "lengths": _lengths(context, tokenizer) if measured else [],
            "used_tokens": len(run_tokens(config, data, tokenizer)) if pruned else None,
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


def _lengths(context: RunContext, tokenizer: TextTokenizer) -> list[int]:
    """Five quantiles of the training texts' tokens."""
    task = context.config.task
    rows = context.data.kind.encode(tokenizer, context.data.train, task.max_length_tokens, task.long_text or "truncate")
    lengths = np.sort(rows.lengths)
    return [int(lengths[min(len(lengths) - 1, int(q * len(lengths)))]) for q in _QUANTILES]


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


def on_task_alone(config: RunConfig) -> RunConfig:
    """The run without its general stages."""
    return config.model_copy(update={"stages": [s for s in config.stages if not STAGES[s.stage].is_general]})


def short_run(config: RunConfig, folder: str, task_steps: Sequence[int], rungs: Sequence[int]) -> tuple[RunConfig, str]:
    """The run of a candidate at a rung: its stages on the task once for every rung so far; and its last step's name.

    task_steps: of these stages in the full recipe; they share a rung's steps in proportion. rungs: steps of each.
    """
    on_task = [stage for stage in config.stages if not STAGES[stage.stage].is_general]
    stages = []
    for steps in rungs:
        for stage, part in zip(on_task, shared_out(list(task_steps), steps), strict=True):
            training = with_steps(stage.training, part).model_copy(update={"save_steps": part, "early_stopping": None})
            # the teacher's head needs a projection that the stage before has trained: in a rung, the first has none
            head = "own" if stage is on_task[0] else stage.head
            stages.append(stage.model_copy(update={"training": training, "head": head}))
    until = step_names([stage.stage for stage in stages])[-1]
    return config.model_copy(update={"stages": stages, "output_dir": folder}), until
