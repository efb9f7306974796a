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
from .learning import Learning
from .metrics import METRICS, metrics_of

if TYPE_CHECKING:
    from ..data.formats import Paths
    from ..data.label_cells import OneLabel
    from ..data.raw_rows import RawRow
    from ..data.rows import EncodedRows, Example, TokenExample
    from ..data.soft_labels import SoftLabels
    from ..data.tables import TableFormat
    from ..data.text_tokenizer import Encoded, TextTokenizer
    from ..errors import Finding, Problems

    Examples = Sequence[Example] | Sequence[TokenExample]
    Soft = SoftLabels | None
    Texts = Sequence[str]

FEW_ROWS = 5  # of a label; fewer are said to be rare


class Kind(Learning):
    """One kind of task. A subclass is one row of the table `KINDS`.

    What is written out here is right for most kinds: a row has one answer, trained by cross-entropy. Shapes: `output`
    is what a model gives, [batch, labels], or [batch, length, labels] if `by_token`; `answers` are those of one row,
    [answers, labels].
    """

    name: ClassVar[str]
    description: ClassVar[str]  # for help texts: what a row's label is
    head: ClassVar[str] = "ForSequenceClassification"  # PaddleNLP's name of the model with this head
    saved_head: ClassVar[str] = ""  # what a model folder calls it, if it is not PaddleNLP's own
    may_pair: ClassVar[bool] = True  # may two texts be one input of the model?
    needs_pair: ClassVar[bool] = False  # have they to be?
    needs_label: ClassVar[bool] = True  # has a file of training rows a column of labels?
    augmenter: ClassVar[str] = "words"  # a row of augmentation.augmenters.AUGMENTERS
    unit_name: ClassVar[str] = "rows"  # what has a label
    pipeline_tag: ClassVar[str] = "text-classification"  # the hub's name of such a task
    label_columns: ClassVar[bool] = False  # may each label be a column of 0 and 1?
    pipeline_options: ClassVar[str] = ""  # what transformers' pipeline is told besides
    text_rows: ClassVar[bool] = True  # are a data set's rows raw text, not words?
    units: ClassVar[tuple[str, ...]] = ()  # in which raw text may be divided, if each has an answer of its own
    graphs: tuple[str, ...] = ("served", "plain")  # it can be exported as; "served": for one token alone
    unread: ClassVar[tuple[str, ...]] = ()  # parts of an encoder that its head does not read
    long_texts: ClassVar[tuple[str, ...]] = LONG_TEXTS  # what may become of a text that is too long; first the default
    usual_columns: ClassVar[dict[str, tuple[str, ...]]] = {}  # names of columns that no configuration has to give
    no_label: ClassVar[dict[str, Any]] = {"label": None, "soft": None}  # fields of an example that take its labels away

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

    def label_cells(self, labels: int = 0) -> OneLabel:
        """How a file's cells hold the labels of rows, of a task with so many."""
        from ..data.label_cells import OneLabel

        return OneLabel()

    def read(
        self,
        files: Paths,
        table: TableFormat,
        labels: list[str] | None,
        require_label: bool = True,
        problems: Problems | None = None,
        soft: Soft = None,
    ) -> Examples:
        """The rows of labelled files; labels become their places in `labels`. Raises InputError(s).

        problems: takes what is to be said of the files. soft: reads the soft labels of rows; not given to a kind with
        `no_soft`, nor where there are none.
        """
        from ..data.readers import read_examples

        names, reading = labels if self.has_labels else None, self.label_cells(len(labels or ()))
        how = names, require_label, problems, reading, frozenset[str](), soft
        return read_examples(files, table, lambda name: self.parse_label(name, labels), *how)

    def read_unlabelled(
        self, files: Paths, table: TableFormat, labels: list[str], unit: str | None, problems: Problems, soft: Soft
    ) -> Examples:
        """The rows of files in the layout of training, or of texts alone. Raises InputError(s).

        Labels that they have are taken away later (`no_label`). unit: how raw text is divided. problems, soft: as of
        `read`.
        """
        from ..data.raw_rows import unlabelled_rows
        from ..data.rows import Example

        how = None, self.label_cells(len(labels)), soft
        rows = unlabelled_rows(files, table, problems, lambda name: self.parse_label(name, labels), *how)
        return [Example(row.text, row.text_b, None, row.line, row.soft) for row in rows]

    def read_dataset(
        self, name: str, split: str, table: TableFormat, subset: str | None, problems: Problems | None = None
    ) -> tuple[Examples, list[str]]:
        """One split of a data set of `paddlenlp.datasets`, and its label names. Raises InputError(s).

        problems: takes what is to be said of it.
        """
        from ..data.readers import read_paddlenlp

        names = None if self.has_labels else list(self.outputs)
        return read_paddlenlp(name, split, table, subset, self.parse_label, names, self.label_cells, problems)

    def infer_labels(self, files: Paths, table: TableFormat, problems: Problems | None = None) -> list[str]:
        """The label names of training files, in the order of their ids. Raises InputError(s)."""
        from ..data.readers import infer_labels

        return infer_labels(files, table, problems, self.label_cells()) if self.has_labels else list(self.outputs)

    def check_training_rows(self, train: Examples, labels: Sequence[str], where: str) -> None:
        """Raises InputError if a model cannot learn the task from these rows."""

    def check_scored_rows(self, rows: Examples, metric: str, where: str) -> None:
        """Raises InputError if the metric cannot score a model on these rows."""

    def labels_of(self, example: Example | TokenExample) -> frozenset[Any]:
        """The ids of the labels that a row has; empty for a row without one, or a kind without labels."""
        return frozenset(self.label_ids(example)) if self.has_labels else frozenset()

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
        from ..data.rows import EncodedRows, soft_labels_of

        texts: list[Any] = [e.text for e in examples]
        pairs: Any = [e.text_b for e in examples] if examples and examples[0].text_b is not None else None
        encoded = tokenizer.encode(texts, pairs, max_length, long_text)
        labels = self.label_array(examples)
        numbers: dict[Any, int] = {}
        groups = np.array([numbers.setdefault(e.text, len(numbers)) for e in examples], dtype=np.int64)
        soft = soft_labels_of(examples)
        if encoded.rows is not None:
            labels, groups = labels[encoded.rows], groups[encoded.rows]
            soft = None if soft is None else soft[encoded.rows]
        ids = encoded.input_ids, encoded.token_type_ids
        return EncodedRows(*ids, labels, labels, groups=groups, rows=encoded.rows, soft=soft)

    def label_array(self, examples: Examples) -> np.ndarray:
        """The rows' labels as the losses take them: [rows], IGNORED or NaN for a row without one."""
        from ..data.rows import IGNORED

        missing, dtype = (IGNORED, np.int64) if self.has_labels else (np.nan, np.float32)
        return np.array([missing if e.label is None else e.label for e in examples], dtype=dtype)

    def findings(self, splits: dict[str, Examples], labels: Sequence[str]) -> list[Finding]:
        """What preflight says of the labels of the splits (no "test" if that is dev): how many, and which are rare."""
        from ..errors import Finding

        counts = Counter(labels[label] for example in splits["train"] for label in self.label_ids(example))
        shares = ", ".join(f"{name} {count}" for name, count in counts.most_common(8))
        what = f"{self.unit_name} per label: {shares}{' ...' if len(counts) > 8 else ''}"
        found = [Finding("note", "labels", what, "data.train")]
        rare = [name for name in labels if counts[name] < FEW_ROWS]
        if rare:
            what = f"{len(rare)} labels have fewer than {FEW_ROWS} {self.unit_name}: {', '.join(rare[:8])}"
            found.append(Finding("warning", "labels", what, "data.train", "add rows, or merge labels"))
        return found

    def token_findings(
        self, tokenizer: TextTokenizer, examples: Examples, max_length: int, where: str
    ) -> list[Finding]:
        """What preflight says of rows as token ids, beside their lengths."""
        return []

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

        parse, reading = lambda name: self.parse_label(name, labels), self.label_cells(len(labels))
        return raw_rows(path, table, problems, parse, reading=reading)

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

    # --- a model and its output ------------------------------------------------------------------------------------

    def model_class(self, base: Any) -> Any:
        """The class of a model, from PaddleNLP's with this kind's `head`."""
        return base

    def settings_for(self, hidden_size: int) -> dict[str, Any]:
        """Settings that nobody gave, and that follow from the teacher's hidden size."""
        return {}

    def is_bare(self, hidden_size: int) -> bool:
        """Is an encoder of this hidden size a fine-tuned model as it is, without a head?"""
        return False

    def answers(self, output: np.ndarray, places: np.ndarray | None) -> np.ndarray:
        """One row's answers [answers, labels] in the model's output for it, [labels] or [length, labels]."""
        return output[None] if places is None else output[places]

    def whole(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """A row's answers [answers, labels] from those of its windows, in order: their mean, or one after another."""
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if self.by_token else np.mean(parts, axis=0)

    def whole_gold(self, parts: Sequence[Any]) -> Any:
        """What is right for a row, from what its windows have of it, in order."""
        return np.concatenate(parts) if self.by_token else parts[0]

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


def said_truncated(answer: Any) -> dict[str, bool]:
    """The field `truncated` of an answer as JSON: only where a part of the text was left out."""
    return {"truncated": True} if answer.truncated else {}
