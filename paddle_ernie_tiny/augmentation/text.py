"""Augmentation of single sentences and pairs (TinyBERT, arXiv 1909.10351, section 3.2 and algorithm 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from ..config import AugmentationSettings
from ..data.readers import Example
from ..data.tokenization import WordPieceTokenizer
from ..errors import InputError
from .copies import Augmented, distinct_copies, spread_samples
from .predict import Predictor
from .units import Text, analyse, word_texts
from .vectors import nearest_words

# Rows that are augmented together: enough to fill batches of similar length, few enough to keep in memory.
_BLOCK_ROWS = 64


def augment(
    examples: list[Example],
    settings: AugmentationSettings,
    masked_lm,
    tokenizer: WordPieceTokenizer,
    seed: int,
) -> Augmented:
    """Up to `copies_per_row` copies of each row, with words replaced by others that fit their place.

    Each word of a copy is replaced with `replace_probability` by one drawn uniformly from its candidates: what
    the masked LM predicts for its place, and its nearest neighbours among the word vectors where they are given.
    A word without candidates stays. Both texts of a pair start from the original. Labels are the originals'.
    The same rows and seed give the same copies, whatever `rows_per_batch`. `masked_lm` may be None where word
    vectors are given. Raises InputError where both are missing, and as `nearest_words` does.
    """
    if masked_lm is None and settings.word_vectors is None:
        raise InputError(
            "there is neither a masked language model nor word vectors to draw replacements from",
            "augmentation",
            "name a model with its masked LM head, or give augmentation.word_vectors",
        )
    predict, neighbours = None, {}
    if masked_lm is not None:
        predict = Predictor(masked_lm, tokenizer, settings.candidates, settings.rows_per_batch)
    if settings.word_vectors is not None:
        texts = [text for e in examples for text in _texts(e)]
        neighbours = nearest_words(settings.word_vectors, word_texts(texts, settings.language), settings.candidates)
    made, origin = [], []
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=len(examples), desc="augmenting", bar_format=bar_format, disable=None, leave=False) as bar:
        for start in range(0, len(examples), _BLOCK_ROWS):
            block = examples[start : start + _BLOCK_ROWS]
            copies = _augment_block(block, start, settings, predict, neighbours, tokenizer, seed, bar.update)
            for row, values in enumerate(copies):
                origin += [start + row] * len(values)
                made += [_with_texts(block[row], texts) for texts in values]
            bar.n = start + len(block)
            bar.refresh()
    samples = spread_samples(origin, lambda i: _sample(examples[origin[i]], made[i]))
    return Augmented(made, origin, settings.copies_per_row * len(examples) - len(made), samples)


def _augment_block(
    block: list[Example],
    first_row: int,
    settings: AugmentationSettings,
    predict: Predictor | None,
    neighbours: dict[str, list[str]],
    tokenizer: WordPieceTokenizer,
    seed: int,
    advance: Callable[[float], None],
) -> list[list[tuple[str, ...]]]:
    """The copies of each row of the block, as tuples of its texts."""
    originals = [_texts(e) for e in block]
    flat = iter(analyse([text for texts in originals for text in texts], tokenizer, settings.language))
    analysed: list[list[Text]] = [[next(flat) for _ in texts] for texts in originals]
    candidates: dict[tuple[int, int, int], list[str]] = {}

    def dice(row: int, side: int, copy: int, attempt: int) -> np.ndarray:
        """[2, words] in [0, 1): whether each word is replaced, and by which candidate."""
        rng = np.random.default_rng([seed, first_row + row, side, copy, attempt])
        return rng.random((2, len(analysed[row][side].words)))

    def chosen(row: int, copy: int, probability: float, attempt: int):
        """(side, word, die of the candidate) of each word that this copy replaces."""
        for side in range(len(analysed[row])):
            replaced, which = dice(row, side, copy, attempt)
            for index in np.flatnonzero(replaced < probability).tolist():
                yield side, index, float(which[index])

    def predict_chosen(pending: list[tuple[int, int]], probability: float, attempt: int) -> None:
        wanted = {}
        for row, copy in pending:
            for side, index, _ in chosen(row, copy, probability, attempt):
                text = analysed[row][side]
                word = text.words[index]
                key = (row, side, index)
                if key not in candidates and key not in wanted:
                    candidates_of_vectors = neighbours.get(text.text[word.start : word.end].lower(), [])
                    if predict is not None and word.predictable:
                        wanted[key] = (text, word, candidates_of_vectors)
                    else:
                        candidates[key] = sorted(candidates_of_vectors)
        if not wanted:
            return
        share = len(block) / len(wanted) if attempt == 0 else 0.0
        predicted = predict([(text, word) for text, word, _ in wanted.values()], lambda count: advance(count * share))
        for (key, (_, _, more)), words in zip(wanted.items(), predicted, strict=True):
            # in an order of its own: rounding may swap words that are equally probable
            candidates[key] = sorted({*words, *more})

    def draw(row: int, copy: int, probability: float, attempt: int) -> tuple[str, ...]:
        replacements: list[dict[int, str]] = [{} for _ in analysed[row]]
        for side, index, die in chosen(row, copy, probability, attempt):
            words = candidates[row, side, index]
            if words:
                replacements[side][index] = words[int(die * len(words))]
        return tuple(text.with_words(by) for text, by in zip(analysed[row], replacements, strict=True))

    return distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw, predict_chosen)


def _texts(example: Example) -> tuple[str, ...]:
    return (example.text,) if example.text_b is None else (example.text, example.text_b)


def _with_texts(example: Example, texts: tuple[str, ...]) -> Example:
    return dataclasses.replace(example, text=texts[0], text_b=texts[1] if len(texts) > 1 else None)


def _sample(before: Example, after: Example) -> dict:
    sample = {"before": before.text, "after": after.text}
    if before.text_b is not None:
        sample |= {"before_b": before.text_b, "after_b": after.text_b}
    return sample
