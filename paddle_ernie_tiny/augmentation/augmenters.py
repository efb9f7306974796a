"""The augmenters: of single sentences and pairs, whose words are replaced, and of tagged rows, whose entities are.

The former is TinyBERT's (arXiv 1909.10351, section 3.2 and algorithm 1).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import AugmentationSettings
from ..data.rows import Example, TokenExample
from ..data.tokenization import WordPieceTokenizer
from ..data.words import jieba_version
from ..distributed import main_first
from ..errors import InputError
from ..files import sha256
from ..kinds import Kind
from ..kinds.tags import entities
from .copies import Augmented, cached, distinct_copies
from .masked_words import WordPredictor
from .segments import Text, Word, analyse, cut_texts
from .vectors import nearest_words

_VERSION = 1  # raise it when the same inputs give other rows
# Rows that are augmented together: enough to fill batches of similar length, few enough to keep in memory.
_BLOCK_ROWS = 64


@dataclasses.dataclass(frozen=True)
class AugmentationTeacher:
    """What an augmenter may ask: `masked_lm` loads the teacher's masked language model, or gives None without one."""

    masked_lm: Callable[[], Any | None]
    tokenizer: WordPieceTokenizer
    model_fingerprint: str


def replace_words(
    examples: Sequence[Example],
    labels: Sequence[str],
    settings: AugmentationSettings,
    seed: int,
    teacher: AugmentationTeacher,
) -> Augmented:
    """Up to `copies_per_row` copies of each row, with words replaced by others that fit their place.

    Each word of a copy is replaced with `replace_probability` by one drawn uniformly from its candidates: what
    the masked LM predicts for its place, and its nearest neighbours among the word vectors if those are given.
    A word without candidates stays. Both texts of a pair start from the original. Labels are the originals'.
    The same rows and seed give the same copies, whatever `rows_per_batch`. The teacher needs no masked LM if word
    vectors are given. Raises InputError if both are missing, and as `nearest_words` does.
    """
    masked_lm = teacher.masked_lm()
    if masked_lm is None and settings.word_vectors is None:
        what = "there is neither a masked language model nor word vectors to draw replacements from"
        remedy = "name a model with its masked LM head, or give augmentation.word_vectors"
        raise InputError(what, "augmentation", remedy)
    originals = [[text for text in example.content if text is not None] for example in examples]
    predict, neighbours = None, {}
    if masked_lm is not None:
        predict = WordPredictor(masked_lm, teacher.tokenizer, settings.candidates, settings.rows_per_batch)
    if settings.word_vectors is not None:
        cut = cut_texts([text for texts in originals for text in texts], settings.language)
        words = {word.lower() for text in cut for _, word, _ in text}
        neighbours = nearest_words(settings.word_vectors, words, settings.candidates)
    copies = []
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=len(examples), desc="augmenting", bar_format=bar_format, disable=None, leave=False) as bar:
        for start in range(0, len(examples), _BLOCK_ROWS):
            block = originals[start : start + _BLOCK_ROWS]
            flat = iter(analyse([text for texts in block for text in texts], teacher.tokenizer, settings.language))
            analysed = [[next(flat) for _ in texts] for texts in block]
            copies += _copies_of_block(analysed, start, settings, seed, predict, neighbours, bar.update)
            bar.n = start + len(block)
            bar.refresh()
    return Augmented.of(examples, copies, ("text", "text_b"), settings.copies_per_row)


def _copies_of_block(
    block: list[list[Text]],
    first_row: int,
    settings: AugmentationSettings,
    seed: int,
    predict: WordPredictor | None,
    neighbours: dict[str, list[str]],
    advance: Callable[[float], object],
) -> list[list[tuple[str, ...]]]:
    """The copies of each row of the block, as tuples of its texts; `advance` is told how many rows' work is done."""
    candidates: dict[Word, list[str]] = {}

    def chosen(row: int, copy: int, probability: float, attempt: int) -> list[tuple[Word, float]]:
        """The words that this copy replaces, each with the die in [0, 1) of its candidate."""
        found = []
        for side, text in enumerate(block[row]):
            rng = np.random.default_rng([seed, first_row + row, side, copy, attempt])
            replaced, which = rng.random((2, len(text.words)))
            found += [(text.words[i], float(which[i])) for i in np.flatnonzero(replaced < probability)]
        return found

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list[tuple[str, ...]]:
        choices = [chosen(row, copy, probability, attempt) for row, copy in pending]
        new = dict.fromkeys(word for of_copy in choices for word, _ in of_copy if word not in candidates)
        candidates.update({word: sorted(neighbours.get(word.text.lower(), [])) for word in new})
        wanted = [word for word in new if word.pieces]
        if predict is not None and wanted:
            share = len(block) / len(wanted) if attempt == 0 else 0.0
            for word, found in zip(wanted, predict(wanted, lambda count: advance(count * share)), strict=True):
                # in an order of its own: rounding may swap words that are equally probable
                candidates[word] = sorted({*found, *candidates[word]})
        drawn = []
        for (row, _), of_copy in zip(pending, choices, strict=True):
            of_word = [(word, candidates[word], die) for word, die in of_copy]
            replacements = {word: others[int(die * len(others))] for word, others, die in of_word if others}
            drawn.append(tuple(text.with_words(replacements) for text in block[row]))
        return drawn

    originals = [tuple(text.text for text in texts) for texts in block]
    return distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw)


def swap_entities(
    examples: Sequence[TokenExample],
    labels: Sequence[str],
    settings: AugmentationSettings,
    seed: int,
    teacher: AugmentationTeacher | None = None,
) -> Augmented:
    """Up to `copies_per_row` copies of each token row, with entities replaced by others of the same type.

    Each entity is replaced with `replace_probability` by one drawn uniformly from the different entities of its type
    in all rows, with tags in the scheme of `labels`. Copies of rows without entities count as given up. The same rows
    and seed give the same copies. The teacher is not asked. Raises InputError for tags of a scheme that is not known.
    """
    wrong = [name for name in labels if name != "O" and not re.fullmatch(r"[BIMES]-.+", name)]
    if wrong:
        what = f"tag {wrong[0]!r} is of no scheme that is known here"
        raise InputError(what, "task.labels", "use O and BIO, BIOES or BMES tags, such as B-PER and I-PER")
    originals = [(e.words, e.tags or ()) for e in examples]
    found = [entities([labels[tag] for tag in tags]) for _, tags in originals]
    pool: dict[str, dict[tuple[str, ...], tuple[int, ...]]] = {}  # by type: each entity's words, and their tags
    for (words, _), row in zip(originals, found, strict=True):
        for entity_type, start, end in row:
            tags = _entity_tags(labels, entity_type, end - start)
            if tags is not None:
                pool.setdefault(entity_type, {})[words[start:end]] = tags
    ordered = {entity_type: sorted(words) for entity_type, words in pool.items()}

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list[tuple]:
        drawn = []
        for row, copy in pending:
            words, tags = map(list, originals[row])
            dice = np.random.default_rng([seed, row, copy, attempt]).random((len(found[row]), 2))
            # from the end, so that places before a replacement stay what they were
            for (entity_type, start, end), (replaced, which) in reversed(list(zip(found[row], dice, strict=True))):
                own = tuple(words[start:end])
                others = [other for other in ordered.get(entity_type, []) if other != own]
                if replaced < probability and others:
                    other = others[int(which * len(others))]
                    words[start:end], tags[start:end] = other, pool[entity_type][other]
            drawn.append((tuple(words), tuple(tags)))
        return drawn

    copies = distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw)
    return Augmented.of(examples, copies, ("words", "tags"), settings.copies_per_row)


def _entity_tags(labels: Sequence[str], entity_type: str, length: int) -> tuple[int, ...] | None:
    """The tags of an entity of `length` words in the labels' scheme (BIO, BIOES or BMES); None if there is no such."""
    letters = {name[0] for name in labels}
    inside, single = "M" if "M" in letters else "I", "S" if "S" in letters else "B"
    last = "E" if "E" in letters else inside
    scheme = [single] if length == 1 else ["B", *[inside] * (length - 2), last]
    names = [f"{letter}-{entity_type}" for letter in scheme]
    return tuple(map(labels.index, names)) if set(names) <= set(labels) else None


Augmenter = Callable[[Sequence, Sequence[str], AugmentationSettings, int, AugmentationTeacher], Augmented]
AUGMENTERS: dict[str, Augmenter] = {"words": replace_words, "entities": swap_entities}


def augmented_rows(
    kind: Kind,
    folder: Path,
    train: Sequence,
    labels: Sequence[str],
    settings: AugmentationSettings,
    seed: int,
    teacher: AugmentationTeacher,
) -> Augmented:
    """Copies of the training rows by the kind's augmenter, made once for the same inputs and kept in `folder`.

    No inputs are how many rows a forward pass has, and which labels the copies are trained on. Of several processes
    the main one makes the copies, and the others read its file. Raises InputError as the augmenter does.
    """
    digest = hashlib.sha256()
    for example in train:
        digest.update(json.dumps(dataclasses.astuple(example), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    vectors = settings.word_vectors
    inputs = {
        "version": _VERSION,
        "rows": digest.hexdigest(),
        "settings": settings.model_dump(exclude={"rows_per_batch", "labels", "word_vectors"}),
        "word_vectors": sha256(vectors) if vectors is not None and Path(vectors).is_file() else None,
        "jieba": jieba_version(),
        "seed": seed,
        "augmenter": kind.augmenter,
        "labels": list(labels),
        "masked_lm": teacher.model_fingerprint,
        "tokenizer": teacher.tokenizer.fingerprint,
    }
    make = partial(AUGMENTERS[kind.augmenter], train, labels, settings, seed, teacher)
    with main_first():
        return cached(folder, inputs, make, row_type=type(train[0]))
