"""Multi-label classification: any number of labels for each row, of a text or a pair of texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .classification import Classification
from .kind import FEW_ROWS, said_truncated
from .label_sets import KIND, METRICS_OF_SETS, MultiHot, SetModel, best_cuts, by_label_of_sets
from .learning import named_weights
from .metrics import log_sigmoid, sigmoid

_MANY_BARE = 0.5  # share of rows without a label from which preflight says so as a warning


@dataclass(frozen=True)
class Labels:
    """A multi-label classifier's answer: the labels that it gives, in the order of the manifest's, and all chances.

    truncated: was a part of the text left out?
    """

    labels: list[str]
    probabilities: dict[str, float]
    truncated: bool = False


@dataclass(frozen=True)
class MultiLabelSettings:
    """`task.settings` of the kind; the bundle's have the thresholds that were found.

    separator: between the label names of a cell. positive_weights: of the rows that have a label against those that
    have not, in the task's own loss; "balanced": rows without / rows with it. thresholds: a label is given if its
    probability is above; "one": the best for all by micro F1 on dev; "each": each label's own, by its F1; or as given,
    one number or one for each label in their order.
    """

    separator: str = ","
    positive_weights: Literal["balanced"] | dict[str, float] | None = None
    thresholds: Literal["one", "each"] | float | list[float] = "one"

    def __post_init__(self) -> None:
        if len(self.separator) != 1 or self.separator in '["':
            raise ValueError(f"separator is {self.separator!r}; use one character that no label name holds, such as ;")
        weights = self.positive_weights.values() if isinstance(self.positive_weights, dict) else ()
        if not all(0 < weight <= 1e6 for weight in weights):
            raise ValueError("positive_weights: give each label a number above 0")
        given = self.thresholds if isinstance(self.thresholds, list) else [self.thresholds]
        if not all(0 < threshold < 1 for threshold in given if not isinstance(threshold, str)):
            raise ValueError("thresholds: give one, each, or numbers between 0 and 1")


class MultiLabel(Classification):
    """Any number of labels per row."""

    name = KIND
    description = "any number of labels per row"
    one_label = False
    Settings = MultiLabelSettings
    settings: MultiLabelSettings
    own_metrics = METRICS_OF_SETS
    shown_metrics = ("micro_f1", "label_macro_f1", "subset_accuracy", "mean_average_precision")
    problem_type = "multi_label_classification"
    label_columns = True
    pipeline_options = ", top_k=None"
    weights_symbol = ", positives weighted"
    class_weights_remedy = "give the weights of positives in task.settings.positive_weights"
    hard_symbol = "BCE(labels, student)"
    soft_symbols = {
        "cross_entropy": "T^2 BCE(teacher, student{temperature})",
        "kl": "T^2 binary KL(teacher || student{temperature})",
    }
    answer_fields = {"labels": list[str], "probabilities": dict[str, float]}
    example_answer = '{"labels": [...], "probabilities": {...}}'

    # --- labels and rows -------------------------------------------------------------------------------------------

    def check_labels(self, labels, metric):
        super().check_labels(labels, metric)
        separator, given = self.settings.separator, self.settings.thresholds
        wrong = next((label for label in labels or () if separator in label), None)
        if wrong is not None:
            remedy = "set task.settings.separator to what no label name holds"
            raise ValueError(f"label {wrong!r} holds the separator {separator!r}: {remedy}")
        if labels is not None and isinstance(given, list) and len(given) != len(labels):
            raise ValueError(f"{len(given)} thresholds for {len(labels)} labels")

    def label_cells(self, labels=0):
        from ..data.label_cells import LabelSet

        return LabelSet(self.settings.separator, labels)

    def infer_labels(self, files, table, problems=None):
        if not isinstance(table.label, list):
            return super().infer_labels(files, table, problems)
        names = [table.label_aliases.get(name, name) for name in table.label]
        for name in names:
            self.label_cells().check(name)
        return list(dict.fromkeys(name for name in names if name not in table.drop_labels))

    def label_ids(self, example):
        return np.flatnonzero(example.label or ()).tolist()

    def label_array(self, examples):
        """1 for each label that a row has, 0 for the others, NaN for a row without a label: float32 [rows, labels]."""
        width = next((len(e.label) for e in examples if e.label is not None), 1)
        return np.array([[math.nan] * width if e.label is None else e.label for e in examples], dtype=np.float32)

    def class_weights(self, given, train, labels):
        """The weight of each label's positives; "balanced": rows without the label / rows with it."""
        weights, where = self.settings.positive_weights, "task.settings.positive_weights"
        if weights is None or isinstance(weights, dict):
            return weights and named_weights(weights, labels, where)
        rows, held = len(train), Counter(i for row in train for i in self.label_ids(row))
        return [(rows - held[i]) / held[i] if 0 < held[i] < rows else 1.0 for i in range(len(labels))]

    def findings(self, splits, labels):
        from ..errors import Finding

        found, rows = super().findings(splits, labels), len(splits["train"])
        sets = [self.label_ids(row) for row in splits["train"]]
        counts, bare = Counter(labels[i] for held in sets for i in held), sum(not held for held in sets)
        mean, most = sum(map(len, sets)) / rows, max(map(len, sets))
        what = f"{mean:.2f} labels per row, at most {most}; {bare} of {rows} rows have no label"
        remedy = "check data.columns.label and task.settings.separator, if rows should have one"
        many = bare > _MANY_BARE * rows or most < 2  # perhaps whole cells were taken for labels
        found.append(Finding("warning" if many else "note", "labels", what, "data.train", remedy if many else ""))
        name = min(labels, key=lambda name: counts[name])
        few = counts[name]
        if not self.settings.positive_weights and FEW_ROWS <= few < 0.05 * rows:
            what, remedy = f"only {few} of {rows} rows have the label {name}", "set positive_weights: balanced"
            found.append(Finding("warning", "imbalance", what, "data.train", f"perhaps {remedy} in task.settings"))
        always = [name for name in labels if counts[name] == rows]
        if always:
            what = f"every row has the label {always[0]}, so nothing is learnt of it"
            found.append(Finding("warning", "labels", what, "data.train", "take it out of the labels, or add rows"))
        return found

    # --- a model's output ------------------------------------------------------------------------------------------

    def cuts(self, labels: int) -> np.ndarray:
        """The logits above which labels are given: [labels]; 0 while thresholds are not tuned yet."""
        given = self.settings.thresholds
        chances = np.full(labels, 0.5 if isinstance(given, str) else given, dtype=np.float64)
        return np.log(chances) - np.log1p(-chances)

    def decode(self, row, answers, labels):
        logits = answers[0].astype(np.float64)
        held = logits > self.cuts(len(labels))
        given = [label for label, has in zip(labels, held) if has]  # noqa: B905 (Python 3.9)
        chances = {label: float(p) for label, p in zip(labels, sigmoid(logits))}  # noqa: B905
        return Labels(given, chances, row.truncated)

    def as_json(self, answer):
        rounded = {label: round(p, 6) for label, p in answer.probabilities.items()}
        return {"labels": answer.labels, "probabilities": rounded, **said_truncated(answer)}

    # --- learning and measuring ------------------------------------------------------------------------------------

    def labelled(self, labels):
        import paddle

        return ~paddle.isnan(labels)

    def label_weights(self, labels, class_weights):
        """1 for each label of a row that has its labels: weights of positives do not count in the mean."""
        return self.labelled(labels).astype("float32")

    def hard_label(self, output, labels, class_weights=None):
        """Binary cross-entropy, mean over rows and labels in float32, 0 if no row is labelled.

        -(w y log p + (1 - y) log(1 - p)) with p = sigmoid(output); output [batch, labels], labels y float32 [batch,
        labels] (NaN: no label), w of each label from `class_weights`, 1 without them.
        """
        import paddle
        import paddle.nn.functional as F

        from ..terms.losses import mean_over

        counted = self.labelled(labels)
        known = paddle.where(counted, labels, paddle.zeros_like(labels)).expand_as(output)
        weights = None if class_weights is None else paddle.to_tensor(class_weights, dtype="float32")
        losses = F.binary_cross_entropy_with_logits(
            output.astype("float32"), known, reduction="none", pos_weight=weights
        )
        return mean_over(losses, counted.expand_as(losses))

    def soft_label(self, loss, student, teacher, temperature, labels, mask):
        """The binary form, mean over rows and labels: T^2 BCE(sigmoid(teacher / T), sigmoid(student / T)).

        kl: less the teacher's entropy, so its minimum is 0. mse: of the logits themselves.
        """
        import paddle.nn.functional as F

        from ..terms import losses

        if loss == "mse":
            return losses.logits_mse(student, teacher)
        own, given = (side.astype("float32") / temperature for side in (student, teacher))
        targets = F.sigmoid(given)
        value = F.binary_cross_entropy_with_logits(own, targets)
        if loss == "kl":
            value = value - F.binary_cross_entropy_with_logits(given, targets)
        return value * temperature**2

    def are_probabilities(self, values: np.ndarray) -> bool:
        """Are a row's soft labels [labels] probabilities? Each by itself: they need not sum to 1."""
        return bool((values >= 0).all() and (values <= 1).all())

    def soft_logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Logits [labels] whose sigmoid a label's probability is."""
        least = np.finfo(np.float32).tiny
        return np.log(np.maximum(probabilities, least)) - np.log(np.maximum(1 - probabilities, least))

    def soft_values(self, logits: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        """The probability of each label by its name, of a row's logits [labels], to its last digit."""
        return dict(zip(labels, sigmoid(logits).tolist()))  # noqa: B905 (Python 3.9)

    def in_short(self, logits: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        """The share of rows that get each label, and how many a row gets on average, of logits [rows, labels]."""
        given = logits > self.cuts(len(labels))
        shares = {label: float(given[:, place].mean()) for place, label in enumerate(labels)}
        return {**shares, "labels per row": float(given.sum(-1).mean())}

    def probe(self, states, targets, test_states, labels):
        """A logistic regression for each label; one that all rows have, or none, is a constant."""
        from sklearn.linear_model import LogisticRegression

        logits = np.where(targets.mean(0) > 0.5, 9.0, -9.0) * np.ones((len(test_states), 1))
        for i, column in enumerate(targets.T):
            if 0 < column.sum() < len(column):
                model = LogisticRegression(max_iter=300, C=0.1).fit(states, column)
                logits[:, i] = model.decision_function(test_states)
        return logits

    def floor(self, train, labels):
        return SetModel(len(labels), train)

    def scored(self, outputs, gold, labels, groups=None):
        return MultiHot(outputs, gold, labels, groups, self.cuts(len(labels)))

    def fit(self, dev):
        """The thresholds, where they are to be tuned."""
        given = self.settings.thresholds
        if not isinstance(given, str):
            return {}
        cuts = best_cuts(dev.logits, dev.targets, each=given == "each")
        found = np.clip(sigmoid(cuts), 1e-6, 1 - 1e-6).tolist()
        return {"thresholds": found if given == "each" else found[0]}

    def compared(self, logits):
        """The logits, and beside them how far they are above the model's own thresholds: [answers, 2 labels]."""
        return np.concatenate([logits, logits - self.cuts(logits.shape[-1])], axis=-1)

    def fidelity(self, own, teacher):
        """agreement: the share of rows with the same set of labels, each by its model's thresholds. kl: the mean over
        rows and labels of the binary KL(teacher || student) in nats."""
        (own, over), (given, above) = (np.split(side.astype(np.float64), 2, axis=-1) for side in (own, teacher))
        p, one, other = sigmoid(given), log_sigmoid(given) - log_sigmoid(own), log_sigmoid(-given) - log_sigmoid(-own)
        return {
            "agreement": float(((over > 0) == (above > 0)).all(-1).mean()),
            "kl": float((p * one + (1 - p) * other).mean()),
        }

    def agreement(self, own, other):
        """The share of rows with the same set of labels."""
        cuts = self.cuts(own.shape[-1])
        return float(((own > cuts) == (other > cuts)).all(-1).mean())

    def breakdown(self, scored):
        return by_label_of_sets(scored)

    def error_of(self, output, gold):
        """The probability by which the most wrongly judged label is wrong; 0: all are right."""
        wrong = (output[0] > self.cuts(output.shape[-1])) != np.asarray(gold).astype(bool)
        chances = sigmoid(output[0].astype(np.float64))
        return float(np.where(wrong, np.where(gold, 1 - chances, chances), 0.0).max())

    def named(self, output, gold, labels):
        sides = output[0] > self.cuts(output.shape[-1]), np.asarray(gold).astype(bool)
        own, right = (
            ", ".join(label for label, has in zip(labels, side) if has) or "no label"  # noqa: B905 (Python 3.9)
            for side in sides
        )
        return own, right
