"""Rows, length-grouped batches, and collation to arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from paddle.io import DistributedBatchSampler

from ..data.metrics import IGNORED
from ..data.readers import Example
from ..data.token_files import TokenExample
from ..data.tokenization import WordPieceTokenizer, pad_batch


@dataclass
class EncodedRows:
    """Tokenised rows, in file order.

    labels: [rows] int64 class ids or float32 scores; for token classification a list of int64 [words];
        None for rows without labels.
    places: for token classification, where the first piece of each word stands in its row; words that
        were cut off at the end have no place.
    groups: [rows] int64, equal for rows with the same first text (a question and its answers).
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    labels: np.ndarray | list[np.ndarray] | None = None
    places: list[np.ndarray] | None = None
    groups: np.ndarray | None = None

    def __post_init__(self):
        self.lengths = np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict:
        row = {"input_ids": self.input_ids[index], "token_type_ids": self.token_type_ids[index]}
        if self.labels is not None:
            row["labels"] = self.labels[index] if self.places is None else self._tags_by_token(index)
        return row

    def _tags_by_token(self, index: int) -> np.ndarray:
        tags = np.full(len(self.input_ids[index]), IGNORED, dtype=np.int64)
        places = self.places[index]
        tags[places] = self.labels[index][: len(places)]
        return tags

    @property
    def kind(self) -> str:
        """The kind of task that the labels are of."""
        if self.places is not None:
            return "token_classification"
        floats = self.labels is not None and self.labels.dtype.kind == "f"
        return "regression" if floats else "classification"

    def take(self, indices) -> EncodedRows:
        """The rows at `indices`, in that order."""

        def picked(values):
            if isinstance(values, list):
                return [values[i] for i in indices]
            return None if values is None else values[np.asarray(indices)]

        fields = (self.input_ids, self.token_type_ids, self.labels, self.places, self.groups)
        return EncodedRows(*map(picked, fields))


class NumberedRows:
    """Rows that know their number: `rows` of a batch, by which signals of a row are found again."""

    def __init__(self, rows):
        self.inner, self.lengths = rows, rows.lengths

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> dict:
        return {**self.inner[index], "row": index}


def encode_examples(tokenizer: WordPieceTokenizer, examples: list[Example], kind: str, max_length: int) -> EncodedRows:
    """Tokenises rows of one label or score; pairs where they have a second text. A label of None is none."""
    pairs = [e.text_b for e in examples] if examples and examples[0].text_b is not None else None
    encoded = tokenizer.encode([e.text for e in examples], pairs, max_length=max_length)
    missing, dtype = (np.nan, np.float32) if kind == "regression" else (IGNORED, np.int64)
    labels = np.array([missing if e.label is None else e.label for e in examples], dtype=dtype)
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(e.text, len(numbers)) for e in examples], dtype=np.int64)
    return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels, groups=groups)


def encode_tagged(tokenizer: WordPieceTokenizer, examples: list[TokenExample], max_length: int) -> EncodedRows:
    """Tokenises rows of tagged words."""
    encoded, places = tokenizer.encode_words([e.words for e in examples], max_length)
    tags = [np.array(e.tags, dtype=np.int64) for e in examples]
    return EncodedRows(encoded.input_ids, encoded.token_type_ids, tags, places)


def corpus_rows(dataset, indices) -> EncodedRows:
    """Rows of a general corpus as single sentences without labels."""
    ids = [list(dataset[int(i)]["input_ids"]) for i in indices]
    return EncodedRows(ids, [[0] * len(row) for row in ids])


class LengthGroupedBatchSampler(DistributedBatchSampler):
    """Shuffled batches of rows of similar length, so that little is padding.

    Each epoch shuffles all rows, sorts within windows of `window` batches, and shuffles the batches. The
    order depends on seed and epoch alone, so a resumed run sees the same batches, and several processes see
    together what one would see with a batch as large as all of theirs. They take turns in a batch; where the rows
    do not divide among them, a few come twice.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        replicas: int = 1,
        rank: int = 0,
        window: int = 50,
    ):
        self.row_lengths = np.asarray(lengths)
        self.seed, self.window = seed, window
        super().__init__(range(len(self.row_lengths)), batch_size, num_replicas=replicas, rank=rank, shuffle=True)

    def __iter__(self):
        global_batch = self.batch_size * self.nranks
        rows = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.row_lengths))
        rows = np.concatenate([rows, np.resize(rows, -len(rows) % self.nranks)])
        span = global_batch * self.window
        batches = []
        for start in range(0, len(rows), span):
            chunk = rows[start : start + span]
            chunk = chunk[np.argsort(self.row_lengths[chunk], kind="stable")]
            batches += [chunk[i : i + global_batch] for i in range(0, len(chunk), global_batch)]
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(batches))
        for index in order:
            yield batches[index][self.local_rank :: self.nranks].tolist()

    def __len__(self) -> int:
        return -(-len(self.row_lengths) // (self.batch_size * self.nranks))


def collate(rows: list[dict], pad_id: int) -> dict[str, np.ndarray]:
    """input_ids, token_type_ids [batch, longest] int64, attention_mask float32; rows and labels where given.

    labels: [batch] int64 or float32, or [batch, longest] int64 with IGNORED where a token has no tag.
    """
    input_ids = pad_batch([row["input_ids"] for row in rows], pad_id)
    lengths = np.array([len(row["input_ids"]) for row in rows])
    mask = (np.arange(input_ids.shape[1])[None, :] < lengths[:, None]).astype(np.float32)
    types = [row.get("token_type_ids") for row in rows]
    batch = {
        "input_ids": input_ids,
        "token_type_ids": np.zeros_like(input_ids) if types[0] is None else pad_batch(types, 0),
        "attention_mask": mask,
    }
    if "row" in rows[0]:
        batch["rows"] = np.array([row["row"] for row in rows], dtype=np.int64)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = np.array(labels) if np.isscalar(labels[0]) else pad_batch(labels, IGNORED)
    return batch


def sorted_batches(rows: EncodedRows, batch_size: int):
    """Index arrays of batches of similar length; together they cover every row once."""
    order = np.argsort(rows.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
