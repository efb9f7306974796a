"""The general corpus: text files of any size, tokenised once into arrays on disk.

A prepared corpus is a folder with `tokens.bin` (all sequences one after another), `ends.bin` (where each
ends), `starts.bin` (with word boundaries: a flag per token) and `meta.json`. Neither writing nor reading holds more
than a batch of lines in memory.
"""

from __future__ import annotations

import json
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, lru_cache
from glob import glob, has_magic
from importlib.metadata import version
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tokenizers import Encoding

from ..errors import InputError
from ..files import known_sha256, new_folder, text_sha256, utf8_lines
from ..processes import Workers
from ..seals import whole_or_none, write_seal
from ..text_rule import DAMAGED_REMEDY, refused_character
from .formats import listing
from .rows import EncodedRows
from .text_tokenizer import TextTokenizer
from .words import cut_words

_VERSION = 1  # of the files' layout; part of the fingerprint
_LINE_BYTES = 1 << 20  # a longer line is read in pieces
_BATCH_LINES, _BATCH_CHARACTERS = 2000, 1 << 20
_AHEAD = 4  # batches per process that wait or are worked on; they bound memory
_HELD_OUT_SHARE = 0.05
_ARRAYS, META = ("tokens.bin", "ends.bin", "starts.bin"), "meta.json"
Progress = Callable[[int], object]
# Of encoded lines: the ids of all sequences [tokens], the lengths [sequences], and perhaps which tokens start a word.
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def corpus_files(pattern: str | Path) -> list[Path]:
    """The files that a folder (every *.txt below it), a glob or a path names, sorted. Raises InputError for none."""
    path = Path(pattern)
    if path.is_dir():
        files = _text_files_below(path)
        looked_for, found = "*.txt files in or below it", listing(path)
    elif has_magic(str(pattern)) and not path.exists():
        files = sorted(Path(found) for found in glob(str(pattern), recursive=True) if Path(found).is_file())
        looked_for, found = "files that match this pattern", listing(path.parent)
    else:
        files = [path] if path.is_file() else []
        looked_for, found = "files of this name", listing(path.parent)
    if not files:
        raise InputError(f"there are no {looked_for}", str(pattern), f"correct the path; {found}")
    if not any(file.stat().st_size for file in files):
        raise InputError("the corpus is empty", str(pattern), "give text files with one passage per line")
    return files


def _text_files_below(folder: Path) -> list[Path]:
    """Sorted; linked folders are followed, each folder once."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place, name) for name in names if name.endswith(".txt") and os.path.isfile(Path(place, name))]
    return sorted(found)


def corpus_fingerprint(pattern: str | Path) -> str:
    """SHA-256 over the contents of the files, in their order; names and places do not count."""
    return text_sha256(*map(known_sha256, corpus_files(pattern)))


def read_lines(pattern: str | Path) -> Iterator[str]:
    """The lines with text of all files; one over 1 MiB comes in pieces. Raises InputError at one that is no text."""
    for file in corpus_files(pattern):
        for number, line in utf8_lines(file, _LINE_BYTES):
            if isinstance(line, InputError):
                raise line
            if what := refused_character(line, data=True):
                raise InputError(what, f"{file}:{number}", DAMAGED_REMEDY)
            if line.strip():
                yield line.rstrip("\r\n")


class TextRows:
    """Rows of a prepared corpus as a map-style data set of {"input_ids"[, "word_starts"]} arrays."""

    def __init__(self, corpus: TextCorpus, held_out: np.ndarray, inside: bool):
        self._corpus, self._held_out, self._inside = corpus, held_out, inside
        # How many rows of this view come before each held-out row: from it, a row's place in the file.
        self._before = held_out - np.arange(len(held_out))

    def __len__(self) -> int:
        return len(self._held_out) if self._inside else self._corpus.sequences - len(self._held_out)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        index = range(len(self))[index]  # from the end, if negative
        place = self._held_out[index] if self._inside else index + np.searchsorted(self._before, index, side="right")
        return self._corpus.row(int(place))

    def take(self, indices: Iterable[int]) -> EncodedRows:
        """The rows at `indices`, in that order, as single sentences without labels."""
        ids = [self[int(index)]["input_ids"].tolist() for index in indices]
        return EncodedRows(ids, [[0] * len(row) for row in ids])

    @property
    def fingerprint(self) -> str:
        """Equal for the same rows: of the text, the tokenizer and how they were cut."""
        return f"{self._corpus.meta['fingerprint']}-{'held_out' if self._inside else 'train'}"

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, with [CLS] and [SEP]: int32 [rows]."""
        lengths = np.diff(self._corpus.ends, prepend=0).astype(np.int32)
        return lengths[self._held_out] if self._inside else np.delete(lengths, self._held_out)


class TextCorpus:
    """A prepared corpus: `train` and `held_out` rows, and `meta` with the counts.

    Every row is [CLS] tokens [SEP]. Files are opened when first used, so a corpus can be handed to another process.
    Rows are read by place: pages of a mapped file would count as the process's memory, up to the whole file.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.meta: dict[str, Any] = json.loads((self.folder / META).read_text(encoding="utf-8"))
        self.sequences: int = self.meta["sequences"]
        rows = np.array(self.meta["held_out_rows"], dtype=np.int64)
        self.train, self.held_out = TextRows(self, rows, False), TextRows(self, rows, True)

    def __reduce__(self) -> tuple[type[TextCorpus], tuple[Path]]:
        return TextCorpus, (self.folder,)

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each row of the file ends, in tokens: int64 [sequences]."""
        return np.memmap(self.folder / "ends.bin", dtype=np.int64, mode="r")

    @cached_property
    def _files(self) -> dict[str, BinaryIO]:
        return {name: open(self.folder / name, "rb") for name in _ARRAYS}

    def row(self, index: int) -> dict[str, np.ndarray]:
        """A row by its place in the file: `input_ids` int64 and, with word boundaries, `word_starts` bool."""
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        row = {"input_ids": self._read("tokens.bin", self.meta["dtype"], start, end).astype(np.int64)}
        if self.meta["word_boundaries"]:
            row["word_starts"] = self._read("starts.bin", "bool", start, end)
        return row

    def _read(self, name: str, dtype: str, start: int, end: int) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        return np.frombuffer(os.pread(self._files[name].fileno(), size * (end - start), size * start), dtype=dtype)


def prepare_corpus(
    pattern: str | Path,
    tokenizer: TextTokenizer,
    max_length: int,
    out_dir: str | Path,
    held_out: int = 512,
    seed: int = 42,
    word_boundaries: bool = False,
    num_proc: int | None = None,
    progress: Progress | None = None,
) -> TextCorpus:
    """Tokenises a corpus into `out_dir`, or reuses what is there if text and settings are the same.

    A line longer than `max_length` tokens (with [CLS] and [SEP]) becomes several rows. `held_out` rows, at most 5 % of
    all, are drawn by `seed` and kept out of `train`. With `word_boundaries` each token says whether it starts a word of
    jieba's. `num_proc` processes tokenise (default: this one alone). `progress` gets the bytes of text since its last
    call. Raises InputError for no files, no text, text that is not UTF-8, text that changes while it is read, or other
    files in `out_dir`. What is damaged in `out_dir` is made again.
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
        "words": version("jieba") if word_boundaries else None,
    }
    fingerprint = text_sha256(json.dumps(settings, sort_keys=True))
    prepared = whole_or_none(out_dir / META, "tokenised corpus")
    if prepared is not None and prepared["fingerprint"] == fingerprint:
        return TextCorpus(out_dir)
    found = {entry.name for entry in out_dir.iterdir()} if out_dir.is_dir() else set()
    strangers = sorted(found - {*_ARRAYS, META})
    if strangers:
        what = f"the folder for the prepared corpus holds other files: {', '.join(strangers[:5])}"
        raise InputError(what, str(out_dir), "give an empty or a new folder")
    with new_folder(out_dir, marker=min(found, default=None)) as folder:  # all that it holds is ours
        encoder = LineEncoder(tokenizer, max_length, word_boundaries)
        counts = _write_arrays(folder, pattern, encoder, num_proc, progress)
        count = min(held_out, int(counts["sequences"] * _HELD_OUT_SHARE))
        rows = sorted(np.random.default_rng(seed).choice(counts["sequences"], count, replace=False).tolist())
        meta = {**settings, "fingerprint": fingerprint, **counts, "held_out_rows": rows}
        if corpus_fingerprint(pattern) != settings["text"]:
            raise InputError("the text changed while it was read", str(pattern), "run the same command again")
        meta["dtype"] = np.dtype(encoder.dtype).name
        write_seal(folder / META, meta, [folder / name for name in _ARRAYS])
    return TextCorpus(out_dir)


def _write_arrays(
    folder: Path, pattern: str | Path, encoder: LineEncoder, num_proc: int | None, progress: Progress | None
) -> dict[str, int]:
    """Writes the arrays, and returns how much there is in them."""
    counts = {"files": len(corpus_files(pattern)), "lines": 0, "sequences": 0, "tokens": 0}
    with ExitStack() as stack:
        tokens, ends, starts = (stack.enter_context(open(folder / name, "wb")) for name in _ARRAYS)
        for lines, (ids, lengths, flags) in _encode_in_order(_batches(read_lines(pattern)), encoder, num_proc):
            tokens.write(ids.tobytes())
            ends.write((counts["tokens"] + np.cumsum(lengths)).tobytes())
            if flags is not None:
                starts.write(flags.tobytes())
            counts["lines"] += len(lines)
            counts["sequences"] += len(lengths)
            counts["tokens"] += len(ids)
            if progress:
                progress(sum(len(line.encode(errors="ignore")) + 1 for line in lines))
    if not counts["sequences"]:
        raise InputError("the corpus holds no text", str(pattern), "give text files with one passage per line")
    return counts


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


@dataclass
class LineEncoder:
    """Cuts lines into sequences [CLS] tokens [SEP] of at most `max_length` tokens. Can be pickled."""

    tokenizer: TextTokenizer
    max_length: int
    word_boundaries: bool

    @property
    def dtype(self) -> type:
        """Of the token ids: two bytes if the vocabulary fits."""
        return np.uint16 if self.tokenizer.vocab_size <= 1 << 16 else np.int32

    def __call__(self, lines: list[str]) -> Arrays:
        """One batch of lines. A line that is too long becomes several sequences."""
        if self.word_boundaries:
            encoded = self.tokenizer.encode_with_offsets(lines)
            ids = [encoding.ids for encoding in encoded]
            flags = map(_word_starts, encoded, cut_words(lines), repeat(self.tokenizer.blank))
            # a sequence's first token starts a word, even if the line was cut inside one
            marks = [[True, True, *piece[1:], True] for line in flags for piece in self._pieces(line)]
            starts = np.fromiter(chain.from_iterable(marks), dtype=np.bool_)
        else:
            ids, starts = self.tokenizer.encode_plain(lines), None
        first, last = self.tokenizer.cls_id, self.tokenizer.sep_id
        rows = [[first, *piece, last] for line in ids for piece in self._pieces(line)]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        tokens: np.ndarray = np.fromiter(chain.from_iterable(rows), dtype=self.dtype, count=int(lengths.sum()))
        return tokens, lengths, starts

    def _pieces(self, line: list) -> list[list]:
        room = self.max_length - 2
        return [line[start : start + room] for start in range(0, len(line), room)]


def _word_starts(encoding: Encoding, words: list[tuple[str, int, int]], blank: str) -> list[bool]:
    """For each token of a text whether it starts a word; `words` are the text's as `cut_words` gives them.

    Where tokens show the `blank` before them a word begins there, and between others only at letters beyond ASCII.
    """
    word_of = [index for index, (word, _, _) in enumerate(words) for _ in word] + [len(words)]
    of_tokens = [word_of[start] for start, _ in encoding.offsets]
    starts = [before != word for before, word in zip([-1, *of_tokens], of_tokens, strict=False)]
    if not blank:
        return starts
    latin = [True, *(word.isascii() for word, _, _ in words), True]  # of the word at -1, and so on
    pairs = zip([-1, *of_tokens], of_tokens, starts, encoding.tokens, strict=False)
    return [
        token.startswith(blank) or (new and (before < 0 or not (latin[before + 1] and latin[word + 1])))
        for before, word, new, token in pairs
    ]


def _encode_in_order(
    batches: Iterable[list[str]], encoder: LineEncoder, processes: int | None
) -> Iterator[tuple[list[str], Arrays]]:
    """Every batch with its arrays, in order; with `processes` above 1, that many share the work."""
    if not processes or processes < 2:
        yield from ((batch, encoder(batch)) for batch in batches)
        return
    pickled = pickle.dumps(encoder)
    with Workers(processes, {"TOKENIZERS_PARALLELISM": "false"}) as workers:  # the processes are the parallelism
        waiting: deque[tuple[list[str], Future[Arrays]]] = deque()
        for batch in batches:
            waiting.append((batch, workers.submit(_encode, pickled, batch)))
            if len(waiting) >= _AHEAD * processes:
                first, arrays = waiting.popleft()
                yield first, arrays.result()
        yield from ((first, arrays.result()) for first, arrays in waiting)


_unpickled = lru_cache(maxsize=1)(pickle.loads)


def _encode(encoder: bytes, lines: list[str]) -> Arrays:
    return _unpickled(encoder)(lines)
