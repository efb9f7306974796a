"""How a kind of task is learnt and measured: its losses, its scores, and what models are compared by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .metrics import METRICS, Metric, fidelity, softmax
from .scored import Scored

if TYPE_CHECKING:
    from paddle import Tensor
    from typing_extensions import Self

    from ..data.rows import Example, TokenExample
    from .ngrams import LinearModel

    Examples = Sequence[Example] | Sequence[TokenExample]

LARGEST = 1e15  # of a score or a logit: its square is far from float32's end
_SUM_TO_ONE = 1e-3  # how far from 1 the sum of a row's probabilities may be
SCORE = "score"  # the one "label" of a kind without labels: the name of its output


@dataclass(frozen=True)
class NoSettings:
    """Of a kind of task without settings of its own."""


class Learning:
    """What training and measuring ask of a kind of task; what is written out here is right for most kinds.

    settings: those of the kind's own, as `task.settings` gives them, and what it has learnt from the dev split (`fit`).
    """

    Settings: ClassVar[type] = NoSettings  # a frozen dataclass; every field has a default
    own_metrics: ClassVar[tuple[Metric, ...]] = ()  # that no other module brings
    by_token: ClassVar[bool] = False  # does the model give logits for each token?
    gives_vectors: ClassVar[bool] = False  # is a model's output a vector, whose dimensions mean nothing by themselves?
    has_labels: ClassVar[bool] = True  # is the answer one of several labels, not a number?
    one_label: ClassVar[bool] = False  # do a row's logits give one distribution over the labels?
    soft_losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "kl", "mse")  # of the soft label; first the default
    soft_symbols: ClassVar[dict[str, str]] = {}  # how they are printed, where that differs from most kinds
    soft_unit: ClassVar[str] = "rows"  # the soft label is a mean over them: a term's unit, "rows" or "labelled"
    shown_metrics: ClassVar[tuple[str, ...]] = ()  # what is usually read beside the task's own metric
    problem_type: ClassVar[str | None] = None  # what both libraries call it in a model's configuration
    class_weights_remedy: ClassVar[str] = ""  # what to set in place of task.class_weights, of a kind that takes none
    no_probe: ClassVar[str] = ""  # why no linear model on frozen states is scored; "": one is
    text_rows: ClassVar[bool]
    settings: Any = NoSettings()

    def __init_subclass__(cls) -> None:
        cls.settings = cls.Settings()

    def with_settings(self, values: Mapping[str, Any]) -> Self:
        """The same kind of task with other settings. Raises ValueError for those that make no sense."""
        other = copy(self)
        other.settings = self.Settings(**values)
        return other

    def check_length(self, max_length: int) -> None:
        """Raises ValueError for settings that do not fit rows of at most so many tokens."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a model's outputs, of a kind without labels."""
        return (SCORE,)

    hard_symbol: ClassVar[str] = "CE(labels, student)"
    weights_symbol: ClassVar[str] = ", weighted by class"  # behind it, where labels have weights

    def labelled(self, labels: Tensor) -> Tensor:
        """Which labels are there: bool, shaped as `labels`."""
        from ..data.rows import IGNORED

        return labels != IGNORED

    def label_weights(self, labels: Tensor, class_weights: Sequence[float] | None) -> Tensor:
        """How much each label counts in the task's own loss, float32, shaped as `labels`: 0 where there is none.

        class_weights: of each label name, in the order of their ids; None: 1.
        """
        import paddle

        labelled = self.labelled(labels).astype("float32")
        if class_weights is None:
            return labelled
        weights = paddle.to_tensor(class_weights, dtype="float32")
        return labelled * weights[labels.clip(min=0).flatten()].reshape(labels.shape)

    def label_ids(self, example: Example | TokenExample) -> list[int]:
        """The id of every label of a row, of tags as often as they come; empty for a row without one."""
        return [] if example.label is None else np.ravel([example.label]).tolist()

    def class_weights(
        self, given: str | dict[str, float] | None, train: Examples, labels: Sequence[str]
    ) -> list[float] | None:
        """The weight of each label in the task's own loss, in the order of their ids; None: none are asked for.

        given: `task.class_weights`. Raises InputError for a name that is no label.
        """
        if given is None:
            return None
        if isinstance(given, dict):
            return named_weights(given, labels, "task.class_weights")
        counts = Counter(label for row in train for label in self.label_ids(row))
        total = sum(counts.values())
        return [total / (len(labels) * counts[i]) if counts[i] else 1.0 for i in range(len(labels))]

    def hard_label(self, output: Tensor, labels: Tensor, class_weights: Sequence[float] | None = None) -> Tensor:
        """The task's own loss, a scalar in float32: mean over what is labelled, weighted; 0 if nothing is.

        Cross-entropy: output [batch, (length,) labels], labels int64 [batch, (length)] (IGNORED: no label).
        """
        import paddle.nn.functional as F

        from ..data.rows import IGNORED
        from ..terms.losses import mean_over

        losses = F.cross_entropy(output.astype("float32"), labels, ignore_index=IGNORED, reduction="none", axis=-1)
        return mean_over(losses.reshape(labels.shape), self.label_weights(labels, class_weights))

    def weighted_hard_label(
        self, output: Tensor, labels: Tensor, class_weights: Sequence[float] | None = None
    ) -> Tensor:
        """`hard_label`, which is given `class_weights` only where there are some: a kind may know none."""
        weights = {} if class_weights is None else {"class_weights": class_weights}
        return self.hard_label(output, labels, **weights)

    def soft_label(
        self,
        loss: str,
        student: Tensor,
        teacher: Tensor,
        temperature: float,
        labels: Tensor | None,
        mask: Tensor,
    ) -> Tensor:
        """The soft label term, a scalar in float32: one of `soft_losses` of both models' logits.

        student, teacher: [batch, (length,) labels]. labels: as the kind has them. mask: float32 [batch, length].
        """
        from ..terms import losses

        counted = self.labelled(labels) if self.soft_unit == "labelled" and labels is not None else None
        if loss == "mse":
            return losses.logits_mse(student, teacher, counted)
        compare = losses.soft_kl if loss == "kl" else losses.soft_cross_entropy
        return compare(student, teacher, temperature, counted)

    def probe(self, states: np.ndarray, targets: np.ndarray, test_states: np.ndarray, labels: int) -> np.ndarray:
        """Logits [answers, labels] of a linear model on frozen states, fitted on `states` and `targets`.

        Here the log-probabilities of a logistic regression; labels that it never saw get none.
        """
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=300, C=0.1).fit(states, targets)
        logits = np.full((len(test_states), labels), -1e9)
        logits[:, model.classes_] = model.predict_log_proba(test_states)
        return logits

    def floor(self, train: Examples, labels: Sequence[str]) -> LinearModel | None:
        """A linear model on n-grams, not trained yet, that a student should be better than; None: there is none."""
        from .ngrams import TextModel

        return TextModel(len(labels), train) if self.text_rows else None

    def compared(self, logits: np.ndarray) -> np.ndarray:
        """What `fidelity` takes of a model, of its logits [answers, labels]."""
        return logits

    def fidelity(self, own: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
        """How close a model's outputs are to its teacher's, both as `compared` gives them: logits [answers, labels]."""
        return fidelity(softmax(own), softmax(teacher))

    def agreement(self, own: np.ndarray, other: np.ndarray) -> float | None:
        """The share of answers with the same most likely label, of logits [answers, labels]; None: no labels."""
        return float((own.argmax(-1) == other.argmax(-1)).mean()) if self.has_labels else None

    def in_short(self, logits: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        """A model's answers, logits [answers, labels], in a few numbers: each label's share, and how sure it is."""
        best, mean = logits.argmax(-1), float(softmax(logits).max(-1).mean())
        shares = {label: float((best == place).mean()) for place, label in enumerate(labels)}
        return {**shares, "mean probability of its answers": mean}

    def breakdown(self, scored: Scored) -> dict[str, Any]:
        """Where a model is right and where it errs, for a report: see `breakdown.by_label`."""
        from .breakdown import by_label

        return by_label(scored)

    def errors(self, scored: Scored) -> Sequence[float] | np.ndarray:
        """How wrong each row's answer is, 0 if it is right: [rows]."""
        return [self.error_of(output, gold) for output, gold in zip(scored.outputs, scored.gold)]  # noqa: B905

    def error_of(self, output: np.ndarray, gold: Any) -> float:
        """How wrong a row's answer is, 0 if it is right: here the probability of the wrong label."""
        from .breakdown import label_error

        return label_error(output, gold)

    def named(self, output: np.ndarray, gold: Any, labels: Sequence[str]) -> tuple[str, str]:
        """A row's answer and its gold label, in words."""
        return labels[int(output[0].argmax())], labels[int(np.ravel([gold])[0])]

    def texts_of(self, example: Example | TokenExample) -> list[str]:
        """A row's texts as a reader sees them."""
        return [text for text in example.content if text is not None]

    def scores(self, metric: str, scored: Scored) -> dict[str, float]:
        """The task's metric first, then what is usually read beside it."""
        return {name: METRICS[name](scored) for name in dict.fromkeys((metric, *self.shown_metrics))}

    # --- soft labels of files --------------------------------------------------------------------------------------

    no_soft: ClassVar[str] = ""  # why files give rows no soft labels; "": they may

    def parse_soft(self, value: Any, labels: Sequence[str]) -> np.ndarray:
        """A row's soft labels, float64 [labels]: of a mapping by name, or a list in the order of the labels.

        Raises InputError, without a place, for anything else.
        """
        from ..errors import InputError, shown

        if isinstance(value, dict):
            if unknown := [name for name in value if name not in labels]:
                what = f"soft labels name {shown(unknown[0])}, which is no label"
                raise InputError(what, None, f"use {', '.join(labels[:20])}")
            value = [value.get(name) for name in labels]
        numbers = value if isinstance(value, list) and len(value) == len(labels) else [None]
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) or not abs(n) <= LARGEST for n in numbers):
            what = f"soft labels {shown(value)}, not a finite number for each of {len(labels)} labels"
            remedy = f"give a mapping with every label, or a list in the labels' order; none beyond {LARGEST:g}"
            raise InputError(what, None, remedy)
        return np.array(numbers, dtype=np.float64)

    def are_probabilities(self, values: np.ndarray) -> bool:
        """Are a row's soft labels [labels] probabilities, not logits?"""
        return bool((values >= 0).all() and (values <= 1).all() and abs(values.sum() - 1) <= _SUM_TO_ONE)

    def soft_logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Logits [labels] whose distribution is that of a row's probabilities [labels], at any temperature."""
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    def soft_values(self, logits: np.ndarray, labels: Sequence[str]) -> Any:
        """A row's soft labels as a file gives them, from its logits [labels]: what `parse_soft` reads, as JSON."""
        probabilities = softmax(logits.astype(np.float64))
        return {label: float(f"{p:.9g}") for label, p in zip(labels, probabilities)}  # noqa: B905 (Python 3.9)

    # --- a model's answers -----------------------------------------------------------------------------------------

    def scored(self, outputs: Any, gold: Any, labels: Sequence[str], groups: Any = None) -> Scored:
        """A model's outputs, each row's [answers, labels], beside what is right."""
        return Scored(outputs, gold, labels, groups)

    def right_answers(self, gold: Any, labels: Sequence[str], groups: Any = None) -> Scored:
        """A model whose every answer is right, as `Scored.right` of the kind's own says."""
        answers = [np.zeros((0, len(labels)))] * len(gold)  # nobody looks at them
        return self.scored(answers, gold, labels).right(range(len(gold)), groups)

    def fit(self, dev: Scored) -> dict[str, Any]:
        """Settings that are learnt from a model's answers to the dev split, such as a threshold."""
        return {}

    @property
    def learns_from_dev(self) -> bool:
        """Does `fit` find settings, such as thresholds?"""
        return type(self).fit is not Learning.fit

    def fitted(self, dev: Callable[[], Scored]) -> Self:
        """The same kind with what it learns from the dev split; `dev` is not asked if it learns nothing there."""
        if type(self).fit is Learning.fit:
            return self
        return self.with_settings({**asdict(self.settings), **self.fit(dev())})

    def arrays(self, scored: Scored) -> dict[str, np.ndarray]:
        """A model's answers as a file keeps them: at least `logits` [answers, labels] and `rows` [answers]."""
        arrays = {"logits": scored.logits, "labels": scored.targets, "rows": scored.rows}
        if scored.groups is not None:
            arrays["groups"] = np.unique(scored.groups, return_inverse=True)[1]
        return arrays

    def of_arrays(self, arrays: Mapping[str, np.ndarray], labels: Sequence[str]) -> Scored:
        """The answers again, of rows that have some."""
        rows = arrays["rows"]
        groups = arrays["groups"][np.unique(rows)] if "groups" in arrays else None
        answers, ends = arrays["logits"], np.flatnonzero(np.diff(rows)) + 1
        return self.scored(np.split(answers, ends), np.split(arrays["labels"], ends), labels, groups)


def named_weights(given: dict[str, float], labels: Sequence[str], where: str) -> list[float]:
    """The weight of each label, 1 for one that is not named. Raises InputError for a name that is no label."""
    from ..errors import InputError, shown

    if unknown := sorted(set(given) - set(labels)):
        remedy = f"use names of the task's labels: {', '.join(labels[:20])}"
        raise InputError(f"{shown(unknown[0])} is no label", where, remedy)
    return [float(given.get(label, 1.0)) for label in labels]
