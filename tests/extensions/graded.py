"""A toy kind of task in one module: labels in an order, such as bad < fair < good; the answer also has a mean grade.

docs/architecture.md shows this file. It is named under `extensions` in a YAML file; nothing in the package knows it.
"""

from dataclasses import dataclass

import numpy as np

from paddle_ernie_tiny import METRICS, Classification, Metric, register_kind, register_metric, softmax


@dataclass(frozen=True)
class Grade:
    """A label, and the mean place that the probabilities give, from 0."""

    label: str
    grade: float


def closeness(scored):
    """1 - mean distance of places / largest distance."""
    distance = np.abs(scored.predictions - scored.targets).mean()
    return 1 - distance / (len(scored.labels) - 1)


@register_kind
class Graded(Classification):
    """One of several ordered labels per row."""

    name = "graded"
    description = "one of several ordered labels per row"
    hard_symbol = "MSE(place, mean place)"
    shown_metrics = ()

    def hard_label(self, output, labels):
        import paddle

        places = paddle.arange(output.shape[-1], dtype="float32")
        mean = (paddle.nn.functional.softmax(output.astype("float32"), axis=-1) * places).sum(-1)
        counted = self.labelled(labels).astype("float32")
        return ((mean - labels.astype("float32")).square() * counted).sum() / counted.sum().clip(min=1.0)

    def decode(self, row, answers, labels):
        probabilities = softmax(answers[0])
        return Grade(labels[int(probabilities.argmax())], float(probabilities @ np.arange(len(labels))))

    def as_json(self, answer):
        return {"label": answer.label, "grade": round(answer.grade, 6)}

    @property
    def answer_fields(self):
        return {"label": str, "grade": float}

    @property
    def example_answer(self):
        return '{"label": ..., "grade": ...}'


register_metric(Metric("closeness", ("graded",), closeness, METRICS["accuracy"].chance))
