"""What is measured of a finished step: scores, predictions, a linear probe, and the latent terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..distillation.teacher import Teacher
from ..distillation.trainers import measure_terms
from ..errors import GateError
from ..files import read_json
from ..kinds.metrics import METRICS, Scored, confusion_matrix
from ..models.build import count_parameters
from ..stages import DataKind, TeacherKind
from ..training.batches import corpus_rows
from ..training.inference import predict
from .context import RunContext
from .layout import METRICS as METRICS_FILE
from .layout import PREDICTIONS

# Rows on which latent terms are measured after each stage; enough for three stable digits.
LATENT_ROWS = 256
LATENT_SPLITS = ("training", "held_out")
PROBE_TRAIN_ROWS = 2000
PROBE_ANSWERS = 20_000  # at most; a row of a tagging task has one per word


def measure_classifier(context: RunContext, model_folder: Path, step: Path) -> dict[str, Any]:
    """Scores a trained model on the test split and keeps its logits in `predictions.npz`, one line per answer."""
    data, metric = context.data, context.config.task.metric or ""
    model = context.load_classifier(model_folder)
    scored = _predict(context, model, "test")
    arrays = {"labels": scored.targets, "rows": scored.rows, "unseen": data.unseen[scored.rows]}
    np.savez_compressed(step / PREDICTIONS, logits=scored.logits, **arrays)
    more = {name: METRICS[metric](_predict(context, model, name)) for name in data.more_tests}
    return {"params": count_parameters(model), **_scores(context, scored), "more_tests": more}


def _predict(context: RunContext, model: Any, split: str) -> Scored:
    data = context.data
    return predict(model, data.kind, context.rows(split), context.tokenizer.pad_id, data.labels)


def require_above_chance(context: RunContext, step: Path) -> None:
    """Raises GateError, with the confusion matrix, unless the measured teacher does better than chance.

    It must beat an answer that does not look at the text by three standard errors (see `Metric.chance`).
    """
    if not context.config.teacher.check_above_chance:
        return
    score = read_json(step / METRICS_FILE)["score"]
    with np.load(step / PREDICTIONS) as arrays:
        ends = np.flatnonzero(np.diff(arrays["rows"])) + 1
        outputs, gold = (np.split(arrays[name], ends) for name in ("logits", "labels"))
    groups = context.rows("test").groups
    check_above_chance(context.config.task.metric or "", score, Scored(outputs, gold, context.data.labels, groups))


def check_above_chance(metric: str, score: float, scored: Scored) -> None:
    """Raises GateError, with the confusion matrix, unless `score` is above chance on these answers."""
    expected, margin = METRICS[metric].chance(scored)
    if score > expected + margin:
        return
    matrix = confusion_matrix(scored) if len(scored.labels) > 1 else ""
    raise GateError(
        f"the fine-tuned teacher scores {score:.4f} ({metric}) on {len(scored.targets)} answers; chance is "
        f"{expected:.4f}, and more than {expected + margin:.4f} is required, three standard errors above it"
        + (f"\n{matrix}" if matrix else ""),
        "teacher",
        "check the order of task.labels, the columns, the learning rate and the steps of teacher.finetune; "
        "teacher.check_above_chance=false continues anyway",
    )


def _scores(context: RunContext, scored: Scored) -> dict[str, Any]:
    """The metric on all test rows, and on those that do not also occur in train (null: there are none)."""
    metric, unseen = context.config.task.metric or "", context.data.unseen
    return {
        "score": METRICS[metric](scored),
        "score_unseen": METRICS[metric](scored.take(unseen)) if unseen.any() else None,
        "rows": len(scored.outputs),
        "rows_unseen": int(unseen.sum()),
    }


def measure_stage(context: RunContext, index: int, step: Path, final: Path) -> dict[str, Any]:
    """Score of the stage's student (a linear probe if the stage has no labels) and its latent terms."""
    if context.stage(index).label_terms:
        measured = {**measure_classifier(context, final, step), "score_kind": "classifier"}
    else:
        measured = {**_linear_probe(context, final), "score_kind": "linear probe"}
    if index == 0:
        measured["latent_before"] = latent_terms(context, index, None)
    measured["latent"] = latent_terms(context, index, final)
    return measured


def _linear_probe(context: RunContext, final: Path) -> dict[str, Any]:
    """A linear model on frozen states ([CLS], or each word's), fitted on a part of train, scored on test."""
    from sklearn.preprocessing import StandardScaler

    data, pad_id = context.data, context.tokenizer.pad_id
    model = context.load_classifier(final)
    train, test = context.rows("train"), context.rows("test")
    subset = train.take(np.random.default_rng(context.config.seed).permutation(len(train))[:PROBE_TRAIN_ROWS])
    fitted = predict(model, data.kind, subset, pad_id, data.labels, states=True)
    if len(np.unique(fitted.targets)) < 2:
        return {"score": None, "reason": "the probe's training rows hold one label only"}
    scaler = StandardScaler()
    states = scaler.fit_transform(fitted.logits)[:PROBE_ANSWERS]
    tested = predict(model, data.kind, test, pad_id, data.labels, states=True)
    logits = data.kind.probe(states, fitted.targets[:PROBE_ANSWERS], scaler.transform(tested.logits), len(data.labels))
    ends = np.cumsum([len(output) for output in tested.outputs])[:-1]
    scored = Scored(np.split(logits, ends), tested.gold, data.labels, tested.groups)
    return {"params": count_parameters(model), "probe_rows": len(subset), **_scores(context, scored)}


def latent_settings(context: RunContext) -> list[tuple[TeacherKind, DataKind]]:
    """The distinct (teacher, data) pairs that the run's stages train on, in their order."""
    stages = [context.stage(index) for index in range(len(context.config.stages))]
    return list(dict.fromkeys((stage.teacher, stage.data) for stage in stages))


def latent_terms(context: RunContext, index: int, student_folder: Path | None) -> list[dict[str, Any]]:
    """Each latent term of a student, for every pair of teacher and data of the run.

    Measured with dropout off on rows that the stages train on ("training") and on rows that none of them
    sees ("held_out"): of general text the corpus's held-out rows, of task text the dev split.
    """
    result = []
    for teacher_kind, data_kind in latent_settings(context):
        state = paddle.get_rng_state()
        try:
            model = context.load_teacher(teacher_kind)
            objective, student = context.load_student(index, model, student_folder, label_terms=False)
        finally:
            paddle.set_rng_state(state)  # as if nothing had been measured
        teacher = Teacher(model, objective.needs("teacher"))
        for split in LATENT_SPLITS:
            rows = _sample(context, data_kind, split)
            terms = measure_terms(student, teacher, objective, rows, context.tokenizer.pad_id)
            result.append(
                {"teacher": teacher_kind, "data": data_kind, "split": split, "rows": len(rows), "terms": terms}
            )
        teacher.release()
    return result


def _sample(context: RunContext, data_kind: DataKind, split: str) -> Any:
    """The same `LATENT_ROWS` rows (or all, if there are fewer) at every measurement of a run."""
    if data_kind == "general":
        dataset: Any = context.corpus.train if split == "training" else context.corpus.held_out
    else:
        dataset = context.rows("train" if split == "training" else "dev")
    picked = np.random.default_rng(context.config.seed).permutation(len(dataset))[:LATENT_ROWS]
    return corpus_rows(dataset, picked) if data_kind == "general" else dataset.take(picked)
