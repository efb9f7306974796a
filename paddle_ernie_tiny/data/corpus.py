"""The general corpus: text files of any size, tokenised once into memory-mapped arrays.

A prepared corpus is a folder with `tokens.bin` (all sequences one after another), `ends.bin` (where each
ends), `starts.bin` (with word boundaries: a flag per token) and `meta.json`, written last. Neither writing
nor reading holds more than a batch of lines in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from .line_encoder import LineEncoder, encode_in_order
from .text_files import corpus_files, corpus_fingerprint, read_file_lines, read_lines
from .tokenization import WordPieceTokenizer
from .words import jieba_version

__all__ = [
    "TextCorpus",
    "TextRows",
    "corpus_files",
    "corpus_fingerprint",
    "prepare_corpus",
    "read_file_lines",
    "read_lines",
]

_VERSION = 1  # of the files' layout; part of the fingerprint
_BATCH_LINES, _BATCH_CHARACTERS = 2000, 1 << 20
_HELD_OUT_SHARE = 0.05
_META = "meta.json"
_FILES = {"tokens.bin", "ends.bin", "starts.bin", _META}


class TextRows:
    """Rows of a prepared corpus as a map-style data set of {"input_ids"[, "word_starts"]} arrays."""

    def __init__(self, corpus: TextCorpus, held_out: np.ndarray, inside: bool):
        self._corpus, self._held_out, self._inside = corpus, held_out, inside
        # How many rows of this view stand before each held-out row: from it, a row's place in the file.
        self._before = held_out - np.arange(len(held_out))

    def __len__(self) -> int:
        return len(self._held_out) if self._inside else self._corpus.sequences - len(self._held_out)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        if self._inside:
            return self._corpus.row(int(self._held_out[index]))
        return self._corpus.row(index + int(np.searchsorted(self._before, index, side="right")))

    @property
    def fingerprint(self) -> str:
        """Equal for the same rows: of the text, the tokenizer and how they were cut."""
        return f"{self._corpus.meta['fingerprint']}-{'held_out' if self._inside else 'train'}"

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, with [CLS] and [SEP]: int32 [rows]."""
        lengths = self._corpus.lengths
        return lengths[self._held_out] if self._inside else np.delete(lengths, self._held_out)


class TextCorpus:
    """A prepared corpus: `train` and `held_out` rows, and `meta` with the counts.

    Every row is [CLS] tokens [SEP]. Files are opened when first used, so a corpus can be handed to another process.
    Rows are read by place: pages of a mapped file would count as the process's memory, up to the whole file.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.meta: dict = json.loads((self.folder / _META).read_text(encoding="utf-8"))
        self.sequences: int = self.meta["sequences"]
        rows = np.array(self.meta["held_out_rows"], dtype=np.int64)
        self.train, self.held_out = TextRows(self, rows, False), TextRows(self, rows, True)

    def __reduce__(self):
        return TextCorpus, (self.folder,)

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.memmap(self.folder / "ends.bin", dtype=np.int64, mode="r")

    @cached_property
    def _tokens(self) -> BinaryIO:
        return open(self.folder / "tokens.bin", "rb")

    @cached_property
    def _starts(self) -> BinaryIO:
        return open(self.folder / "starts.bin", "rb")

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of every row of the file: int32 [sequences]."""
        return np.diff(self._ends, prepend=0).astype(np.int32)

    def row(self, index: int) -> dict[str, np.ndarray]:
        """A row by its place in the file: `input_ids` int64 and, with word boundaries, `word_starts` bool."""
        span = int(self._ends[index - 1]) if index else 0, int(self._ends[index])
        row = {"input_ids": _read(self._tokens, self.meta["dtype"], *span).astype(np.int64)}
        if self.meta["word_boundaries"]:
            row["word_starts"] = _read(self._starts, "bool", *span)
        return row


def _read(file: BinaryIO, dtype: str, start: int, end: int) -> np.ndarray:
    size = np.dtype(dtype).itemsize
    return np.frombuffer(os.pread(file.fileno(), size * (end - start), size * start), dtype=dtype)


def prepare_corpus(
    pattern: str | Path,
    tokenizer: WordPieceTokenizer,
    max_length: int,
    out_dir: str | Path,
    held_out: int = 512,
    seed: int = 42,
    word_boundaries: bool = False,
    num_proc: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> TextCorpus:
    """Tokenise a corpus into `out_dir`, or reuse what lies there if text and settings are the same.

    A line longer than `max_length` tokens (with [CLS] and [SEP]) becomes several rows; blank lines are
    skipped. `held_out` rows, at most 5 % of all, are drawn by `seed` and kept out of `train`. With
    `word_boundaries` each token says whether it starts a word of jieba's (for whole-word masking). `num_proc`
    processes tokenise (default: this one alone). `progress` is called with the bytes of text since its last call.

    Raises:
        InputError: no files, no text, text that is not UTF-8 (with `file:line`), or other files in `out_dir`.
    """
    out_dir = Path(out_dir)
    settings = {
        "version": _VERSION,
        "text": corpus_fingerprint(pattern),
        "tokenizer": tokenizer.fingerprint,
        "max_length": max_length,
        "held_out": held_out,
        "seed": seed,
        "word_boundaries": word_boundaries,
        "words": jieba_version() if word_boundaries else None,
    }
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if _is_prepared(out_dir, fingerprint):
        return TextCorpus(out_dir)
    strangers = sorted({entry.name for entry in out_dir.iterdir()} - _FILES) if out_dir.is_dir() else []
    if strangers:
        what = f"the folder for the prepared corpus holds other files: {', '.join(strangers[:5])}"
        raise InputError(what, str(out_dir), "give an empty or a new folder")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(out_dir)
    temporary = out_dir.with_name(f".{out_dir.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        encoder = LineEncoder(tokenizer, max_length, word_boundaries)
        counts = _write_arrays(temporary, pattern, encoder, num_proc, progress)
        rows = _draw_held_out(counts["sequences"], held_out, seed)
        meta = {**settings, "fingerprint": fingerprint, **counts, "held_out_rows": rows}
        with open(temporary / _META, "w", encoding="utf-8") as file:
            file.write(json.dumps(meta, indent=1))
            file.flush()
            os.fsync(file.fileno())
        _replace_folder(temporary, out_dir, fingerprint)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return TextCorpus(out_dir)


def _write_arrays(folder, pattern, encoder, num_proc, progress) -> dict:
    counts = {"files": len(corpus_files(pattern)), "lines": 0, "sequences": 0, "tokens": 0}
    with (
        open(folder / "tokens.bin", "wb") as tokens,
        open(folder / "ends.bin", "wb") as ends,
        open(folder / "starts.bin", "wb") as starts,
    ):
        for block in encode_in_order(_batches(read_lines(pattern)), encoder, num_proc):
            tokens.write(block.tokens.tobytes())
            ends.write((counts["tokens"] + np.cumsum(block.lengths)).tobytes())
            if block.starts is not None:
                starts.write(block.starts.tobytes())
            counts["lines"] += block.lines
            counts["sequences"] += len(block.lengths)
            counts["tokens"] += int(block.lengths.sum())
            if progress:
                progress(block.size)
        for file in (tokens, ends, starts):
            file.flush()
            os.fsync(file.fileno())
    if not counts["sequences"]:
        raise InputError("the corpus holds no text", str(pattern), "give text files with one passage a line")
    return {**counts, "dtype": np.dtype(encoder.dtype).name}


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) == _BATCH_LINES or size > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _draw_held_out(sequences: int, wanted: int, seed: int) -> list[int]:
    count = min(wanted, int(sequences * _HELD_OUT_SHARE))
    return sorted(np.random.default_rng(seed).choice(sequences, count, replace=False).tolist())


def _is_prepared(folder: Path, fingerprint: str) -> bool:
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        sizes = [(folder / name).stat().st_size for name in ("tokens.bin", "ends.bin", "starts.bin")]
    except (OSError, ValueError):
        return False
    if not isinstance(meta, dict) or meta.get("fingerprint") != fingerprint:
        return False
    width = np.dtype(meta["dtype"]).itemsize
    expected = [meta["tokens"] * width, meta["sequences"] * 8, meta["tokens"] * meta["word_boundaries"]]
    return sizes == expected


def _remove_abandoned(target: Path) -> None:
    """Remove what processes of this machine that are gone left half written, and our own."""
    for folder in target.parent.glob(f".{target.name}.{os.uname().nodename}.*.tmp"):
        process = folder.name.removesuffix(".tmp").removesuffix(".old").rpartition(".")[2]
        if process.isdigit() and (int(process) == os.getpid() or not _is_running(int(process))):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _replace_folder(new: Path, target: Path, fingerprint: str) -> None:
    old = new.with_name(f"{new.name.removesuffix('.tmp')}.old.tmp")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except OSError:
        # Another process of a distributed run may have been faster with the same corpus.
        if not _is_prepared(target, fingerprint):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
