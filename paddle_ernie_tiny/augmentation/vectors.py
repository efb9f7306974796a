"""Nearest neighbours of words by their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import utf8_lines
from .segments import script_of

_BLOCK_LINES = 4096
_REMEDY = "give word vectors as text: a word and its numbers per line"


def nearest_words(path: str | Path, words: Iterable[str], count: int) -> dict[str, list[str]]:
    """The `count` nearest words of the same script for each of `words` (lower case), by cosine, the nearest first.

    `path` is text in word2vec's or GloVe's shape, UTF-8: a word and its numbers per line, separated by single
    spaces, with or without a first line of the two counts. Case is folded; of equal words the first counts. It
    is read twice: for the vectors of `words`, then for their neighbours, so memory holds only the former
    (words x dimensions x 4 bytes, float32) and a block of 4,096 lines with its cosines (words x 4,096 x 4 bytes).
    A word that the file does not hold has no neighbours. Raises InputError for a file that is not there, a line
    without its numbers, or none of `words` in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file of word vectors", str(path), "check augmentation.word_vectors")
    wanted = set(words)
    if not wanted:
        return {}
    blocks = list(_unit_vectors(path, wanted))
    if not blocks:
        what = f"none of the {len(wanted)} different words of the task text has a vector here"
        remedy = "give vectors of the task's language, for words as augmentation.language cuts them"
        raise InputError(what, str(path), remedy)
    own = np.concatenate([vectors for _, vectors in blocks])
    best: dict[str, list[tuple[float, str]]] = {word: [] for block, _ in blocks for word in block}
    script = {word: script_of(word) for word in best}
    for block, vectors in _unit_vectors(path, None):
        names, scripts = np.array(block), np.array([script_of(word) for word in block])
        for word, cosines in zip(best, own @ vectors.T, strict=True):
            known = best[word]
            least = known[-1][0] if len(known) == count else -np.inf
            better = np.flatnonzero((cosines > least) & (scripts == script[word]) & (names != word))
            if len(better) > count:
                better = better[np.argpartition(-cosines[better], count - 1)[:count]]
            new = [(float(cosines[i]), block[i]) for i in better]
            best[word] = sorted(known + new, key=lambda item: (-item[0], item[1]))[:count]
    return {word: [near for _, near in ranked] for word, ranked in best.items()}


def _unit_vectors(path: Path, wanted: set[str] | None) -> Iterator[tuple[list[str], np.ndarray]]:
    """Blocks of words in lower case and their vectors [words, dimensions] at length 1; of `wanted` only, if given."""
    seen: set[str] = set()
    words: list[str] = []
    vectors: list[np.ndarray] = []
    width = 0
    for number, line in utf8_lines(path):
        if isinstance(line, InputError):
            continue  # published files hold broken words
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            continue
        width = width or len(parts) - 1
        if not width or len(parts) <= width:
            what = f"{len(parts) - 1} numbers, the lines before have {width}"
            raise InputError(what, f"{path}:{number}", _REMEDY)
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
        words.append(word)
        vectors.append(vector / max(float(np.linalg.norm(vector)), 1e-12))
        if len(words) == _BLOCK_LINES:
            yield words, np.stack(vectors)
            words, vectors = [], []
    if words:
        yield words, np.stack(vectors)
