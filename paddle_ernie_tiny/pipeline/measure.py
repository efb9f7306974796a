"""What is measured of a finished step: scores, predictions, a linear probe, and the latent terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ..distillation.stages import STAGES, measure_terms
from ..distillation.teacher import Teacher
from ..models.build import count_parameters, load_classifier
from ..training.batches import EncodedRows, corpus_rows
from ..training.inference import answer_labels, answered_rows, predict_logits, probe_features, score
from .context import RunContext
from .lineage import read_json
from .steps import load_student, load_teacher
from .teacher_gate import check_above_chance

# Rows on which latent terms are measured after each stage; enough for three stable digits.
LATENT_ROWS = 256
LATENT_SPLITS = ("training", "held_out")
PROBE_TRAIN_ROWS = 2000
PROBE_ANSWERS = 20_000  # at most; a row of a tagging task has one a word


def measure_classifier(context: RunContext, model_folder: Path, step: Path) -> dict:
    """Scores a trained model on the test split and keeps its logits in `predictions.npz`, a row an answer."""
    model = load_classifier(model_folder, context.data.labels, context.data.kind)
    rows = context.rows("test")
    logits = predict_logits(model, rows, context.tokenizer.pad_id)
    answered = answered_rows(rows)
    arrays = {"labels": answer_labels(rows), "rows": answered, "unseen": context.data.unseen[answered]}
    np.savez_compressed(step / "predictions.npz", logits=logits, **arrays)
    more = {}
    for name in context.data.more_tests:
        further = context.rows(name)
        answers = predict_logits(model, further, context.tokenizer.pad_id)
        more[name] = score(context.config.task.metric, answers, further, context.data.labels)
    return {"params": count_parameters(model), **_scores(context, logits), "more_tests": more}


def require_above_chance(context: RunContext, step: Path) -> None:
    """Raises GateError where the measured teacher does no better than chance."""
    if not context.config.teacher.check_above_chance:
        return
    metric, groups = context.config.task.metric, context.rows("test").groups
    measured = read_json(step / "metrics.json")
    with np.load(step / "predictions.npz") as arrays:
        check_above_chance(metric, measured["score"], arrays["logits"], arrays["labels"], context.data.labels, groups)


def _scores(context: RunContext, logits: np.ndarray) -> dict:
    """The metric on all test rows, and on those that do not also stand in train (null: there are none)."""
    metric, rows, unseen = context.config.task.metric, context.rows("test"), context.data.unseen
    labels = context.data.labels
    return {
        "score": score(metric, logits, rows, labels),
        "score_unseen": score(metric, logits, rows, labels, unseen) if unseen.any() else None,
        "rows": len(rows),
        "rows_unseen": int(unseen.sum()),
    }


def measure_stage(context: RunContext, index: int, step: Path) -> dict:
    """Score of the stage's student (a linear probe where the stage has no labels) and its latent terms."""
    stage = STAGES[context.config.stages[index].stage]
    final = step / "final"
    if stage.label_terms:
        measured = measure_classifier(context, final, step)
        measured["score_kind"] = "classifier"
    else:
        measured = _linear_probe(context, final)
        measured["score_kind"] = "linear probe"
    if index == 0:
        measured["latent_before"] = latent_terms(context, index, None)
    measured["latent"] = latent_terms(context, index, final)
    return measured


def _linear_probe(context: RunContext, final: Path) -> dict:
    """A linear model on frozen states ([CLS], or each word's), fitted on a part of train, scored on test."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    kind, labels = context.data.kind, context.data.labels
    model = load_classifier(final, labels, kind)
    pad_id = context.tokenizer.pad_id
    train, test = context.rows("train"), context.rows("test")
    subset = train.take(np.random.default_rng(context.config.seed).permutation(len(train))[:PROBE_TRAIN_ROWS])
    targets = answer_labels(subset)
    if len(np.unique(targets)) < 2:
        return {"score": None, "reason": "the probe's training rows hold one label only"}
    scaler = StandardScaler()
    features = scaler.fit_transform(probe_features(model, subset, pad_id))[:PROBE_ANSWERS]
    test_features = scaler.transform(probe_features(model, test, pad_id))
    if kind == "regression":
        logits = Ridge(alpha=10.0).fit(features, targets).predict(test_features)[:, None]
    else:
        probe = LogisticRegression(max_iter=300, C=0.1).fit(features, targets[:PROBE_ANSWERS])
        # labels that the probe never saw get no probability
        logits = np.full((len(test_features), len(labels)), -np.inf)
        logits[:, probe.classes_] = probe.predict_log_proba(test_features)
    return {"params": count_parameters(model), "probe_rows": len(subset), **_scores(context, logits)}


def latent_settings(context: RunContext) -> list[tuple[str, str]]:
    """The distinct (teacher, data) pairs that the run's stages train on, in their order."""
    pairs = []
    for settings in context.config.stages:
        stage = STAGES[settings.stage]
        if (stage.teacher_kind, stage.data_kind) not in pairs:
            pairs.append((stage.teacher_kind, stage.data_kind))
    return pairs


def latent_terms(context: RunContext, index: int, student_folder: Path | None) -> list[dict]:
    """Each latent term of a student, for every pair of teacher and data of the run.

    Measured with dropout off on rows that the stages train on ("training") and on rows that none of them
    sees ("held_out"): of general text the corpus's held-out rows, of task text the dev split.
    """
    result = []
    for teacher_kind, data_kind in latent_settings(context):
        objective, student, teacher = _load_for_measuring(context, index, teacher_kind, student_folder)
        for split in LATENT_SPLITS:
            rows = _sample(context, data_kind, split)
            terms = measure_terms(student, teacher, objective, rows, context.tokenizer.pad_id)
            result.append(
                {"teacher": teacher_kind, "data": data_kind, "split": split, "rows": len(rows), "terms": terms}
            )
        teacher.release()
    return result


def _load_for_measuring(context: RunContext, index: int, teacher_kind: str, student_folder: Path | None):
    """The latent part of a stage's objective, and its models; leaves the random state as it was."""
    state = paddle.get_rng_state()
    try:
        model = load_teacher(context, teacher_kind)
        objective, student = load_student(context, index, model, student_folder, label_terms=False)
    finally:
        paddle.set_rng_state(state)
    return objective, student, Teacher(model, objective.needs("teacher"), logits=False)


def _sample(context: RunContext, data_kind: str, split: str) -> EncodedRows:
    """The same `LATENT_ROWS` rows (or all, where there are fewer) at every measurement of a run."""
    if data_kind == "general":
        dataset = context.corpus.train if split == "training" else context.corpus.held_out
    else:
        dataset = context.rows("train" if split == "training" else "dev")
    picked = np.random.default_rng(context.config.seed).permutation(len(dataset))[:LATENT_ROWS]
    if data_kind == "general":
        return corpus_rows(dataset, picked)
    rows = dataset.take(picked)
    rows.labels = None
    return rows
