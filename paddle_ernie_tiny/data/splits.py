"""The labelled splits of a run's task: read, held out, limited, and known by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..config import RunConfig
from ..errors import InputError
from ..files import text_sha256
from ..kinds import KINDS, Kind
from .rows import Example, TokenExample
from .tables import TableFormat

Examples = Sequence[Example] | Sequence[TokenExample]


@dataclass
class TaskData:
    """The labelled splits. `test` is what the report scores: the test file if there is one, else dev.

    fingerprints: of each split by name, a short SHA-256 of its rows and labels.
    """

    kind: Kind
    labels: list[str]
    train: Examples
    dev: Examples
    test: Examples
    test_is_dev: bool
    more_tests: dict[str, Examples] = field(default_factory=dict)
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
    """Reads the splits, and holds out a dev part or limits train if asked. Raises InputError(s) with file and line."""
    data, kind, labels = config.data, KINDS[config.task.kind], config.task.labels
    given = {"train": data.train, "dev": data.dev, "test": data.test, **data.more_tests}
    paths = {name: path for name, path in given.items() if path is not None}
    table = TableFormat(data.format, data.header, **data.columns.model_dump(), label_aliases=data.label_aliases)
    splits: dict[str, Any]
    if data.source == "files":
        labels = labels or kind.infer_labels(data.train, table)
        splits = {name: kind.read(path, table, labels) for name, path in paths.items()}
    else:
        read = {n: kind.read_dataset(data.dataset or "", split, table, data.subset) for n, split in paths.items()}
        splits, labels = {name: rows for name, (rows, _) in read.items()}, labels or read["train"][1]
    if kind.has_labels and len(labels) < 2:
        raise InputError(f"only one label: {labels}", "data.train", f"a {kind.name} task needs at least two")
    order = np.random.default_rng(config.seed).permutation(len(splits["train"]))
    if data.dev_from_train:
        held = max(1, int(round(len(order) * data.dev_from_train)))
        splits["dev"] = [splits["train"][i] for i in sorted(order[:held])]
        order = order[held:]
    train = [splits["train"][i] for i in sorted(order[: data.train_limit])]
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
    test = splits.get("test", splits["dev"])
    more = {name: splits[name] for name in data.more_tests}
    prints = {name: _rows_hash(rows) for name, rows in {"train": train, "test": test, **scored}.items()}
    return TaskData(kind, list(labels), train, splits["dev"], test, "test" not in splits, more, prints)


def _rows_hash(examples: Examples) -> str:
    return text_sha256(*(repr((*example.content, example.label)) for example in examples))[:16]
