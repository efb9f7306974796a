"""Length-grouped batches of rows, and collation to arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle.io import DataLoader, DistributedBatchSampler
from tqdm import tqdm

from ..data.rows import IGNORED, EncodedRows
from ..data.tokenization import batches_by_length, pad_batch

_WINDOW = 50  # batches of rows that are sorted by length together
_AHEAD = 2  # batches that are made while the model works


class NumberedRows:
    """Rows that know their number: `rows` of a batch, by which signals of a row are found again."""

    def __init__(self, rows: Any):
        self.inner, self.lengths, self.starts = rows, rows.lengths, getattr(rows, "starts", None)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> dict:
        return {**self.inner[index], "row": index}


@dataclass(frozen=True)
class Mixture:
    """Rows of two sorts: `pool`, bool [rows], says which are of the second; `ratio` is its share of every batch."""

    pool: np.ndarray
    ratio: float


class LengthGroupedBatchSampler(DistributedBatchSampler):
    """Shuffled batches of rows of similar length, so that little is padding.

    Each epoch shuffles all rows, sorts within windows of some batches, and shuffles the batches. The
    order depends on seed and epoch alone, so a resumed run sees the same batches, and several processes see
    together what one would see with a batch as large as all of theirs. They take turns in a batch; where the rows
    do not divide among them, a few come twice. starts: where the rows begin of which a batch takes all windows, int64
    [rows]; None: each has one.

    With a `mixture`, every batch holds its share of both sorts of rows. An epoch has as many batches as without; each
    sort comes in an order of its own, pass after pass, and goes on in the next epoch where it stopped.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        replicas: int = 1,
        rank: int = 0,
        starts: np.ndarray | None = None,
        mixture: Mixture | None = None,
    ):
        self.row_lengths, self.seed, self.mixture = np.asarray(lengths), seed, mixture
        self.bounds = None if starts is None else np.append(starts, len(lengths))
        if starts is not None:
            self.row_lengths = np.maximum.reduceat(self.row_lengths, starts)
        super().__init__(range(len(self.row_lengths)), batch_size, num_replicas=replicas, rank=rank, shuffle=True)

    def __iter__(self):
        batches = self._plain() if self.mixture is None else self._mixed(self.mixture)
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(batches))
        for index in order:
            chosen = batches[index][self.local_rank :: self.nranks].tolist()
            if self.bounds is not None:
                chosen = [place for row in chosen for place in range(self.bounds[row], self.bounds[row + 1])]
            yield chosen

    def _plain(self) -> list[np.ndarray]:
        """The batches of the present epoch, of all processes together."""
        global_batch = self.batch_size * self.nranks
        rows = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.row_lengths))
        rows = np.concatenate([rows, np.resize(rows, -len(rows) % self.nranks)])
        span, batches = _WINDOW * global_batch, []
        for start in range(0, len(rows), span):
            chunk = rows[start : start + span]
            chunk = chunk[np.argsort(self.row_lengths[chunk], kind="stable")]
            batches += [chunk[i : i + global_batch] for i in range(0, len(chunk), global_batch)]
        return batches

    def _mixed(self, mixture: Mixture) -> list[np.ndarray]:
        global_batch = self.batch_size * self.nranks
        share = min(max(1, round(global_batch * mixture.ratio)), global_batch - 1)
        count = -(-len(self.row_lengths) // global_batch)
        sides = ((~mixture.pool, global_batch - share), (mixture.pool, share))
        parts = [self._drawn(np.flatnonzero(side), count, size, number) for number, (side, size) in enumerate(sides)]
        return [np.concatenate(pair) for pair in zip(*parts, strict=True)]

    def _drawn(self, rows: np.ndarray, count: int, size: int, number: int) -> list[np.ndarray]:
        """`size` rows of one sort for each of `count` batches."""
        first = self.epoch * count * size
        passes = range(first // len(rows), -(-(first + count * size) // len(rows)))
        orders = [np.random.default_rng([self.seed, turn, 2 + number]).permutation(rows) for turn in passes]
        drawn = np.concatenate(orders)[first % len(rows) :][: count * size]
        parts: list[np.ndarray] = []
        for start in range(0, len(drawn), _WINDOW * size):
            chunk = drawn[start : start + _WINDOW * size]
            chunk = chunk[np.argsort(self.row_lengths[chunk], kind="stable")]
            parts += np.split(chunk, len(chunk) // size)
        return parts


def rows_of_batches(rows: Any) -> int:
    """How many rows batches are drawn from: windows, or whole rows where these stay together."""
    starts = getattr(rows, "starts", None)
    return len(rows) if starts is None else len(starts)


class BatchLoader(DataLoader):
    """Makes batches ahead in a thread, and raises its errors where the batch is asked for.

    In the thread of Paddle's own loader an error would leave the training waiting for ever. Iterating gives a
    model's inputs by name.
    """

    def __init__(self, rows: Any, sampler: LengthGroupedBatchSampler, make: Callable[[list[dict]], dict]):
        self.rows, self.sampler, self.make = rows, sampler, make
        super().__init__(rows, batch_sampler=sampler)

    def __iter__(self) -> Any:
        made: deque = deque()
        with ThreadPoolExecutor(1) as thread:
            for rows in self.sampler:
                made.append(thread.submit(self._make, rows))
                if len(made) > _AHEAD:
                    yield _to_tensors(made.popleft().result())
            while made:
                yield _to_tensors(made.popleft().result())

    def _make(self, rows: list[int]) -> dict[str, np.ndarray]:
        return self.make([self.rows[row] for row in rows])


def _to_tensors(batch: dict[str, np.ndarray]) -> dict[str, paddle.Tensor]:
    return {name: paddle.to_tensor(value) for name, value in batch.items()}


def collate(rows: list[dict], pad_id: int) -> dict[str, np.ndarray]:
    """input_ids, token_type_ids [batch, longest] int64, attention_mask float32; what else the rows have: rows, labels,
    teacher_at, soft.

    labels: [batch] int64 or float32; of rows with an array of ids each [batch, longest] int64, IGNORED where a token
    has none; of rows with an array of numbers each [batch, numbers] float32. soft: [batch, labels] float32.
    """
    input_ids = pad_batch([row["input_ids"] for row in rows], pad_id)
    lengths = np.array([len(row["input_ids"]) for row in rows])
    mask = (np.arange(input_ids.shape[1])[None, :] < lengths[:, None]).astype(np.float32)
    types: list[Any] = [row.get("token_type_ids") for row in rows]
    batch = {
        "input_ids": input_ids,
        "token_type_ids": np.zeros_like(input_ids) if types[0] is None else pad_batch(types, 0),
        "attention_mask": mask,
    }
    if "teacher_at" in rows[0]:
        batch["teacher_at"] = pad_batch([row["teacher_at"] for row in rows], 0)
    if "row" in rows[0]:
        batch["rows"] = np.array([row["row"] for row in rows], dtype=np.int64)
    if "soft" in rows[0]:
        batch["soft"] = np.array([row["soft"] for row in rows])
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        by_token = not np.isscalar(labels[0]) and np.asarray(labels[0]).dtype.kind in "iu"
        batch["labels"] = pad_batch(labels, IGNORED) if by_token else np.array(labels)
    return batch


def input_batches(
    rows: EncodedRows, pad_id: int, batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, paddle.Tensor]]]:
    """Row numbers and a model's inputs of batches of similar length; together they cover every row once.

    A terminal shows a bar over the rows meanwhile.
    """
    with tqdm(total=len(rows), desc="evaluating", unit="row", disable=None, leave=False) as bar:
        for indices in batches_by_length(rows.input_ids, batch_size):
            batch = collate([rows[int(i)] for i in indices], pad_id)
            for known in ("labels", "soft"):
                batch.pop(known, None)
            yield indices, _to_tensors(batch)
            bar.update(len(indices))
