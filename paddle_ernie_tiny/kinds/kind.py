"""What a kind of task is: everything that is particular to it, in one class that the rest of the toolkit asks.

The modules of this folder import NumPy alone when they are loaded, so that serving needs no more; methods for training
import Paddle when they are called. Exported folders that stand alone hold copies, so they run on Python 3.9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.windows import LONG_TEXTS, Row, Window, by_row
from .metrics import METRICS, Scored, fidelity, metrics_of, softmax

if TYPE_CHECKING:
    from paddle import Tensor

    from ..data.formats import Paths
    from ..data.raw_rows import RawRow
    from ..data.rows import EncodedRows, Example, TokenExample
    from ..data.tables import TableFormat
    from ..data.text_tokenizer import Encoded, TextTokenizer
    from ..errors import Finding, Problems
    from .ngrams import LinearModel

    Examples = Sequence[Example] | Sequence[TokenExample]
    Texts = Sequence[str]

SCORE = "score"  # the one "label" of a kind without labels: the name of its output
_FEW_ROWS = 5


class Kind:
    """One kind of task. A subclass is one row of the table `KINDS`.

    What is written out here is right for most kinds: a row has one answer, trained by cross-entropy. Shapes: `output`
    is what a model gives, [batch, labels], or [batch, length, labels] if `by_token`; `answers` are those of one row,
    [answers, labels].
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
    pipeline_tag: ClassVar[str] = "text-classification"  # the hub's name of such a task
    has_labels: ClassVar[bool] = True  # is the answer one of several labels, not a number?
    text_rows: ClassVar[bool] = True  # are a data set's rows raw text, not words?
    graphs: ClassVar[tuple[str, ...]] = ("served", "plain")  # it can be exported as; "served": for one token alone
    unread: ClassVar[tuple[str, ...]] = ()  # parts of an encoder that its head does not read
    soft_unit: ClassVar[str] = "rows"  # the soft label is a mean over them: a term's unit, "rows" or "labelled"
    long_texts: ClassVar[tuple[str, ...]] = LONG_TEXTS  # what may become of a text that is too long; first the default
    no_label: ClassVar[dict[str, Any]] = {"label": None}  # the fields of an example that take its label away

    # --- labels and rows -------------------------------------------------------------------------------------------

    def check_labels(self, labels: Sequence[str] | None, metric: str) -> None:
        """Raises ValueError for label names (None: not given) or a metric that such a task cannot have."""
        from ..text_rule import is_blank, refused_character

        if metric not in metrics_of(self.name):
            raise ValueError(
                f"metric {metric[:80]!r} does not score {self.name}; use {', '.join(metrics_of(self.name))}"
            )
        if labels is None:
            return
        if not self.has_labels:
            raise ValueError(f"a {self.name} task has scores, not labels: leave labels out")
        if len(labels) < 2:
            raise ValueError(f"a {self.name} task needs at least two labels")
        for label in labels:
            if what := "an empty label name" if is_blank(label) else refused_character(label):
                raise ValueError(f"label {label!r}: {what}")
        if len(set(labels)) != len(labels):
            raise ValueError("label names must differ from one another")
        count = METRICS[metric].label_count
        if count is not None and len(labels) != count:
            number = {2: "two"}.get(count, count)
            raise ValueError(f"metric {metric} is for {number} labels (the last is the positive one); use macro_f1")

    def parse_label(self, name: str, labels: Sequence[str] | None) -> int | float:
        """The label with a name. Raises InputError, without a place, if there is none."""
        raise NotImplementedError

    def read(
        self,
        files: Paths,
        table: TableFormat,
        labels: list[str] | None,
        require_label: bool = True,
        problems: Problems | None = None,
    ) -> Examples:
        """The rows of labelled files; labels become their places in `labels`. Raises InputError(s).

        problems: takes what is to be said of the files.
        """
        from ..data.readers import read_examples

        names = labels if self.has_labels else None
        return read_examples(files, table, lambda name: self.parse_label(name, labels), names, require_label, problems)

    def read_dataset(self, name: str, split: str, table: TableFormat, subset: str | None) -> tuple[Examples, list[str]]:
        """One split of a data set of `paddlenlp.datasets`, and its label names. Raises InputError(s)."""
        from ..data.readers import read_paddlenlp

        return read_paddlenlp(name, split, table, subset, self.parse_label, None if self.has_labels else [SCORE])

    def infer_labels(self, files: Paths, table: TableFormat, problems: Problems | None = None) -> list[str]:
        """The label names of training files, in the order of their ids. Raises InputError(s)."""
        from ..data.readers import infer_labels

        return infer_labels(files, table, problems) if self.has_labels else [SCORE]

    def check_training_rows(self, train: Examples, labels: Sequence[str], where: str) -> None:
        """Raises InputError if a model cannot learn the task from these rows."""

    def labels_of(self, example: Example | TokenExample) -> frozenset[Any]:
        """The ids of the labels that a row has; empty for a row without one, or a kind without labels."""
        known = self.has_labels and example.label is not None
        return frozenset(np.ravel([example.label]).tolist()) if known else frozenset()

    def encode(
        self,
        tokenizer: TextTokenizer,
        examples: Examples,
        max_length: int,
        long_text: str = "truncate",
        beside: TextTokenizer | None = None,
    ) -> EncodedRows:
        """Tokenised rows with their labels, for training and scoring.

        long_text: one of `long_texts`. beside: another tokenizer, whose rows are to have windows over the same words.
        """
        from ..data.rows import IGNORED, EncodedRows

        texts: list[Any] = [e.text for e in examples]
        pairs: Any = [e.text_b for e in examples] if examples and examples[0].text_b is not None else None
        encoded = tokenizer.encode(texts, pairs, max_length, long_text)
        missing, dtype = (IGNORED, np.int64) if self.has_labels else (np.nan, np.float32)
        labels = np.array([missing if e.label is None else e.label for e in examples], dtype=dtype)
        numbers: dict[Any, int] = {}
        groups = np.array([numbers.setdefault(e.text, len(numbers)) for e in examples], dtype=np.int64)
        if encoded.rows is not None:
            labels, groups = labels[encoded.rows], groups[encoded.rows]
        ids = encoded.input_ids, encoded.token_type_ids
        return EncodedRows(*ids, labels, labels, groups=groups, rows=encoded.rows)

    def findings(self, splits: dict[str, Examples], labels: Sequence[str]) -> list[Finding]:
        """What preflight says of the labels of the splits "train", "dev" and "test": how many, and which are rare."""
        from ..errors import Finding

        counts = Counter(labels[label] for example in splits["train"] for label in np.ravel([example.label]))
        shares = ", ".join(f"{name} {count}" for name, count in counts.most_common(8))
        what = f"{self.unit_name} per label: {shares}{' ...' if len(counts) > 8 else ''}"
        found = [Finding("note", "labels", what, "data.train")]
        rare = [name for name in labels if counts[name] < _FEW_ROWS]
        if rare:
            what = f"{len(rare)} labels have fewer than {_FEW_ROWS} {self.unit_name}: {', '.join(rare[:8])}"
            found.append(Finding("warning", "labels", what, "data.train", "add rows, or merge labels"))
        return found

    # --- raw text --------------------------------------------------------------------------------------------------

    def unit(self, rows: Examples | Texts) -> str | None:
        """How raw text is divided into what gets a label, seen from rows or raw text; None: it is not divided."""
        return None

    def raw_rows(
        self, path: Path, table: TableFormat, labels: Sequence[str], unit: str | None, problems: Problems
    ) -> Iterator[RawRow]:
        """A file's rows to predict, one by one, in the layout of training or as texts alone.

        A bad row is a problem, and does not come. Raises InputError for a file that cannot be read.
        """
        from ..data.raw_rows import raw_rows

        return raw_rows(path, table, problems, lambda name: self.parse_label(name, labels))

    def split(self, text: str, unit: str | None) -> Any:
        """Raw text as `tokenize` takes it."""
        return text

    def tokenize(
        self,
        tokenizer: TextTokenizer,
        texts: Sequence[Any],
        texts_b: Texts | None,
        max_length: int,
        long_text: str = "truncate",
    ) -> tuple[Encoded, list[np.ndarray] | None]:
        """Token ids of texts (or pairs), and the places of each window's answers (None: it has one answer)."""
        return tokenizer.encode(texts, texts_b, max_length, long_text), None

    def rows(
        self,
        tokenizer: TextTokenizer,
        texts: Texts,
        texts_b: Texts | None,
        max_length: int,
        long_text: str,
        unit: str | None,
    ) -> list[Row]:
        """Tokenised rows of raw text, for `decode`."""
        split = [self.split(text, unit) for text in texts]
        encoded, places = self.tokenize(tokenizer, split, texts_b, max_length, long_text)
        ids = zip(encoded.input_ids, encoded.token_type_ids, places or repeat(None))  # noqa: B905 (Python 3.9)
        windows = by_row(encoded.rows, [Window(*window) for window in ids], list)
        if encoded.rows is None:
            windows = [[window] for window in windows]
        return [Row(*row, unit) for row in zip(texts, windows, encoded.cut)]  # noqa: B905

    # --- a model's output ------------------------------------------------------------------------------------------

    def answers(self, output: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """One row's answers [answers, labels] in the model's output for it, [labels] or [length, labels]."""
        return output[None] if places is None else output[places]

    def whole(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """A row's answers [answers, labels] from those of its windows, in order: their mean, or one after another."""
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if self.by_token else np.mean(parts, axis=0)

    def states(self, hidden: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """The states that a row's answers are made from, [answers, hidden], in its last layer [length, hidden]."""
        return hidden[:1] if places is None else hidden[places]

    gather: ClassVar[Any] = staticmethod(np.concatenate)  # rows' answers to what `Predictor.logits` gives

    def decode(self, row: Row, answers: np.ndarray, labels: Sequence[str]) -> Any:
        """A row's answer, as `Predictor.predict` gives it."""
        raise NotImplementedError

    def as_json(self, answer: Any) -> dict[str, Any]:
        """An answer's fields as JSON values; probabilities and scores have six decimals."""
        raise NotImplementedError

    answer_fields: ClassVar[dict[str, Any]]  # the type of each field that `as_json` gives, for OpenAPI
    example_answer: ClassVar[str]  # its shape, for a README

    # --- learning and measuring ------------------------------------------------------------------------------------

    hard_symbol: ClassVar[str] = "CE(labels, student)"

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

    def fidelity(self, own: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
        """How close a model's outputs are to its teacher's, both logits [answers, labels]."""
        return fidelity(softmax(own), softmax(teacher))

    def agreement(self, own: np.ndarray, other: np.ndarray) -> float | None:
        """The share of answers with the same most likely label, of logits [answers, labels]; None: no labels."""
        return float((own.argmax(-1) == other.argmax(-1)).mean()) if self.has_labels else None

    def breakdown(self, scored: Scored) -> dict[str, Any]:
        """Where a model is right and where it errs, for a report: see `breakdown.by_label`."""
        from .breakdown import by_label

        return by_label(scored)

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


def said_truncated(answer: Any) -> dict[str, bool]:
    """The field `truncated` of an answer as JSON: only where a part of the text was left out."""
    return {"truncated": True} if answer.truncated else {}
