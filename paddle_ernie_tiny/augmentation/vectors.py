"""Nearest neighbours of words by their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from .units import kind_of

_BLOCK_LINES = 4096


def nearest_words(path: str | Path, words: Iterable[str], count: int) -> dict[str, list[str]]:
    """The `count` nearest words of the same kind for each of `words` (lower case), by cosine, the nearest first.

    `path` is text in word2vec's or GloVe's shape, UTF-8: a word and its numbers a line, separated by single
    spaces, with or without a first line of the two counts. Case is folded; of equal words the first counts. It
    is read twice: for the vectors of `words`, then for their neighbours, so memory holds only the former
    (words x dimensions x 4 bytes, float32) and a block of 4,096 lines with its cosines (words x 4,096 x 4 bytes).
    A word that the file does not hold has no neighbours.

    Raises:
        InputError: no such file, a line whose numbers are missing, too many or not numbers, or none of `words`
            in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file of word vectors", str(path), "check augmentation.word_vectors")
    wanted = set(words)
    found, vectors = [], []
    for block, matrix in _unit_vectors(path, wanted):
        found += block
        vectors.append(matrix)
    if wanted and not found:
        raise InputError(
            f"none of the {len(wanted)} different words of the task text has a vector here",
            str(path),
            "give vectors of the task's language, for words as augmentation.language cuts them",
        )
    nearest = _Nearest(found, count)
    if found:
        own = np.concatenate(vectors)
        for block, matrix in _unit_vectors(path, None):
            nearest.update(block, own @ matrix.T)
    return nearest.words


class _Nearest:
    """The best `count` words seen so far of each word, from cosines that come block by block."""

    def __init__(self, words: list[str], count: int):
        self.of, self.kinds, self.count = words, [kind_of(word) for word in words], count
        self.best: list[list[tuple[float, str]]] = [[] for _ in words]

    def update(self, block: list[str], cosines: np.ndarray) -> None:
        """Takes in cosines [words, block]."""
        kinds = np.array([kind_of(word) or "" for word in block])
        for index, kind in enumerate(self.kinds):
            row = np.where(kinds == kind, cosines[index], -np.inf)
            least = self.best[index][-1][0] if len(self.best[index]) == self.count else -np.inf
            better = np.flatnonzero(row > least)
            if len(better) > self.count + 1:  # the word itself may be among them
                better = better[np.argpartition(-row[better], self.count)[: self.count + 1]]
            if len(better):
                new = [(float(row[i]), block[i]) for i in better if block[i] != self.of[index]]
                self.best[index] = sorted(self.best[index] + new, key=lambda item: (-item[0], item[1]))[: self.count]

    @property
    def words(self) -> dict[str, list[str]]:
        return {word: [near for _, near in best] for word, best in zip(self.of, self.best, strict=True)}


def _unit_vectors(path: Path, wanted: set[str] | None) -> Iterator[tuple[list[str], np.ndarray]]:
    """Blocks of words in lower case and their vectors [words, dimensions] at length 1; of `wanted` only, if given."""
    seen: set[str] = set()
    words, rows, numbers = [], [], []
    width = None
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                continue
            width = width or len(parts) - 1
            # a few published files hold "words" with a space inside
            word = " ".join(parts[: len(parts) - width]).lower()
            if not width or len(parts) <= width:
                _refuse(path, number, f"{len(parts) - 1} numbers, the lines before have {width}")
            if word in seen or (wanted is not None and word not in wanted) or kind_of(word) is None:
                continue
            seen.add(word)
            words.append(word)
            rows.append(parts[-width:])
            numbers.append(number)
            if len(words) == _BLOCK_LINES:
                yield words, _parsed(path, rows, numbers)
                words, rows, numbers = [], [], []
    if words:
        yield words, _parsed(path, rows, numbers)


def _parsed(path: Path, rows: list[list[str]], numbers: list[int]) -> np.ndarray:
    try:
        matrix = np.array(rows, dtype=np.float32)
        broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    except ValueError:
        broken = [i for i, row in enumerate(rows) if not _is_numbers(row)]
    if len(broken):
        _refuse(path, numbers[broken[0]], "not a word and its numbers")
    return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)


def _is_numbers(row: list[str]) -> bool:
    try:
        return bool(np.isfinite(np.array(row, dtype=np.float32)).all())
    except ValueError:
        return False


def _refuse(path: Path, number: int, what: str) -> None:
    raise InputError(what, f"{path}:{number}", "give word vectors as text: a word and its numbers a line")
