"""What is measured of a finished step: scores, predictions, a linear probe, and the latent terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle

from ..data.metrics import compute
from ..distillation.stages import STAGES, measure_terms
from ..models.build import count_parameters, load_classifier
from ..training.batches import EncodedRows, corpus_rows
from ..training.inference import first_token_features, predict_logits
from .context import RunContext
from .steps import load_pair

# Rows on which latent terms are measured after each stage; enough for three stable digits.
LATENT_ROWS = 256
LATENT_SPLITS = ("training", "held_out")
PROBE_TRAIN_ROWS = 2000


def measure_classifier(context: RunContext, model_folder: Path, step: Path) -> dict:
    """Scores a trained classifier on the test split and keeps its logits in `predictions.npz`."""
    model = load_classifier(model_folder, context.data.labels)
    rows = context.rows("test")
    logits = predict_logits(model, rows, context.tokenizer.pad_id)
    np.savez_compressed(step / "predictions.npz", logits=logits, labels=rows.labels, unseen=context.data.unseen)
    return {"params": count_parameters(model), **_scores(context, logits.argmax(-1), rows.labels)}


def _scores(context: RunContext, predicted: np.ndarray, labels: np.ndarray) -> dict:
    """The metric on all test rows, and on those that do not also stand in train (null: there are none)."""
    metric, unseen = context.config.task.metric, context.data.unseen
    return {
        "score": compute(metric, predicted, labels),
        "score_unseen": compute(metric, predicted[unseen], labels[unseen]) if unseen.any() else None,
        "rows": int(len(labels)),
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
    """Logistic regression on the frozen [CLS] state, trained on a part of train, scored on test."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    model = load_classifier(final, context.data.labels)
    pad_id = context.tokenizer.pad_id
    train, test = context.rows("train"), context.rows("test")
    picked = np.random.default_rng(context.config.seed).permutation(len(train))[:PROBE_TRAIN_ROWS]
    subset = train.take(picked)
    if len(set(subset.labels.tolist())) < 2:
        return {"score": None, "reason": "the probe's training rows hold one label only"}
    scaler = StandardScaler()
    features = scaler.fit_transform(first_token_features(model, subset, pad_id))
    probe = LogisticRegression(max_iter=300, C=0.1).fit(features, subset.labels)
    predicted = probe.predict(scaler.transform(first_token_features(model, test, pad_id)))
    return {
        "params": count_parameters(model),
        "probe_rows": len(subset),
        **_scores(context, predicted, test.labels),
    }


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
        objective, student, teacher = load_pair_for_measuring(context, index, teacher_kind, student_folder)
        for split in LATENT_SPLITS:
            rows = _sample(context, data_kind, split)
            terms = measure_terms(student, teacher, objective, rows, context.tokenizer.pad_id)
            result.append(
                {"teacher": teacher_kind, "data": data_kind, "split": split, "rows": len(rows), "terms": terms}
            )
        teacher.release()
    return result


def load_pair_for_measuring(context: RunContext, index: int, teacher_kind: str, student_folder: Path | None):
    """The stage's models with the latent part of its objective alone; leaves the random state as it was."""
    state = paddle.get_rng_state()
    try:
        return load_pair(context, index, teacher_kind, student_folder, label_terms=False)
    finally:
        paddle.set_rng_state(state)


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
