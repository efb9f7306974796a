"""What a teacher answers, kept on disk: computed in the first pass over the rows, read in all later ones.

A cache is a folder with `key.json` (what decides its content), `filled.bin` (a byte a row), `states-*.bin` (of
every token its hidden states and q, k, v, float16, one after another, without padding) and `logits.bin` (float32).
Only rows whose bytes are on disk are marked as filled, so a cache that was cut off is still right.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..errors import InputError
from ..files import write_text
from ..terms import Captured, Needs

_VERSION = 1  # of the files' layout; part of the key
_SHARD_BYTES = 1 << 30
_KEY = "key.json"


@dataclass(frozen=True)
class Layout:
    """What a cache holds of each token (and row).

    needs: of the teacher; width: hidden_teacher. labels: how many logits a row (or, `by_token`, a token) has.
    """

    needs: Needs
    width: int
    labels: int
    by_token: bool = False

    @property
    def logits(self) -> int:
        """Logits that are kept of each row or token; 0: none."""
        return self.labels if self.needs.logits else 0

    @property
    def parts(self) -> list[tuple[str, int]]:
        """("hidden" | "query" | "key" | "value", layer) in the order in which they stand in a token's bytes."""
        hidden = [("hidden", layer) for layer in dict.fromkeys(self.needs.hidden)]
        return hidden + [(part, layer) for layer in dict.fromkeys(self.needs.attention) for part in self.needs.parts]

    @property
    def columns(self) -> int:
        """Numbers a token."""
        return len(self.parts) * self.width

    @property
    def bytes_per_token(self) -> int:
        """Bytes of states a token; logits come on top, 4 bytes each."""
        return 2 * self.columns

    def as_key(self) -> dict:
        """The layout as JSON values."""
        return {
            "states": [f"{kind} {layer}" for kind, layer in self.parts],
            "width": self.width,
            "logits": self.logits,
            "logits_by_token": self.by_token,
        }


class SignalCache:
    """Signals of the rows of one data set, by row number.

    Args:
        folder: made where it is not there yet.
        key: what decides the content: the teacher's weights, the data, the tokenizer.
        layout: what is kept.
        lengths: tokens of each row, int [rows].

    Raises InputError when the folder holds signals of another teacher, data or objective.
    """

    def __init__(self, folder: Path, key: dict, layout: Layout, lengths: np.ndarray):
        self.folder, self.layout = Path(folder), layout
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self._ends = np.cumsum(self.lengths)
        key = {"version": _VERSION, **key, **layout.as_key(), "rows": len(self.lengths)}
        self._open(json.loads(json.dumps(key)))
        per_shard = max(1, _SHARD_BYTES // max(1, layout.bytes_per_token))
        self._shard_of = (self._ends - self.lengths) // per_shard  # by a row's first token
        self._first_token = np.full(int(self._shard_of[-1]) + 1, -1, dtype=np.int64)
        starts = self._ends - self.lengths
        shards, first_rows = np.unique(self._shard_of, return_index=True)
        self._first_token[shards] = starts[first_rows]
        self._files: dict[str, int] = {}
        self._maps: dict[int, np.memmap] = {}
        self._on_disk = np.memmap(self.folder / "filled.bin", dtype=np.uint8, mode="r+", shape=(len(self.lengths),))
        self.filled = np.array(self._on_disk, dtype=bool)

    def _open(self, key: dict) -> None:
        file = self.folder / _KEY
        if file.is_file():
            old = json.loads(file.read_text(encoding="utf-8"))
            changed = [name for name in sorted({*old, *key}) if old.get(name) != key.get(name)]
            if changed:
                raise InputError(
                    f"the teacher signals here were made with another {', '.join(changed)}",
                    str(self.folder),
                    "give another signals_folder, or remove this one",
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError("the folder holds other files", str(self.folder), "give an empty or a new folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = self.folder / "filled.bin"
        if not flags.is_file() or flags.stat().st_size != key["rows"]:
            with open(flags, "ab") as handle:
                handle.truncate(key["rows"])
        if not file.is_file():
            write_text(file, json.dumps(key, indent=1))

    def has(self, rows: np.ndarray) -> bool:
        """Are all of these rows here?"""
        return bool(self.filled[rows].all())

    def store(self, rows: np.ndarray, states: Captured) -> None:
        """Keeps the signals of a padded batch: states [batch, length, width], logits [batch, (length,) labels].

        Raises InputError if they cannot be written.
        """
        parts = [getattr(states, kind)[layer] for kind, layer in self.layout.parts]
        # NumPy rounds to the nearest half-precision number, Paddle's CPU kernel cuts off
        table = paddle.concat(parts, axis=-1).astype("float32").numpy().astype(np.float16) if parts else None
        answers = None if states.logits is None else states.logits.astype("float32").numpy()
        for place, row in enumerate(rows.tolist()):
            if self.filled[row]:
                continue
            length, shard = int(self.lengths[row]), int(self._shard_of[row])
            first = int(self._ends[row]) - length
            if table is not None:
                offset = (first - int(self._first_token[shard])) * self.layout.bytes_per_token
                self._write(self._shard_name(shard), table[place, :length], offset)
            if answers is not None and self.layout.logits:
                own = answers[place, :length] if self.layout.by_token else answers[place]
                self._write("logits.bin", own, 4 * self.layout.logits * (first if self.layout.by_token else row))
            self.filled[row] = True

    def read(self, rows: np.ndarray) -> Captured:
        """Logits and states of rows, padded with zeros to the longest, float32."""
        lengths, width = self.lengths[rows], self.layout.width
        longest = int(lengths.max())
        states = Captured(logits=self._read_logits(rows, longest))
        if self.layout.columns:
            table = np.zeros((len(rows), longest, self.layout.columns), dtype=np.float16)
            for place, row in enumerate(rows.tolist()):
                table[place, : lengths[place]] = self._tokens(row)
            for number, (kind, layer) in enumerate(self.layout.parts):
                values = table[:, :, number * width : (number + 1) * width].astype(np.float32)
                getattr(states, kind)[layer] = paddle.to_tensor(values)
        return states

    def _tokens(self, row: int) -> np.ndarray:
        shard = int(self._shard_of[row])
        columns = self.layout.columns
        first = int(self._ends[row] - self.lengths[row] - self._first_token[shard])
        last = first + int(self.lengths[row])
        if shard not in self._maps or len(self._maps[shard]) < last * columns:  # it may have grown since
            self._maps[shard] = np.memmap(self.folder / self._shard_name(shard), dtype=np.float16, mode="r")
        return self._maps[shard][first * columns : last * columns].reshape(-1, columns)

    def _read_logits(self, rows: np.ndarray, longest: int) -> paddle.Tensor | None:
        labels = self.layout.logits
        if not labels:
            return None
        handle = self._file("logits.bin")
        if not self.layout.by_token:
            values = [os.pread(handle, 4 * labels, 4 * labels * row) for row in rows.tolist()]
            return paddle.to_tensor(np.frombuffer(b"".join(values), dtype=np.float32).reshape(-1, labels).copy())
        table = np.zeros((len(rows), longest, labels), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            length = int(self.lengths[row])
            raw = os.pread(handle, 4 * labels * length, 4 * labels * int(self._ends[row] - length))
            table[place, :length] = np.frombuffer(raw, dtype=np.float32).reshape(length, labels)
        return paddle.to_tensor(table)

    def sync(self) -> None:
        """Marks what was stored as filled, once it is on disk."""
        for handle in self._files.values():
            os.fsync(handle)
        new = np.flatnonzero(self.filled & (self._on_disk == 0))
        self._on_disk[new] = 1
        self._on_disk.flush()

    def _write(self, name: str, values: np.ndarray, offset: int) -> None:
        data = memoryview(np.ascontiguousarray(values).tobytes())
        try:
            while len(data):
                written = os.pwrite(self._file(name), data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            what = f"the teacher signals cannot be written: {error.strerror}"
            raise InputError(what, str(self.folder), "make room, or set teacher_signals: online") from None

    def _file(self, name: str) -> int:
        if name not in self._files:
            self._files[name] = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        return self._files[name]

    @staticmethod
    def _shard_name(shard: int) -> str:
        return f"states-{shard:05d}.bin"


def rows_fingerprint(rows: EncodedRows) -> str:
    """SHA-256 of the token ids and segments of tokenised rows, in their order."""
    digest = hashlib.sha256()
    for ids, types in zip(rows.input_ids, rows.token_type_ids, strict=True):
        digest.update(np.asarray([ids, types], dtype=np.int32).tobytes() + b"|")
    return digest.hexdigest()
