"""Regression: one score for each row, of a text or a pair of texts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .kind import Kind, said_truncated
from .learning import LARGEST
from .metrics import METRICS, Scored


@dataclass(frozen=True)
class Score:
    """A regressor's answer, in the units of the training data; `truncated`: was a part of the text left out?"""

    score: float
    truncated: bool = False


class Regression(Kind):
    """One score per row."""

    name = "regression"
    description = "one score per row"
    has_labels = False
    problem_type = "regression"
    pipeline_options = ', function_to_apply="none"'
    soft_losses = ("mse",)
    shown_metrics = ("pearson", "spearman")
    hard_symbol = "MSE(labels, student)"
    answer_fields = {"score": float}
    example_answer = '{"score": ...}'

    def parse_label(self, name, labels):
        """A finite number that float32 holds, and its square too."""
        from ..errors import InputError, shown

        try:
            score = float(name) if name.isascii() and "_" not in name else math.nan
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise InputError(f"label {shown(name)} is not a number", None, "give a score, or list the task's labels")
        if abs(score) > LARGEST:
            raise InputError(f"label {shown(name)} is beyond {LARGEST:g}", None, "scale the scores, to about 1")
        return score

    def parse_soft(self, value, labels):
        """The score itself, a number or a list of one."""
        from ..errors import InputError, shown

        number = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InputError(f"the soft label {shown(value)} is no number", None, "give a score")
        return np.array([self.parse_label(repr(number), labels)])

    def soft_values(self, logits, labels):
        return float(f"{float(logits[0]):.9g}")

    def are_probabilities(self, values):
        return False

    def findings(self, splits, labels):
        from ..errors import Finding

        scores = np.array([e.label for e in splits["train"]])
        what = f"scores from {scores.min():g} to {scores.max():g}, mean {scores.mean():.3g}"
        return [Finding("note", "scores", what, "data.train")]

    def in_short(self, logits, labels):
        """Mean and standard deviation of the scores."""
        return {"mean": float(logits.mean()), "standard deviation": float(logits.std())}

    def breakdown(self, scored):
        from .breakdown import of_scores

        return of_scores(scored)

    def error_of(self, output, gold):
        """The difference from the gold score."""
        return abs(float(output[0, 0]) - float(gold))

    def named(self, output, gold, labels):
        return f"{float(output[0, 0]):.4g}", f"{float(gold):.4g}"

    def decode(self, row, answers, labels):
        return Score(float(answers[0, 0]), row.truncated)

    def as_json(self, answer):
        return {"score": round(answer.score, 6), **said_truncated(answer)}

    def labelled(self, labels):
        import paddle

        return ~paddle.isnan(labels)

    def hard_label(self, output, labels, class_weights=None):
        """Squared error: output [batch, 1], labels float32 [batch] (NaN: no label)."""
        import paddle

        from ..terms.losses import mean_over

        counted = self.labelled(labels)
        known = paddle.where(counted, labels, paddle.zeros_like(labels))
        return mean_over((output.astype("float32").squeeze(-1) - known).square(), counted)

    def probe(self, states, targets, test_states, labels):
        from sklearn.linear_model import Ridge

        return Ridge(alpha=10.0).fit(states, targets).predict(test_states)[:, None]

    def fidelity(self, own, teacher):
        """No labels: correlation and mean squared difference of the scores."""
        return {
            "agreement": None,
            "kl": None,
            "reason": "a regressor gives scores, not labels",
            "pearson": METRICS["pearson"](Scored.of(own, teacher[:, 0])),
            "mse": float(np.square(own - teacher).mean()),
        }
