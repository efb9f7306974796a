"""Augmentation of single sentences and pairs (TinyBERT, arXiv 1909.10351, section 3.2 and algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from ..config import AugmentationSettings
from ..data.rows import Example
from ..errors import InputError
from .copies import AugmentationTeacher, Augmented, distinct_copies
from .masked_words import WordPredictor
from .segments import Text, Word, analyse, cut_texts
from .vectors import nearest_words

# Rows that are augmented together: enough to fill batches of similar length, few enough to keep in memory.
_BLOCK_ROWS = 64


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

    def find_candidates(words: list[Word], attempt: int) -> None:
        candidates.update({word: sorted(neighbours.get(word.text.lower(), [])) for word in words})
        wanted = [word for word in words if word.pieces]
        if predict is None or not wanted:
            return
        share = len(block) / len(wanted) if attempt == 0 else 0.0
        predicted = predict(wanted, lambda count: advance(count * share))
        for word, found in zip(wanted, predicted, strict=True):
            # in an order of its own: rounding may swap words that are equally probable
            candidates[word] = sorted({*found, *candidates[word]})

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list[tuple[str, ...]]:
        choices = [chosen(row, copy, probability, attempt) for row, copy in pending]
        words = dict.fromkeys(word for of_copy in choices for word, _ in of_copy)
        find_candidates([word for word in words if word not in candidates], attempt)
        drawn = []
        for (row, _), of_copy in zip(pending, choices, strict=True):
            of_word = [(word, candidates[word], die) for word, die in of_copy]
            replacements = {word: found[int(die * len(found))] for word, found, die in of_word if found}
            drawn.append(tuple(text.with_words(replacements) for text in block[row]))
        return drawn

    originals = [tuple(text.text for text in texts) for texts in block]
    return distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw)
