"""What a kind of task is: everything that is particular to it, in one class that the rest of the toolkit asks.

The modules of this folder import NumPy alone when they are loaded, so that serving needs no more; methods for training
import Paddle when they are called. Exported folders that stand alone hold copies, so they run on Python 3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .metrics import METRICS, Scored, metrics_of

if TYPE_CHECKING:
    from paddle import Tensor

    from ..data.rows import EncodedRows, Example, TokenExample
    from ..data.tables import TableFormat
    from ..data.tokenization import Encoded, WordPieceTokenizer
    from ..errors import Finding

    Examples = Sequence[Example] | Sequence[TokenExample]

_FEW_ROWS = 5


@dataclass(frozen=True)
class Row:
    """A tokenised row of raw text; of a tagger also its words (text, start, end) and their first pieces' places."""

    text: str
    input_ids: list[int]
    token_type_ids: list[int]
    words: list[tuple[str, int, int]] | None = None
    places: np.ndarray | None = None


class Kind:
    """One kind of task. A subclass is one row of the table `KINDS`.

    Shapes: `output` is what a model gives, [batch, labels], or [batch, length, labels] if `by_token`; `answers` are
    those of one row, [answers, labels].
    """

    name: ClassVar[str]
    description: ClassVar[str]  # for help texts: what a row's label is
    head: ClassVar[str] = "ForSequenceClassification"  # PaddleNLP's name of the model with this head
    by_token: ClassVar[bool] = False  # does the model give logits for each token?
    may_pair: ClassVar[bool] = True  # may a row be two texts?
    soft_losses: ClassVar[tuple[str, ...]] = ("cross_entropy", "kl", "mse")  # of the soft label; first the default
    shown_metrics: ClassVar[tuple[str, ...]] = ()  # what is usually read beside the task's own metric
    augmenter: ClassVar[str] = "words"  # a row of augmentation.augmenters.AUGMENTERS
    unit_name: ClassVar[str] = "rows"  # what has a label
    has_labels: ClassVar[bool] = True  # is the answer one of several labels?
    no_label: ClassVar[dict[str, Any]] = {"label": None}  # the fields of an example that take its label away

    # --- labels and rows -------------------------------------------------------------------------------------------

    def check_labels(self, labels: Sequence[str] | None, metric: str) -> None:
        """Raises ValueError for label names (None: not given) or a metric that such a task cannot have."""
        if metric not in metrics_of(self.name):
            raise ValueError(f"metric {metric!r} does not score {self.name}; use {', '.join(metrics_of(self.name))}")
        if labels is None:
            return
        if len(labels) < 2:
            raise ValueError(f"a {self.name} task needs at least two labels")
        if len(set(labels)) != len(labels):
            raise ValueError("label names must differ from one another")
        count = METRICS[metric].label_count
        if count is not None and len(labels) != count:
            number = {2: "two"}.get(count, count)
            raise ValueError(f"metric {metric} is for {number} labels (the last is the positive one); use macro_f1")

    def fits_labels(self, labels: Sequence[str]) -> bool:
        """May a model with these label names be of this kind?"""
        return len(labels) > 1

    def read(
        self, path: str | Path, table: TableFormat, labels: list[str] | None, require_label: bool = True
    ) -> Examples:
        """The rows of a labelled file; labels become their places in `labels`. Raises InputError(s)."""
        raise NotImplementedError

    def read_dataset(self, name: str, split: str, table: TableFormat, subset: str | None) -> tuple[Examples, list[str]]:
        """One split of a data set of `paddlenlp.datasets`, and its label names. Raises InputError(s)."""
        raise NotImplementedError

    def infer_labels(self, path: str | Path, table: TableFormat) -> list[str]:
        """The label names of a training file, in the order of their ids. Raises InputError(s)."""
        raise NotImplementedError

    def check_training_rows(self, train: Examples, labels: Sequence[str], where: str) -> None:
        """Raises InputError if a model cannot learn the task from these rows."""

    def encode(self, tokenizer: WordPieceTokenizer, examples: Examples, max_length: int) -> EncodedRows:
        """Tokenised rows with their labels, for training and scoring."""
        raise NotImplementedError

    def describe_labels(self, labels: Sequence[str]) -> str:
        """What the model answers with, for a line on the screen."""
        return f"labels {', '.join(labels)}"

    def findings(self, splits: dict[str, Examples], labels: Sequence[str]) -> list[Finding]:
        """What preflight says of the labels of the splits "train", "dev" and "test"."""
        raise NotImplementedError

    def answer_of(self, example: Example | TokenExample) -> Any:
        """The label by which two rows with the same text contradict each other; None: they cannot."""
        return example.label

    # --- raw text --------------------------------------------------------------------------------------------------

    def unit(self, rows: Examples) -> str | None:
        """How raw text is divided into what gets a label, seen from training rows; None: it is not divided."""
        return None

    def unit_of_texts(self, texts: Sequence[str]) -> str | None:
        """The same, seen from raw text."""
        return None

    def split(self, text: str, unit: str | None) -> Any:
        """Raw text as `tokenize` takes it."""
        return text

    def tokenize(
        self, tokenizer: WordPieceTokenizer, texts: Sequence[Any], texts_b: Sequence[str] | None, max_length: int
    ) -> tuple[Encoded, list[np.ndarray] | None]:
        """Token ids of texts (or pairs), and the places of each row's answers (None: a row has one answer)."""
        return tokenizer.encode(texts, texts_b, max_length=max_length), None

    def rows(
        self,
        tokenizer: WordPieceTokenizer,
        texts: Sequence[str],
        texts_b: Sequence[str] | None,
        max_length: int,
        unit: str | None,
    ) -> list[Row]:
        """Tokenised rows of raw text, for `decode`."""
        encoded, _ = self.tokenize(tokenizer, texts, texts_b, max_length)
        return [Row(*row) for row in zip(texts, encoded.input_ids, encoded.token_type_ids)]  # noqa: B905 (3.9)

    # --- a model's output ------------------------------------------------------------------------------------------

    def answers(self, output: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """One row's answers [answers, labels] in the model's output for it, [labels] or [length, labels]."""
        return output[None]

    def stack(self, answers: list[np.ndarray]) -> Any:
        """The rows' answers as `Predictor.logits` gives them: [rows, labels]."""
        return np.concatenate(answers)

    def states(self, hidden: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """The states that a row's answers are made from, [answers, hidden], in its last layer [length, hidden]."""
        return hidden[:1]

    def decode(self, row: Row, answers: np.ndarray, labels: Sequence[str]) -> Any:
        """A row's answer, as `Predictor.predict` gives it."""
        raise NotImplementedError

    def as_json(self, answer: Any) -> dict[str, Any]:
        """An answer's fields as JSON values; probabilities and scores have six decimals."""
        raise NotImplementedError

    @property
    def answer_fields(self) -> dict[str, Any]:
        """The type of each field that `as_json` gives, for OpenAPI."""
        raise NotImplementedError

    @property
    def example_answer(self) -> str:
        """The shape of an answer, for a README."""
        raise NotImplementedError

    # --- learning --------------------------------------------------------------------------------------------------

    hard_symbol: ClassVar[str] = "CE(labels, student)"
    soft_unit: ClassVar[str] = "rows"  # what the soft label's loss is a mean over; see Term.unit

    def labelled(self, labels: Tensor) -> Tensor:
        """Which labels are there: bool, shaped as `labels`."""
        raise NotImplementedError

    def hard_label(self, output: Tensor, labels: Tensor) -> Tensor:
        """The task's own loss, a scalar in float32: mean over what is labelled; 0 if nothing is."""
        raise NotImplementedError

    def soft_label(self, loss: str, student: Tensor, teacher: Tensor, temperature: float, labels: Tensor) -> Tensor:
        """Distance to the teacher's output, a scalar: one of `soft_losses`, Hinton (arXiv 1503.02531)."""
        from ..terms import losses

        if loss == "mse":
            return losses.logits_mse(student, teacher, self.soft_mask(labels))
        compare = losses.soft_kl if loss == "kl" else losses.soft_cross_entropy
        return compare(student, teacher, temperature, self.soft_mask(labels))

    def soft_mask(self, labels: Tensor) -> Tensor | None:
        """Where in the output the soft label counts; None: everywhere."""
        return None

    # --- measuring -------------------------------------------------------------------------------------------------

    def probe(self, states: np.ndarray, targets: np.ndarray, test_states: np.ndarray, labels: int) -> np.ndarray:
        """Logits [answers, labels] of a linear model on frozen states, fitted on `states` and `targets`."""
        raise NotImplementedError

    def fidelity(self, own: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
        """How close a model's outputs are to its teacher's, both logits [answers, labels]."""
        from .metrics import fidelity, softmax

        return fidelity(softmax(own), softmax(teacher))

    def agreement(self, own: np.ndarray, other: np.ndarray) -> float | None:
        """The share of answers with the same most likely label, of logits [answers, labels]; None: no labels."""
        return float((own.argmax(-1) == other.argmax(-1)).mean())

    def score(self, metric: str, scored: Scored) -> float:
        """The task's metric; 1 is best."""
        return METRICS[metric](scored)

    def scores(self, metric: str, scored: Scored) -> dict[str, float]:
        """The task's metric first, then what is usually read beside it."""
        return {name: METRICS[name](scored) for name in dict.fromkeys((metric, *self.shown_metrics))}

    def confusion(self, scored: Scored) -> str:
        """Gold labels against predicted ones as a text table."""
        from .metrics import confusion_matrix

        return confusion_matrix(scored)


def balance(counts: dict[str, int], labels: Sequence[str], unit: str) -> list[Finding]:
    """How often each label occurs, and which are rare."""
    from ..errors import Finding

    common = sorted(counts.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {count}" for name, count in common[:8]) + (" ..." if len(counts) > 8 else "")
    found = [Finding("note", "labels", f"{unit} per label: {shares}", "data.train")]
    rare = [name for name in labels if counts.get(name, 0) < _FEW_ROWS]
    if rare:
        what = f"{len(rare)} labels have fewer than {_FEW_ROWS} {unit}: {', '.join(rare[:8])}"
        found.append(Finding("warning", "labels", what, "data.train", "add rows, or merge labels"))
    return found
