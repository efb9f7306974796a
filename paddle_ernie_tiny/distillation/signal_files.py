"""The files of cached teacher signals: numbers of rows of different lengths, each row known by its SHA-256.

A folder holds `key.json` (what decides its content), `filled.bin` (a byte per row), `rows.bin` (of each row its tokens
and the SHA-256 of its signals), `states.bin` (of every token its hidden states and q, k, v, float16, one after another,
without padding) and `logits.bin` (float32). Only rows whose bytes are on disk are marked as filled, so a cache that
was cut off is still right.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..seals import DamageError, read_seal, write_seal

_VERSION = 3  # of the files' layout; part of the key
KEY, _FILLED, _ROWS = "key.json", "filled.bin", "rows.bin"
_ROW = np.dtype([("tokens", "<i4"), ("sha256", "u1", 32)])
REMEDY = "remove this folder and run again: the signals are made again, and the stage that was training starts again"


class SignalFiles:
    """The files of a folder, opened.

    key: the content of `key.json`, with `states` (a list), `width`, `logits` and `logits_by_token`. lengths: tokens
    of each row, int [rows]; None: as they are recorded, and nothing is written. Raises DamageError for files of
    another size.
    """

    def __init__(self, folder: Path, key: dict[str, Any], lengths: np.ndarray | None = None):
        self.folder = folder
        mode: Literal["r", "r+"] = "r" if lengths is None else "r+"
        for name, size in ((_FILLED, key["rows"]), (_ROWS, key["rows"] * _ROW.itemsize)):
            path = folder / name
            found = path.stat().st_size if path.exists() else None
            if found is None and lengths is not None:
                path.write_bytes(bytes(size))
            elif found != size:
                raise DamageError(f"the file is damaged: it should have {size} bytes", str(path), REMEDY)
        self._on_disk = np.memmap(folder / _FILLED, dtype=np.uint8, mode=mode)
        self._rows = np.memmap(folder / _ROWS, dtype=_ROW, mode=mode)
        self.filled = np.array(self._on_disk, dtype=bool)
        if lengths is not None and not self._rows["tokens"].any():
            self._rows["tokens"] = lengths
        self.lengths = np.array(self._rows["tokens"], dtype=np.int64)
        if lengths is not None and not np.array_equal(self.lengths, lengths):
            raise DamageError("the file is damaged: its rows have other lengths", str(folder / _ROWS), REMEDY)
        lines = self.lengths if key["logits_by_token"] else np.ones_like(self.lengths)
        columns, flags = len(key["states"]) * key["width"], os.O_RDONLY if lengths is None else os.O_RDWR | os.O_CREAT
        self.states = _LineFile(folder / "states.bin", np.float16, columns, self.lengths, flags)
        self.logits = _LineFile(folder / "logits.bin", np.float32, key["logits"], lines, flags)

    def check(self) -> None:
        """Raises DamageError if the signals of a row are not those that were written."""
        if (self._on_disk > 1).any():
            raise DamageError("the file is damaged: it holds more than flags", str(self.folder / _FILLED), REMEDY)
        wrong = [row for row in np.flatnonzero(self.filled) if self._digest(row) != self._rows["sha256"][row].tobytes()]
        if wrong:
            what = f"the signals of {len(wrong)} rows are damaged: their SHA-256 is not the recorded one"
            raise DamageError(what, str(self.folder), REMEDY)

    def _digest(self, row: int) -> bytes:
        return hashlib.sha256(self.states.bytes_of(row) + self.logits.bytes_of(row)).digest()

    def write(self, row: int, states: np.ndarray | None, logits: np.ndarray | None) -> None:
        """Keeps a row: float16 [tokens, columns] and float32 [1 or tokens, labels]; None where nothing is kept.

        Raises InputError if it cannot be written.
        """
        parts = [file.write(row, lines) for file, lines in ((self.states, states), (self.logits, logits))]
        self._rows["sha256"][row] = np.frombuffer(hashlib.sha256(b"".join(parts)).digest(), dtype=np.uint8)
        self.filled[row] = True

    def sync(self) -> None:
        """Marks what was written as filled, once it is on disk."""
        os.fsync(self.states.file)
        os.fsync(self.logits.file)
        self._rows.flush()
        self._on_disk[self.filled] = 1
        self._on_disk.flush()


class _LineFile:
    """Lines of `columns` numbers in a file, one row's after another's: of each row as many as `lengths` [rows] says."""

    def __init__(self, path: Path, dtype: Any, columns: int, lengths: np.ndarray, flags: int):
        self.path, self.dtype, self.columns, self.lengths = path, np.dtype(dtype), columns, lengths
        self.offsets = (np.cumsum(lengths) - lengths) * columns * self.dtype.itemsize
        self.file = os.open(path, flags, 0o644)

    def write(self, row: int, lines: np.ndarray | None) -> bytes:
        """Returns the bytes that were written."""
        content = b"" if lines is None else lines[: self.lengths[row]].tobytes()
        data, offset = memoryview(content), int(self.offsets[row])
        try:
            while len(data):
                written = os.pwrite(self.file, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            what = f"the teacher signals cannot be written: {error.strerror}"
            raise InputError(what, str(self.path.parent), "make room, or set teacher_signals: online") from None
        return content

    def bytes_of(self, row: int) -> bytes:
        """The bytes of a row, or fewer if the file is too short."""
        size = int(self.lengths[row]) * self.columns * self.dtype.itemsize
        return os.pread(self.file, size, int(self.offsets[row]))

    def read(self, rows: np.ndarray) -> np.ndarray:
        """[rows, longest, columns], filled up with zeros."""
        table = np.zeros((len(rows), int(self.lengths[rows].max()), self.columns), dtype=self.dtype)
        for place, row in enumerate(rows):
            lines = table[place, : self.lengths[row]]
            lines[:] = np.frombuffer(self.bytes_of(row), dtype=self.dtype).reshape(lines.shape)
        return table


def open_signals(folder: Path, key: dict[str, Any], lengths: np.ndarray) -> SignalFiles:
    """The signals with this key in a folder, made if it is not there yet, and checked if it is.

    Raises InputError when the folder holds signals of another key or anything else, or another process writes there,
    DamageError for damaged ones.
    """
    key = {"version": _VERSION, **key, "rows": len(lengths)}
    old = read_seal(folder / KEY, remedy=REMEDY)
    if old is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError("the folder holds other files", str(folder), "give an empty or a new folder")
    old = key if old is None else old
    changed = [name for name in sorted({*old, *key}) if old.get(name) != key.get(name)]
    if changed:
        what = f"the teacher signals here were made with another {', '.join(changed)}"
        raise InputError(what, str(folder), "give another signals_folder, or remove this one")
    if not (folder / KEY).is_file():
        write_seal(folder / KEY, key)
    files = SignalFiles(folder, key, lengths)
    try:
        fcntl.lockf(files.states.file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
    except OSError:
        what = "another run is at work with these teacher signals"
        raise InputError(what, str(folder), "wait for it, or give another signals_folder") from None
    files.check()
    return files


def check_signals(folder: Path) -> int:
    """How many rows have signals in a folder. Raises DamageError if any of them are damaged."""
    key = read_seal(folder / KEY, remedy=REMEDY)
    if key is None:
        raise DamageError("the file is gone", str(folder / KEY), REMEDY)
    try:
        files = SignalFiles(folder, key)
    except OSError as error:
        raise DamageError(f"gone or not readable ({error.strerror})", str(error.filename), REMEDY) from None
    files.check()
    return int(files.filled.sum())
