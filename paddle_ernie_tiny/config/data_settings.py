"""The section `data` of a run: the task's files and how they are laid out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..data.formats import FormatName
from ..sections import Column, Fraction, PathName, PositiveInt, Section, key


def _name_of(value: Any) -> Any:
    """A label as YAML gives it: a whole number is the name that it was written as."""
    if isinstance(value, bool):
        raise ValueError("YAML reads yes, no, on, off, true and false as truth values: write such a name in quotes")
    return str(value) if isinstance(value, int) else value


Label = Annotated[str, BeforeValidator(_name_of, json_schema_input_type=str | int)]
SplitFiles = PathName | Annotated[list[PathName], Field(min_length=1)]


class ColumnSettings(Section):
    """Which columns hold the text and the label: names, or positions from 0."""

    text: Column | None = key(
        None, "the sentence, or the first of a pair; default: the first column, or the field with a usual name"
    )
    text_b: Column | None = key(None, "the second of a pair; null for single sentences")
    text_c: Column | None = key(None, "of embedding: a document that does not answer the query, beside one that does")
    label: Column | Annotated[list[str], Field(min_length=2)] | None = key(
        None,
        "label name or id; default: the second column, of conll the last; -1: the last; of multi_label also a list of "
        "columns of 0 and 1, one for each label",
    )
    soft_labels: Column | None = key(
        None,
        "a value for each label, by name or in the labels' order, or a score: they take the teacher's place in the "
        "soft label; rows without one have the teacher's",
    )


class DataSettings(Section):
    """Labelled data: local files (a split is one, several or a glob), or a data set of `paddlenlp.datasets`."""

    source: Literal["files", "paddlenlp"] = "files"
    train: SplitFiles = key(..., "file, glob or list of files; for paddlenlp the split's name")
    dev: SplitFiles | None = key(None, "files or split that choose the best checkpoint")
    test: SplitFiles | None = key(None, "files or split that are scored in the report; default: dev")
    more_tests: dict[str, SplitFiles] = key({}, "further labelled files or splits that the report scores, by name")
    unlabelled: SplitFiles | None = key(
        None, "files (or a split) of task text for the stages on task data; labels in them are passed over"
    )
    unlabelled_ratio: Annotated[float, Field(gt=0, lt=1)] | None = key(
        None, "share of every batch that is unlabelled text; default: as the rows come, in their proportion"
    )
    soft_label_values: Literal["auto", "probabilities", "logits"] = key(
        "auto", "of columns.soft_labels; auto: probabilities if those of every row are in [0, 1] and sum to 1"
    )
    dev_from_train: Fraction = key(0.0, "share of train that is held out as dev, by the run's seed, of each label")
    train_limit: PositiveInt | None = key(None, "use only this many training rows, by the run's seed, of every label")
    dev_limit: PositiveInt | None = key(None, "use only this many dev rows, likewise")
    format: FormatName = key(
        "auto", "auto: from the file's suffix; conll: a word and its tag per line, blank lines between rows"
    )
    header: bool | Literal["auto"] = key("auto", "is the first row a header")
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = key(
        None, "between the columns of tsv and csv files; default: a tab, a comma"
    )
    columns: ColumnSettings = Field(default_factory=ColumnSettings)
    label_aliases: dict[Label, Label] = key({}, "labels as files write them: their name, such as {100: news_story}")
    drop_labels: list[Label] = key([], "rows with these labels are left out, and counted, such as ['-'] of SNLI")
    on_bad_row: Literal["error", "skip"] = key("error", "skip: leave bad rows out, and say how many and where")
    max_bad_rows: Fraction = key(0.01, "for on_bad_row: skip: the share of a file's rows that may be bad")
    dataset: str | None = key(None, "name in paddlenlp.datasets, for source: paddlenlp")
    subset: str | None = key(None, "configuration of that data set, such as a task of clue")

    @model_validator(mode="after")
    def _splits_fit(self):
        taken = {"train", "dev", "test", "unlabelled"} & set(self.more_tests)
        if taken:
            raise ValueError(f"a further test cannot be called {taken.pop()!r}: choose another name")
        splits = (self.train, self.dev, self.test, self.unlabelled, *self.more_tests.values())
        if self.source == "paddlenlp" and any(isinstance(split, list) for split in splits):
            raise ValueError("a split of source: paddlenlp is one name, not a list")
        if self.source == "paddlenlp" and not self.dataset:
            raise ValueError("source: paddlenlp needs dataset: NAME")
        if self.source == "files" and self.dataset:
            raise ValueError("dataset is only for source: paddlenlp; with files set data.dataset to null")
        if self.dev is None and self.dev_from_train == 0:
            raise ValueError("give dev: FILE, or hold rows out of train with dev_from_train: 0.1")
        if self.dev is not None and self.dev_from_train > 0:
            raise ValueError("give dev or dev_from_train, not both")
        if self.unlabelled_ratio is not None and self.unlabelled is None:
            raise ValueError("unlabelled_ratio is the share of unlabelled: FILES: give these, or leave it out")
        if self.columns.soft_labels is not None and self.source == "paddlenlp":
            raise ValueError("columns.soft_labels are read from files: give source: files")
        if self.columns.soft_labels is None and self.soft_label_values != "auto":
            raise ValueError("soft_label_values says what columns.soft_labels holds: name that column, or leave it out")
        return self
