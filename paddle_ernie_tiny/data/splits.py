"""The labelled splits of a run's task: read, held out, limited, and known by what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import Finding, InputError, Problems
from ..files import text_sha256
from ..kinds import Kind
from .pool import Pool, pool_of
from .rows import Example, TokenExample
from .soft_labels import SoftLabels
from .tables import TableFormat
from .task_files import layout_of, read_files

Examples = Sequence[Example] | Sequence[TokenExample]


@dataclass
class TaskData:
    """The labelled splits. `test` is what the report scores: the test file if there is one, else dev.

    table: how the files are laid out. notes: what is to be said of them. class_weights: of the labels in the task's own
    loss, in the order of their ids; None: 1. fingerprints: of each split by name, a short SHA-256 of its rows and
    labels. pool: text without labels. soft: what the soft labels of files were; None: none are read.
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
    pool: Pool | None = None
    soft: SoftLabels | None = None

    @property
    def labelled(self) -> Any:
        """The training rows that have a label of their own; the others have soft labels alone."""
        return [row for row in self.train if row.label is not None] if self.soft else self.train

    @property
    def soft_fingerprint(self) -> str:
        """A short SHA-256 of the soft labels from files, empty without them."""
        if self.soft is None:
            return ""
        rows = [*self.train, *(self.pool.rows if self.pool else ())]
        return text_sha256(*(repr((row.content, row.soft)) for row in rows))[:16]

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
    given = {"train": data.train, "dev": data.dev, "test": data.test, "unlabelled": data.unlabelled, **data.more_tests}
    paths: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
    problems = Problems()
    table = layout_of(config, problems)
    splits: dict[str, Any]
    soft = _soft_labels(config, kind, labels)
    if data.source == "files":
        labels, splits = read_files(kind, paths, table, labels, problems, soft)
    else:
        read = {
            name: kind.read_dataset(
                data.dataset or "", split, table, data.subset, Problems(table.max_bad_rows, problems.notes)
            )
            for name, split in paths.items()
        }
        splits, labels = {name: rows for name, (rows, _) in read.items()}, labels or read["train"][1]
    _check_labels(kind, labels, config.task.metric or "")
    train, unlabelled = splits["train"], splits.pop("unlabelled", None)
    if unlabelled is not None:
        unlabelled = [replace(row, **kind.no_label) if row.label is not None else row for row in unlabelled]
    if data.dev_from_train:
        known = [i for i, row in enumerate(train) if row.label is not None]  # the others cannot be scored
        count = max(1, round(len(known) * data.dev_from_train))
        held = [known[i] for i in stratified_rows(kind, [train[i] for i in known], count, config.seed, leave=True)]
        splits["dev"] = [train[i] for i in held]
        train = [train[i] for i in np.setdiff1d(np.arange(len(train)), held)]
    train = _limited(kind, train, labels, data.train_limit, config.seed, "data.train_limit")
    splits["dev"] = _limited(kind, splits["dev"], labels, data.dev_limit, config.seed, "data.dev_limit")
    if config.teacher is None:
        train = _taught(train, "train", problems)
        unlabelled = None if unlabelled is None else _taught(unlabelled, "unlabelled", problems)
    where = {name: f"data.{name} ({split})" for name, split in paths.items()}
    if not train:
        raise InputError("no training row is left", where["train"], "give more rows, or hold out fewer")
    if soft is None:
        kind.check_training_rows(train, labels, where["train"])
    elif not soft.rows:
        what = f"no row has soft labels: none has a value in {data.columns.soft_labels!r}"
        raise InputError(what, "data.columns.soft_labels", "correct the column's name, or leave it out")
    scored = {name: rows for name, rows in splits.items() if name != "train"}
    _require_labels(config, kind, train, scored, where)
    test = splits.get("test", splits["dev"])
    more = {name: splits[name] for name in data.more_tests}
    weights = kind.class_weights(config.task.class_weights, train, labels)
    prints = {name: _rows_hash(rows) for name, rows in {"train": train, "test": test, **scored}.items()}
    is_dev, pool = "test" not in splits, None
    if unlabelled is not None:
        pool = pool_of(unlabelled, {**scored, "train": train})
        pool = replace(pool, fingerprint=_rows_hash(pool.rows))
    parts = train, splits["dev"], test, is_dev, table, problems.notes, more, weights, prints, pool, soft
    return TaskData(kind, list(labels), *parts)


def _require_labels(
    config: RunConfig, kind: Kind, train: Examples, scored: dict[str, Any], where: dict[str, str]
) -> None:
    """Raises InputError for rows that are scored and have no label, or trainings on labels that no row has."""
    if not scored["dev"]:
        what = "no row can be held out: a row with each label stays in train"
        raise InputError(what, "data.dev_from_train", "give more labelled rows, or name a dev file")
    for name, rows in scored.items():
        bare = sum(example.label is None for example in rows)
        if bare:
            what = f"{bare} of {len(rows)} rows have no label, so the split cannot be scored"
            remedy = "name a labelled split, or leave data.test out and the dev split is scored"
            raise InputError(what, where.get(name, "data.dev_from_train"), remedy)
        kind.check_scored_rows(rows, config.task.metric or "", where.get(name, "data.dev_from_train"))
    tuned = config.teacher and config.teacher.finetune
    if all(example.label is None for example in train) and (tuned or config.baseline):
        learner = "teacher.finetune" if tuned else "baseline"
        what = "no training row has a label, so there is nothing to learn from without a teacher's answers"
        raise InputError(what, f"{learner} ({where['train']})", f"give labels, or set {learner} to null")


def _taught(rows: Any, split: str, problems: Problems) -> Any:
    """The rows that teach something in a run without a teacher; the others are left out, and counted."""
    kept = [row for row in rows if row.label is not None or row.soft is not None]
    if len(kept) < len(rows):
        what = f"{len(rows) - len(kept)} of {len(rows)} rows have no label and no soft labels: they are left out"
        problems.note("warning", f"{what}, as there is no teacher", f"data.{split}")
    return kept


def _soft_labels(config: RunConfig, kind: Kind, labels: list[str] | None) -> SoftLabels | None:
    """Reads the soft labels of the run's files; None: it has none. Raises InputError for a task that cannot."""
    data, where = config.data, "data.columns.soft_labels"
    if data.columns.soft_labels is None:
        return None
    if kind.no_soft:
        what = f"files give no soft labels to rows of a {kind.name} task: {kind.no_soft}"
        raise InputError(what, where, "leave it out; the teacher's soft labels are there without it")
    if kind.has_labels and labels is None:
        raise InputError("rows may have soft labels alone", "task.labels", "list the labels, in the order of their ids")
    if not kind.has_labels and data.soft_label_values == "probabilities":
        raise InputError(f"a {kind.name} task has scores", "data.soft_label_values", "leave it out")
    return SoftLabels(kind, labels or list(kind.outputs), data.soft_label_values, data.label_aliases)


def _check_labels(kind: Kind, labels: list[str], metric: str) -> None:
    """Raises InputError for labels, as the files may name them, that do not fit the kind of task with its settings."""
    if kind.has_labels and len(labels) < 2:
        raise InputError(f"only one label: {labels}", "data.train", f"a {kind.name} task needs at least two")
    try:
        kind.check_labels(labels if kind.has_labels else None, metric)
    except ValueError as error:
        what = f"{error} (the labels are {', '.join(labels[:20])})"
        raise InputError(what, "task", "correct task.settings, or list task.labels") from None


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
