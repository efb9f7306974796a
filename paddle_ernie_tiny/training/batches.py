"""Rows, length-grouped batches, and collation to arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from paddle.io import DistributedBatchSampler

from ..data.tokenization import WordPieceTokenizer, pad_batch


@dataclass
class EncodedRows:
    """Tokenised labelled rows, in file order. `labels` is None for rows without labels."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    labels: np.ndarray | None = None

    def __post_init__(self):
        self.lengths = np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict:
        row = {"input_ids": self.input_ids[index], "token_type_ids": self.token_type_ids[index]}
        if self.labels is not None:
            row["labels"] = self.labels[index]
        return row

    def take(self, indices) -> EncodedRows:
        """The rows at `indices`, in that order."""
        return EncodedRows(
            [self.input_ids[i] for i in indices],
            [self.token_type_ids[i] for i in indices],
            None if self.labels is None else self.labels[np.asarray(indices)],
        )


def encode_examples(tokenizer: WordPieceTokenizer, examples, max_length: int) -> EncodedRows:
    """Tokenises labelled examples; pairs where they have a second text."""
    pairs = [e.text_b for e in examples] if examples and examples[0].text_b is not None else None
    encoded = tokenizer.encode([e.text for e in examples], pairs, max_length=max_length)
    labelled = bool(examples) and examples[0].label is not None
    labels = np.array([e.label for e in examples], dtype=np.int64) if labelled else None
    return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels)


def corpus_rows(dataset, indices) -> EncodedRows:
    """Rows of a general corpus as single sentences without labels."""
    ids = [list(dataset[int(i)]["input_ids"]) for i in indices]
    return EncodedRows(ids, [[0] * len(row) for row in ids])


class LengthGroupedBatchSampler(DistributedBatchSampler):
    """Shuffled batches of rows of similar length, so that little is padding.

    Each epoch shuffles all rows, sorts within windows of `window` batches, and shuffles the batches. The
    order depends on seed and epoch alone, so a resumed run sees the same batches. Ranks take turns; the last
    global batch is filled up with rows from the start, so that all ranks make the same number of steps.
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
        if len(rows) % global_batch and self.nranks > 1:
            missing = -len(rows) % global_batch
            rows = np.concatenate([rows, np.resize(rows, missing)])
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
    """input_ids, token_type_ids [batch, longest] int64, attention_mask float32, labels [batch] where given."""
    input_ids = pad_batch([row["input_ids"] for row in rows], pad_id)
    lengths = np.array([len(row["input_ids"]) for row in rows])
    mask = (np.arange(input_ids.shape[1])[None, :] < lengths[:, None]).astype(np.float32)
    types = [row.get("token_type_ids") for row in rows]
    batch = {
        "input_ids": input_ids,
        "token_type_ids": np.zeros_like(input_ids) if types[0] is None else pad_batch(types, 0),
        "attention_mask": mask,
    }
    if "labels" in rows[0]:
        batch["labels"] = np.array([row["labels"] for row in rows], dtype=np.int64)
    return batch


def sorted_batches(rows: EncodedRows, batch_size: int):
    """Index arrays of batches of similar length; together they cover every row once."""
    order = np.argsort(rows.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
