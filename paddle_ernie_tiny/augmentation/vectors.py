"""Nearest neighbours of words by their vectors."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import utf8_lines
from .masked_words import script_of

_BLOCK_LINES = 4096
_REMEDY = "give word vectors as text: a word and its numbers per line"


def nearest_words(path: Path, words: Iterable[str], count: int) -> dict[str, list[str]]:
    """The `count` nearest words of the same script for each of `words` (lower case), by cosine, the nearest first.

    `path` is text in word2vec's or GloVe's shape, UTF-8: a word and its numbers per line, separated by single spaces,
    with or without a first line of the two counts. Case is folded; of equal words the first counts. It is read twice:
    for the vectors of `words`, then for their neighbours, so memory holds only the former (words x dimensions x 4
    bytes, float32) and a block of 4,096 lines with its cosines (words x 4,096 x 4 bytes). A word that is not in it has
    no neighbours. Raises InputError for no such file, a line without its numbers, or none of `words` in the file.
    """
    if not path.is_file():
        raise InputError("no such file of word vectors", str(path), "check augmentation.word_vectors")
    wanted = set(words)
    if not wanted:
        return {}
    own = dict(_unit_vectors(path, wanted))
    if not own:
        what = f"none of the {len(wanted)} different words of the task text has a vector here"
        remedy = "give vectors of the task's language, for words as augmentation.language cuts them"
        raise InputError(what, str(path), remedy)
    best: dict[str, list[tuple[float, str]]] = {word: [] for word in own}  # (minus the cosine, neighbour), sorted
    matrix, vectors = np.stack(list(own.values())), _unit_vectors(path)
    while block := list(itertools.islice(vectors, _BLOCK_LINES)):
        scripts = np.array([script_of(word) for word, _ in block])
        for word, cosines in zip(best, matrix @ np.stack([vector for _, vector in block]).T, strict=True):
            least = -best[word][-1][0] if len(best[word]) == count else -np.inf
            better = np.flatnonzero((cosines > least) & (scripts == script_of(word)))
            if len(better) > count:  # and one more, which may be the word itself
                better = better[np.argpartition(-cosines[better], count)[: count + 1]]
            new = [(-float(cosines[i]), block[i][0]) for i in better if block[i][0] != word]
            best[word] = sorted(best[word] + new)[:count]
    return {word: [near for _, near in ranked] for word, ranked in best.items()}


def _unit_vectors(path: Path, wanted: set[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Words in lower case and their vectors [dimensions] at length 1; of `wanted` only, if given."""
    seen: set[str] = set()
    width = 0
    for number, line in utf8_lines(path):
        if isinstance(line, InputError):
            continue  # published files hold broken words
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            continue
        width = width or len(parts) - 1
        if not width or len(parts) <= width:
            raise InputError(f"{len(parts) - 1} numbers, the lines before have {width}", f"{path}:{number}", _REMEDY)
        # a few published files hold "words" with a space inside
        word = " ".join(parts[: len(parts) - width]).lower()
        if word in seen or (wanted is not None and word not in wanted) or script_of(word) is None:
            continue
        try:
            vector = np.array(parts[-width:], dtype=np.float32)
        except ValueError:
            vector = np.array([np.nan])
        if not np.isfinite(vector).all():
            raise InputError("not a word and its numbers", f"{path}:{number}", _REMEDY)
        seen.add(word)
        yield word, vector / max(float(np.linalg.norm(vector)), 1e-12)
