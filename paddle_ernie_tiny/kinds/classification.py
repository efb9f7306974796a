"""Classification: one label for each row, of a text or a pair of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

import numpy as np

from .kind import Kind, balance
from .metrics import softmax

if TYPE_CHECKING:
    from paddle import Tensor

    from ..data.rows import EncodedRows, Example
    from ..data.tokenization import WordPieceTokenizer


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer; `probabilities` are in the order of the manifest's labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Classification(Kind):
    """One label a row."""

    name = "classification"
    description = "one label per row"
    shown_metrics = ("accuracy",)

    def read(self, path, table, labels, require_label=True):
        from ..data.readers import read_examples

        return read_examples(path, table, lambda name: parse_label(name, labels), labels, require_label)

    def read_dataset(self, name, split, table, subset):
        from ..data.readers import read_paddlenlp

        return read_paddlenlp(name, split, table, subset, parse_label)

    def infer_labels(self, path, table):
        from ..data.readers import infer_labels

        return infer_labels(path, table)

    def check_training_rows(self, train, labels, where):
        from ..errors import InputError

        present = {example.label for example in train}
        absent = [name for index, name in enumerate(labels) if index not in present]
        if absent:
            remedy = "add such rows, or take the label out of task.labels"
            raise InputError(f"no training row has the label {absent[0]!r}", where, remedy)

    def encode(self, tokenizer, examples, max_length):
        from ..data.rows import IGNORED

        labels = np.array([IGNORED if e.label is None else e.label for e in examples], dtype=np.int64)
        return encode_sentences(tokenizer, examples, labels, max_length)

    def findings(self, splits, labels):
        return balance(Counter(labels[e.label] for e in splits["train"]), labels, self.unit_name)

    def decode(self, row, answers, labels):
        probabilities = softmax(answers[0])
        best = int(probabilities.argmax())
        by_label = {label: float(p) for label, p in zip(labels, probabilities)}  # noqa: B905 (Python 3.9)
        return Prediction(labels[best], float(probabilities[best]), by_label)

    def as_json(self, answer):
        rounded = {label: round(p, 6) for label, p in answer.probabilities.items()}
        return {"label": answer.label, "probability": round(answer.probability, 6), "probabilities": rounded}

    @property
    def answer_fields(self):
        return {"label": str, "probability": float, "probabilities": dict[str, float]}

    @property
    def example_answer(self):
        return '{"label": ..., "probability": ..., "probabilities": {...}}'

    def labelled(self, labels):
        from ..data.rows import IGNORED

        return labels != IGNORED

    def hard_label(self, output, labels):
        """Cross-entropy: output [batch, labels], labels int64 [batch] (IGNORED: no label)."""
        return cross_entropy(output, labels, self.labelled(labels))

    def probe(self, states, targets, test_states, labels):
        return logistic_probe(states, targets, test_states, labels)


def parse_label(name: str, labels: Sequence[str] | None) -> int:
    """The id of a label's name, or of an id where no label's name is itself a number.

    Raises InputError, without a place, for anything else.
    """
    from ..errors import InputError

    labels = labels or []
    if name in labels:
        return labels.index(name)
    # If a name is a number, a number that is not a name is far more likely a mistake than an id.
    if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(labels):
        if not any(label.isdigit() for label in labels):
            return int(name)
    remedy = f"use one of {', '.join(labels[:20])}{' ...' if len(labels) > 20 else ''}"
    close = get_close_matches(name, labels, n=1)
    remedy += f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(f"unknown label {name!r}", None, remedy + "; if this row is a header, set header to true")


def encode_sentences(
    tokenizer: WordPieceTokenizer, examples: Sequence[Example], labels: np.ndarray, max_length: int
) -> EncodedRows:
    """EncodedRows of texts, or of pairs if the rows have a second text, with one label each."""
    from ..data.rows import EncodedRows

    pairs = cast("list[str]", [e.text_b for e in examples]) if examples and examples[0].text_b is not None else None
    encoded = tokenizer.encode([e.text for e in examples], pairs, max_length=max_length)
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(e.text, len(numbers)) for e in examples], dtype=np.int64)
    return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels, labels, groups=groups)


def cross_entropy(output: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy over the last axis, a scalar in float32: the mean where bool `counted` [..] is true; else 0."""
    import paddle.nn.functional as F

    from ..data.rows import IGNORED
    from ..terms.losses import mean_over

    losses = F.cross_entropy(output.astype("float32"), labels, ignore_index=IGNORED, reduction="none", axis=-1)
    return mean_over(losses.reshape(labels.shape), counted)


def logistic_probe(states: np.ndarray, targets: np.ndarray, test_states: np.ndarray, labels: int) -> np.ndarray:
    """Log-probabilities [answers, labels] of a logistic regression; labels that it never saw get none."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=300, C=0.1).fit(states, targets)
    logits = np.full((len(test_states), labels), -np.inf)
    logits[:, model.classes_] = model.predict_log_proba(test_states)
    return logits
