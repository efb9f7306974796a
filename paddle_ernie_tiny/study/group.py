"""The jobs of one task with one seed, one after the other in one process: what they share is made once."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import RunConfig, StageSettings, TrainingSettings
from ..errors import ErnieTinyError, explained
from ..extensions import kind_named
from ..files import read_json, write_json
from ..pipeline.preflight import preflight
from ..pipeline.report import fidelities, measured_classifier, read_resolved
from ..pipeline.run import run
from ..pipeline.step import DONE, FINAL, METRICS, PREDICTIONS, RunFolder
from ..pipeline.step_store import TAKEN, StepStore
from ..seals import read_seal
from ..stages import step_names
from ..training.batches import rows_of_batches
from ..training.trainer import total_steps
from ..watch import Progress, Watcher
from .jobs import PROGRESS, Group, Job, clean_up, given_steps, shared_out
from .study_settings import StudySettings

LOG = "log.txt"  # of a job: what it printed
_RATES = (0.5, 1.0, 2.0)  # times the baseline's learning rate


def do_jobs(group: Group) -> dict[str, ErnieTinyError]:
    """Does the jobs; what was finished before is not repeated. Returns the errors of those that failed, by name."""
    steps, failed = None, {}
    for job in group.jobs:
        with logged(job.folder / LOG):
            try:
                if group.settings.equal_steps and steps is None:
                    steps = group.settings.steps or sum(stage_steps(group.reference))
                _do(job, steps, group.settings)
            except Exception as error:  # of a library too: the other jobs go on
                failed[job.name] = explained(error)
                if failed[job.name] is not error:
                    traceback.print_exc()
                print(failed[job.name], flush=True)
                (job.folder / PROGRESS).unlink(missing_ok=True)
    if group.last and not failed:
        clean_up(group.reference, group.settings)
    return failed


def stage_steps(job: Job) -> list[int]:
    """Optimiser steps of each stage as the job's own recipe says; epochs are counted once there is the teacher."""
    config = job.config
    if given := given_steps(config):
        return given
    if config.teacher is not None:
        _run(job, config, "finetune" if config.teacher.finetune is not None else "teacher")
    (context,) = preflight(config, lambda line: None, job.shared).values()
    rows = (rows_of_batches(context.stage_rows(index, "student")) for index in range(len(config.stages)))
    return [total_steps(stage.training, count) for stage, count in zip(config.stages, rows, strict=True)]


def _do(job: Job, steps: int | None, settings: StudySettings) -> None:
    key = job.key(settings)
    values = _fine_tune(job, steps, settings) if job.fine_tuned else _distil(job, steps)
    job.finish(key, values)
    (job.folder / PROGRESS).unlink(missing_ok=True)
    if not settings.keep_models:
        for folder in job.folder.rglob(FINAL):
            shutil.rmtree(folder)


def _distil(job: Job, steps: int | None) -> dict[str, Any]:
    config = job.config.model_copy(update={"baseline": None})  # which is for fine-tuned variants
    if steps is not None:
        trainings = zip(config.stages, shared_out(stage_steps(job), steps), strict=True)
        stages = [stage.model_copy(update={"training": with_steps(stage.training, n)}) for stage, n in trainings]
        config = config.model_copy(update={"stages": stages})
    _run(job, config, step_names([stage.stage for stage in config.stages])[-1])
    folder = RunFolder(Path(config.output_dir), job.shared)
    folders = [folder.stage(index, stage.stage) for index, stage in enumerate(config.stages)]
    trained = [_stage(step, settings) for step, settings in zip(folders, config.stages, strict=True)]
    return {**_result(job, folder, folders[-1]), "stages": trained}


def _fine_tune(job: Job, steps: int | None, settings: StudySettings) -> dict[str, Any]:
    """Fine-tuning with each rate; the one with the best dev score counts."""
    baseline = job.config.baseline
    assert baseline is not None, "the study was checked"
    rates = settings.rates or [factor * baseline.learning_rate for factor in _RATES]
    tried: dict[str, tuple[float, RunFolder, TrainingSettings]] = {}
    for rate in rates if settings.equal_steps else [baseline.learning_rate]:
        training = baseline.model_copy(update={"learning_rate": rate})
        training = training if steps is None else with_steps(training, steps)
        folder = RunFolder(job.folder / f"rate-{rate:g}", job.shared)
        config = job.config.model_copy(update={"baseline": training, "output_dir": str(folder.root)})
        _run(job, config, "baseline")
        done = read_seal(folder.baseline / DONE) or {}
        tried[f"{rate:g}"] = done["result"]["best"]["score"], folder, training
    best = max(tried, key=lambda rate: tried[rate][0])
    _, folder, training = tried[best]
    values = {**_result(job, folder, folder.baseline), "stages": [_training(folder.baseline, "baseline", training)]}
    return {**values, "rates": {rate: score for rate, (score, *_) in tried.items()}}


def with_steps(training: TrainingSettings, steps: int) -> TrainingSettings:
    """The same training with so many optimiser steps."""
    return training.model_copy(update={"max_steps": steps, "num_train_epochs": None})


def _run(job: Job, config: RunConfig, until: str) -> None:
    store = StepStore(job.store, job.name)
    job.shared.mkdir(parents=True, exist_ok=True)
    try:
        run(config, until=until, watcher=watched(job.folder / PROGRESS), shared=job.shared, store=store)
    finally:
        store.close()


def watched(file: Path) -> Watcher:
    """Keeps in a file how far a training is, for who looks at it from another process."""

    def keep(progress: Progress) -> None:
        write_json(file, {"title": progress.title, "done": progress.steps, "of": progress.total_steps})

    return Watcher(on_progress=keep)


def _result(job: Job, folder: RunFolder, final: Path) -> dict[str, Any]:
    """Scores of the student that a step made, and of its teacher; its predictions are copied to the job's folder."""
    config = job.config
    header = read_resolved(folder)["run"]
    kind = kind_named(config.task.kind, "task.kind", config.task.settings)
    student = measured_classifier(final)
    teacher = None
    if config.teacher is not None:
        teacher = measured_classifier(folder.finetuned if config.teacher.finetune is not None else folder.given)
    shutil.copyfile(final / PREDICTIONS, job.folder / PREDICTIONS)
    floor = (read_seal(folder.prepared("floor") / DONE) or {}).get("result")
    scored = ("score", "score_unseen", "interval", "params", "rows", "rows_unseen", "settings")
    near = fidelities(student, None, teacher, kind)["student"] or {}
    return {
        **{name: student.get(name) for name in scored},
        "teacher": teacher and {name: teacher.get(name) for name in ("score", "score_unseen", "params")},
        "agreement": near.get("agreement"),
        "kl": near.get("kl"),
        "floor": floor and {name: floor[name] for name in ("score", "score_unseen")},
        "kind": kind.name,
        "metric": config.task.metric,
        "evaluated_on": "test" if config.data.test else "dev",
        "labels": header["labels"],
        "environment": header["environment"],
    }


def _stage(step: Path, settings: StageSettings) -> dict[str, Any]:
    metrics = read_seal(step / METRICS) or {}
    scores = {name: metrics.get(name) for name in ("score", "score_kind")}
    return {**_training(step, settings.stage, settings.training), **scores}


def _training(step: Path, name: str, training: TrainingSettings) -> dict[str, Any]:
    result = (read_seal(step / DONE) or {})["result"]
    metrics = read_seal(step / METRICS) or {}
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    curve = [[entry["step"], entry["dev_score"]] for entry in result["history"] if "dev_score" in entry]
    return {
        "name": name,
        "steps": result["steps"],
        "rows_trained": result["steps"] * batch,
        "seconds": result["seconds"],
        "learning_rate": training.learning_rate,
        "score": metrics.get("score"),
        "score_kind": "classifier",
        "shared": read_json(step / TAKEN) is not None,
        "curve": curve,
    }


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """What the process prints goes to the file, also from libraries."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.stdout.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, old in enumerate(kept, start=1):
            os.dup2(old, number)
            os.close(old)
