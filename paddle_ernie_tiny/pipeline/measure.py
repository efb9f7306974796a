"""What is measured of a finished step: scores, predictions, a linear probe, and the latent terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..config import TrainingSettings
from ..distillation.teacher import Teacher
from ..distillation.trainers import measure_terms
from ..errors import GateError
from ..kinds.breakdown import worst_rows
from ..kinds.metrics import Scored
from ..kinds.uncertainty import interval
from ..models.build import count_parameters
from ..seals import read_seal
from ..stages import DataKind, Stage, TeacherKind
from ..terms.term import Side
from ..training.inference import predict
from .context import LABELLED, RunContext
from .floor import judged_teacher
from .step import METRICS as METRICS_FILE
from .step import PREDICTIONS

# Rows on which latent terms are measured after each stage; enough for three stable digits.
LATENT_ROWS = 256
LATENT_SPLITS = ("training", "held_out")
PROBE_TRAIN_ROWS = 2000
PROBE_ANSWERS = 20_000  # at most; a row of a tagging task has one per word


def dev_score(context: RunContext, model: Any, side: Side, settings: TrainingSettings) -> Callable[[], float]:
    """() -> the task's metric on the dev split (1 is perfect), of a model that reads the ids of `side`."""
    return lambda: context.dev_score(model, side, settings.per_device_eval_batch_size)


def measure_classifier(
    context: RunContext, model: Any, step: Path, side: Side, settings: TrainingSettings | None
) -> dict[str, Any]:
    """Scores a trained model on the test split and keeps its logits in `predictions.npz`, one line per answer.

    Batches are as large as its training's `settings` say. A teacher is also judged against chance and the floor.
    """
    batch_size = settings.per_device_eval_batch_size if settings else 64
    kind = context.fitted_kind(model, side, batch_size)
    outputs = context.predict(model, "test", side, batch_size, kind)
    arrays = kind.arrays(outputs)
    np.savez_compressed(step / PREDICTIONS, unseen=context.data.unseen[arrays["rows"]], **arrays)
    tests = {name: context.predict(model, name, side, batch_size, kind) for name in context.data.more_tests}
    bounds = {name: interval(context.metric, scored) for name, scored in tests.items()}
    more = {
        "more_tests": {name: found.score for name, found in bounds.items()},
        "more_intervals": {name: [found.low, found.high] for name, found in bounds.items()},
    }
    judged = judged_teacher(context, outputs) if side == "teacher" else {}
    learnt = {} if kind is context.data.kind else {"settings": asdict(kind.settings)}
    seen = {"params": count_parameters(model), **_scores(context, outputs), **learnt}
    where = {"breakdown": kind.breakdown(outputs), "worst": worst_rows(kind, outputs, context.data.test)}
    return {**seen, **more, **judged, **where}


def require_above_chance(context: RunContext, step: Path) -> list[str]:
    """What is to be said of the measured teacher (see `judged_teacher`).

    Raises GateError, with the confusion matrix, if it is no better than chance on a split that could have told.
    """
    measured = read_seal(step / METRICS_FILE) or {}
    chance, against = measured["chance"], measured["against_floor"]
    lines = [] if against is None else [("" if against["pays"] else "warning: ") + against["sentence"]]
    if not (context.config.teacher and context.config.teacher.check_above_chance):
        off = "teacher.check_above_chance is false, so a teacher at chance is not stopped"
        return [*([] if chance["verdict"] == "above" else [f"warning: {chance['sentence']} ({off})"]), *lines]
    if chance["verdict"] == "chance":
        kind = context.data.kind
        kind = kind.with_settings(measured["settings"]) if "settings" in measured else kind
        with np.load(step / PREDICTIONS) as arrays:
            answers = kind.of_arrays(arrays, context.data.labels)
        raise at_chance(chance["sentence"], answers)
    return lines if chance["verdict"] == "above" else [f"warning: {chance['sentence']}", *lines]


def at_chance(sentence: str, outputs: Scored) -> GateError:
    """The error of a teacher that is no better than chance, with the confusion matrix."""
    return GateError(
        f"{sentence}\n{outputs.errors_table()}".rstrip(),
        "teacher",
        "check the order of task.labels, the columns, the learning rate and the steps of teacher.finetune; "
        "teacher.check_above_chance=false continues anyway",
    )


def _scores(context: RunContext, outputs: Scored) -> dict[str, Any]:
    """The metric on all test rows and on those that do not also occur in train (null: none), with its intervals."""
    unseen, bounds = context.data.unseen, interval(context.metric, outputs)
    other = interval(context.metric, outputs.take(unseen)) if unseen.any() else None
    return {
        "score": bounds.score,
        "interval": [bounds.low, bounds.high],
        "score_unseen": other and other.score,
        "interval_unseen": other and [other.low, other.high],
        "rows": len(outputs.outputs),
        "rows_unseen": int(unseen.sum()),
    }


def linear_probe(context: RunContext, final: Path, batch_size: int) -> dict[str, Any]:
    """A linear model on frozen states ([CLS], or each word's), fitted on a part of train, scored on test."""
    from sklearn.preprocessing import StandardScaler

    data, model = context.data, context.load_classifier(final)
    if data.kind.no_probe:
        return {"score": None, "reason": data.kind.no_probe}
    train, pad_id = context.rows(LABELLED, "student"), context.tokenizers["student"].pad_id
    subset = train.take(np.random.default_rng(context.config.seed).permutation(len(train))[:PROBE_TRAIN_ROWS])
    fitted, tested = (
        predict(model, data.kind, rows, pad_id, data.labels, batch_size, states=True)
        for rows in (subset, context.rows("test", "student"))
    )
    if len(np.unique(fitted.targets)) < 2:
        return {"score": None, "reason": "the probe's training rows hold one label only"}
    scaler = StandardScaler()
    states = scaler.fit_transform(fitted.logits)[:PROBE_ANSWERS]
    logits = data.kind.probe(states, fitted.targets[:PROBE_ANSWERS], scaler.transform(tested.logits), len(data.labels))
    ends = np.cumsum([len(output) for output in tested.outputs])[:-1]
    outputs = data.kind.scored(np.split(logits, ends), tested.gold, data.labels, tested.groups)
    return {"params": count_parameters(model), "probe_rows": len(subset), **_scores(context, outputs)}


def latent_settings(context: RunContext) -> list[tuple[TeacherKind, DataKind]]:
    """The distinct (teacher, data) pairs that the run's stages train on, in their order."""
    return list(_latent_stages(context))


def _latent_stages(context: RunContext) -> dict[tuple[TeacherKind, DataKind], Stage]:
    stages = [context.stage(index) for index in range(len(context.config.stages))] if context.config.teacher else []
    return {(stage.teacher, stage.data): stage for stage in stages}


def latent_terms(context: RunContext, index: int, student_folder: Path | None) -> list[dict[str, Any]]:
    """Each latent term of a student, for every pair of teacher and data of the run.

    Measured with dropout off on rows that the stages train on ("training") and on rows that none of them
    sees ("held_out"): of general text the corpus's held-out rows, of task text the dev split.
    """
    result = []
    for (teacher_kind, data), stage in _latent_stages(context).items():
        state = paddle.get_rng_state()
        model = context.load_teacher(teacher_kind)
        student = context.load_student(index, model, student_folder, label_terms=False)
        paddle.set_rng_state(state)  # as if nothing had been measured
        teacher = Teacher(model, student.objective.needs("teacher"))
        for split in LATENT_SPLITS:
            rows = _sample(context, stage, split)
            terms = measure_terms(student, teacher, rows, context.tokenizers["student"].pad_id)
            result.append({"teacher": teacher_kind, "data": data, "split": split, "rows": len(rows), "terms": terms})
        teacher.release()
    return result


def _sample(context: RunContext, stage: Stage, split: str) -> Any:
    """The same `LATENT_ROWS` rows (or all, if there are fewer) at every measurement of a run."""
    if stage.is_general:
        rows: Any = context.corpus.train if split == "training" else context.corpus.held_out
    else:
        rows = context.rows("train" if split == "training" else "dev", "student")
    return rows.take(np.random.default_rng(context.config.seed).permutation(len(rows))[:LATENT_ROWS])
