"""What is said of a pool's answers goes by what each model learnt on dev."""

from types import SimpleNamespace

import numpy as np

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline import supervision

LABELS = ["a", "b"]


def _context(**thresholds):
    """A run whose models, which are called "student" and "teacher", have learnt these thresholds."""
    kinds = {name: KINDS["multi_label"].with_settings({"thresholds": value}) for name, value in thresholds.items()}
    return SimpleNamespace(
        data=SimpleNamespace(kind=KINDS["multi_label"], labels=LABELS),
        load_teacher=lambda which: "teacher",
        fitted_kind=lambda model, side, batch_size: kinds[model],
    )


def test_answers_and_agreement_are_by_the_models_own_thresholds(monkeypatch):
    # probabilities 0.3 and 0.7 of the student, 0.6 and 0.95 of the teacher: by 0.25 and 0.5 both give both labels
    logits = {"student": np.log([[3 / 7, 7 / 3]]), "teacher": np.log([[1.5, 19.0]])}
    answers = lambda context, model, side, batch_size: {"unlabelled": logits[model]}  # noqa: E731
    monkeypatch.setattr(supervision, "answers_to_samples", answers)
    context = _context(student=0.25, teacher=0.5)
    assert supervision.agreement_on_samples(context, "student", 8)["unlabelled"]["agreement"] == 1.0
    assert supervision.answers_in_short(context, "student", "student")["unlabelled"]["labels per row"] == 2.0
    other = _context(student=0.5, teacher=0.5)
    assert supervision.agreement_on_samples(other, "student", 8)["unlabelled"]["agreement"] == 0.0
    assert supervision.answers_in_short(other, "student", "student")["unlabelled"]["labels per row"] == 1.0
