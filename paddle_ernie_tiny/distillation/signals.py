"""What a teacher answers, kept on disk: computed in the first pass over the rows, read in all later ones.

A cache is a folder with `key.json` (what decides its content), `filled.bin` (a byte per row), `states.bin` (of every
token its hidden states and q, k, v, float16, one after another, without padding) and `logits.bin` (float32). Only rows
whose bytes are on disk are marked as filled, so a cache that was cut off is still right.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..data.rows import EncodedRows
from ..errors import InputError
from ..files import read_json, write_json
from ..terms import Captured, Needs

_VERSION = 2  # of the files' layout; part of the key
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
    def bytes_per_token(self) -> int:
        """Bytes of states per token; logits come on top, 4 bytes each."""
        return 2 * len(self.needs.states) * self.width

    def as_key(self) -> dict[str, Any]:
        """The layout as JSON values."""
        return {
            "states": [f"{part} {layer}" for part, layer in self.needs.states],
            "width": self.width,
            "logits": self.logits,
            "logits_by_token": self.by_token,
        }


class SignalCache:
    """Signals of the rows of one data set, by row number.

    Args:
        folder: made if it is not there yet.
        key: what decides the content: the teacher's weights, the data, the tokenizer.
        layout: what is kept.
        lengths: tokens of each row, int [rows].

    Raises InputError when the folder holds signals of another teacher, data or objective.
    """

    def __init__(self, folder: Path, key: dict[str, Any], layout: Layout, lengths: np.ndarray):
        self.folder, self.layout = Path(folder), layout
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self._first = np.cumsum(self.lengths) - self.lengths  # the first token of each row
        self._check_key({"version": _VERSION, **key, **layout.as_key(), "rows": len(self.lengths)})
        self._states, self._logits, flags = (self._open(name) for name in ("states.bin", "logits.bin", "filled.bin"))
        os.truncate(flags, len(self.lengths))
        self._on_disk = np.memmap(self.folder / "filled.bin", dtype=np.uint8, mode="r+")
        self.filled = np.array(self._on_disk, dtype=bool)

    def _check_key(self, key: dict[str, Any]) -> None:
        old = read_json(self.folder / _KEY)
        if old is not None:
            changed = [name for name in sorted({*old, *key}) if old.get(name) != key.get(name)]
            if changed:
                raise InputError(
                    f"the teacher signals here were made with another {', '.join(changed)}",
                    str(self.folder),
                    "give another signals_folder, or remove this one",
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError("the folder holds other files", str(self.folder), "give an empty or a new folder")
        write_json(self.folder / _KEY, key)

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)

    def has(self, rows: np.ndarray) -> bool:
        """Are all of these rows here?"""
        return bool(self.filled[rows].all())

    def store(self, rows: np.ndarray, states: Captured) -> None:
        """Keeps the signals of a padded batch: states [batch, length, width], logits [batch, (length,) labels].

        Raises InputError if they cannot be written.
        """
        parts = [getattr(states, part)[layer] for part, layer in self.layout.needs.states]
        # NumPy rounds to the nearest half-precision number, Paddle's CPU kernel cuts off
        table = paddle.concat(parts, axis=-1).astype("float32").numpy().astype(np.float16) if parts else None
        answers = states.logits.astype("float32").numpy() if states.logits is not None else None
        for place, row in enumerate(rows.tolist()):
            if self.filled[row]:
                continue
            length = int(self.lengths[row])
            if table is not None:
                self._write(self._states, table[place, :length], int(self._first[row]))
            if answers is not None and self.layout.by_token:
                self._write(self._logits, answers[place, :length], int(self._first[row]))
            elif answers is not None:
                self._write(self._logits, answers[place : place + 1], row)
            self.filled[row] = True

    def read(self, rows: np.ndarray) -> Captured:
        """Logits and states of rows, padded with zeros to the longest, float32."""
        states, width, columns = Captured(), self.layout.width, len(self.layout.needs.states) * self.layout.width
        first, lengths = self._first[rows], self.lengths[rows]
        if columns:
            table = self._read(self._states, np.float16, columns, first, lengths)
            for number, (part, layer) in enumerate(self.layout.needs.states):
                values = table[:, :, number * width : (number + 1) * width].astype(np.float32)
                getattr(states, part)[layer] = paddle.to_tensor(values)
        if self.layout.logits and self.layout.by_token:
            states.logits = paddle.to_tensor(self._read(self._logits, np.float32, self.layout.logits, first, lengths))
        elif self.layout.logits:
            answers = self._read(self._logits, np.float32, self.layout.logits, rows, np.ones_like(rows))
            states.logits = paddle.to_tensor(answers[:, 0])
        return states

    def sync(self) -> None:
        """Marks what was stored as filled, once it is on disk."""
        os.fsync(self._states)
        os.fsync(self._logits)
        self._on_disk[self.filled] = 1
        self._on_disk.flush()

    def _write(self, file: int, lines: np.ndarray, first: int) -> None:
        """Writes lines [lines, columns] from line number `first` on."""
        data, offset = memoryview(np.ascontiguousarray(lines).tobytes()), first * lines[0].nbytes
        try:
            while len(data):
                written = os.pwrite(file, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            what = f"the teacher signals cannot be written: {error.strerror}"
            raise InputError(what, str(self.folder), "make room, or set teacher_signals: online") from None

    @staticmethod
    def _read(file: int, dtype: Any, columns: int, first: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Lines [rows, longest, columns]: of each row `lengths` of them from `first` on, then zeros."""
        table = np.zeros((len(first), int(lengths.max()), columns), dtype=dtype)
        line = columns * table.itemsize
        for place, (start, length) in enumerate(zip(first.tolist(), lengths.tolist(), strict=True)):
            raw = os.pread(file, length * line, start * line)
            table[place, :length] = np.frombuffer(raw, dtype=dtype).reshape(length, columns)
        return table


def rows_fingerprint(rows: EncodedRows) -> str:
    """SHA-256 of the token ids and segments of tokenised rows, in their order."""
    digest = hashlib.sha256()
    for ids, types in zip(rows.input_ids, rows.token_type_ids, strict=True):
        digest.update(np.asarray([ids, types], dtype=np.int32).tobytes() + b"|")
    return digest.hexdigest()
