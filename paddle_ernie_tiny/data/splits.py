"""The labelled splits of a run's task: read, held out, limited, and known by what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import Finding, InputError, Problems
from ..files import text_sha256
from ..kinds import Kind
from .rows import Example, TokenExample
from .tables import TableFormat
from .task_files import layout_of, read_files

Examples = Sequence[Example] | Sequence[TokenExample]


@dataclass
class TaskData:
    """The labelled splits. `test` is what the report scores: the test file if there is one, else dev.

    table: how the files are laid out. notes: what is to be said of them. class_weights: of the labels in the task's own
    loss, in the order of their ids; None: 1. fingerprints: of each split by name, a short SHA-256 of its rows and
    labels.
    """

    kind: Kind
    labels: list[str]
    train: Examples
    dev: Examples
    test: Examples
    test_is_dev: bool
    table: TableFormat = field(default_factory=TableFormat)
    notes: list[Finding] = field(default_factory=list)
    more_tests: dict[str, Examples] = field(default_factory=dict)
    class_weights: list[float] | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Examples]:
        """ "train", "dev", and "test" if it is not dev."""
        named: dict[str, Examples] = {"train": self.train, "dev": self.dev}
        return named if self.test_is_dev else {**named, "test": self.test}

    @cached_property
    def unseen(self) -> np.ndarray:
        """Which test rows do not occur, text for text, among the training rows: bool [rows]."""
        seen = {example.content for example in self.train}
        return np.array([example.content not in seen for example in self.test], dtype=bool)


def load_task_data(config: RunConfig) -> TaskData:
    """Reads the splits, and holds out a dev part or limits train if asked.

    Raises InputErrors with file and line, those of all files at once.
    """
    data, kind, labels = config.data, config.task.configured_kind, config.task.labels
    given = {"train": data.train, "dev": data.dev, "test": data.test, **data.more_tests}
    paths: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
    problems = Problems()
    table = layout_of(config, problems)
    splits: dict[str, Any]
    if data.source == "files":
        labels, splits = read_files(kind, paths, table, labels, problems)
    else:
        read = {
            name: kind.read_dataset(
                data.dataset or "", split, table, data.subset, Problems(table.max_bad_rows, problems.notes)
            )
            for name, split in paths.items()
        }
        splits, labels = {name: rows for name, (rows, _) in read.items()}, labels or read["train"][1]
    if kind.has_labels and len(labels) < 2:
        raise InputError(f"only one label: {labels}", "data.train", f"a {kind.name} task needs at least two")
    train = splits["train"]
    if data.dev_from_train:
        held = stratified_rows(kind, train, max(1, round(len(train) * data.dev_from_train)), config.seed, leave=True)
        splits["dev"] = [train[i] for i in held]
        train = [train[i] for i in np.setdiff1d(np.arange(len(train)), held)]
    train = _limited(kind, train, labels, data.train_limit, config.seed, "data.train_limit")
    splits["dev"] = _limited(kind, splits["dev"], labels, data.dev_limit, config.seed, "data.dev_limit")
    where = {name: f"data.{name} ({split})" for name, split in paths.items()}
    if not train:
        raise InputError("no training row is left", where["train"], "give more rows, or hold out fewer")
    kind.check_training_rows(train, labels, where["train"])
    scored = {name: rows for name, rows in splits.items() if name != "train"}
    for name, rows in scored.items():
        bare = sum(example.label is None for example in rows)
        if bare:
            what = f"{bare} of {len(rows)} rows have no label, so the split cannot be scored"
            remedy = "name a labelled split, or leave data.test out and the dev split is scored"
            raise InputError(what, where.get(name, "data.dev_from_train"), remedy)
        kind.check_scored_rows(rows, config.task.metric or "", where.get(name, "data.dev_from_train"))
    if all(example.label is None for example in train) and (config.teacher.finetune or config.baseline):
        learner = "teacher.finetune" if config.teacher.finetune else "baseline"
        what = "no training row has a label, so there is nothing to learn from without a teacher's answers"
        raise InputError(what, f"{learner} ({where['train']})", f"give labels, or set {learner} to null")
    test = splits.get("test", splits["dev"])
    more = {name: splits[name] for name in data.more_tests}
    weights = kind.class_weights(config.task.class_weights, train, labels)
    prints = {name: _rows_hash(rows) for name, rows in {"train": train, "test": test, **scored}.items()}
    is_dev = "test" not in splits
    return TaskData(
        kind, list(labels), train, splits["dev"], test, is_dev, table, problems.notes, more, weights, prints
    )


def stratified_rows(kind: Kind, rows: Examples, count: int, seed: int, leave: bool = False) -> np.ndarray:
    """Numbers of `count` rows, rising, that hold every label in about the share that it has in all rows.

    One row of each label is taken first, and with `leave` one of each is left out before that; where there are fewer
    rows than labels, the rarer ones come first.
    """
    held = [kind.labels_of(row) for row in rows]
    frequency = Counter(label for labels in held for label in labels)
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()

    def one_of_each(order: list[int]) -> list[int]:
        chosen: dict[int, None] = {}
        covered: set[Any] = set()
        first: dict[Any, int] = {}
        for number in order:
            for label in held[number]:
                first.setdefault(label, number)
        for label in sorted(first, key=lambda label: (frequency[label], str(label))):
            if label not in covered:
                chosen[first[label]] = None
                covered |= held[first[label]]
        return list(chosen)

    if leave:
        left = set(one_of_each(order))
        order = [number for number in order if number not in left]
    taken = set(one_of_each(order)[:count])
    strata: dict[Any, list[int]] = {}  # by the rarest label of a row
    for number in order:
        rarest = min(held[number], key=lambda label: (frequency[label], str(label)), default=None)
        strata.setdefault(rarest, []).append(number)
    for stratum in strata.values():  # the taken ones first, the others in the order that the seed gave them
        stratum.sort(key=lambda number: number not in taken)
    # Row i of a stratum of n comes at (i + 1/2) / n: the first rows by that place hold each stratum in its share.
    places = {n: ((i + 0.5) / len(s), i) for s in strata.values() for i, n in enumerate(s)}
    ranked = sorted(order, key=lambda number: (number not in taken, *places[number]))
    return np.array(sorted(ranked[:count]), dtype=np.int64)


def _limited(kind: Kind, rows: Examples, labels: Sequence[str], limit: int | None, seed: int, where: str) -> Examples:
    """The rows, or as many of them as `limit` says. Raises InputError if these cannot hold every label."""
    if limit is None or limit >= len(rows):
        return rows
    chosen = [rows[i] for i in stratified_rows(kind, rows, limit, seed)]
    lost = set().union(*map(kind.labels_of, rows)) - set().union(*map(kind.labels_of, chosen))
    if lost:
        example = labels[min(lost)]
        what = f"{limit} of {len(rows)} rows cannot hold every label; {len(lost)} have none left, such as {example!r}"
        raise InputError(what, where, "raise it, or leave it out")
    return chosen


def _rows_hash(examples: Examples) -> str:
    return text_sha256(*(repr((*example.content, example.label)) for example in examples))[:16]
