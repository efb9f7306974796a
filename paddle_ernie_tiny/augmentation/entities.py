"""Augmentation of token rows: an entity's words are replaced by another entity of the same type."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..config import AugmentationSettings
from ..data.rows import TokenExample
from ..errors import InputError
from ..kinds.token_classification import entities
from .copies import AugmentationTeacher, Augmented, distinct_copies


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
            tags = entity_tags(labels, entity_type, end - start)
            if tags is not None:
                pool.setdefault(entity_type, {})[words[start:end]] = tags
    ordered = {entity_type: sorted(words) for entity_type, words in pool.items()}

    def draw(pending: list[tuple[int, int]], probability: float, attempt: int) -> list[tuple]:
        return [swapped(row, copy, probability, attempt) for row, copy in pending]

    def swapped(row: int, copy: int, probability: float, attempt: int) -> tuple:
        words, tags = map(list, originals[row])
        dice = np.random.default_rng([seed, row, copy, attempt]).random((len(found[row]), 2))
        # from the end, so that places before a replacement stay what they were
        for (entity_type, start, end), (replaced, which) in reversed(list(zip(found[row], dice, strict=True))):
            own = tuple(words[start:end])
            others = [other for other in ordered.get(entity_type, []) if other != own]
            if replaced < probability and others:
                other = others[int(which * len(others))]
                words[start:end], tags[start:end] = other, pool[entity_type][other]
        return tuple(words), tuple(tags)

    copies = distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw)
    return Augmented.of(examples, copies, ("words", "tags"), settings.copies_per_row)


def entity_tags(labels: Sequence[str], entity_type: str, length: int) -> tuple[int, ...] | None:
    """The tags of an entity of `length` words in the labels' scheme: BIO, BIOES or BMES.

    None if the task has no such tag.
    """
    letters = {name[0] for name in labels}
    inside, single = "M" if "M" in letters else "I", "S" if "S" in letters else "B"
    last = "E" if "E" in letters else inside
    scheme = [single] if length == 1 else ["B", *[inside] * (length - 2), last]
    names = [f"{letter}-{entity_type}" for letter in scheme]
    return tuple(map(labels.index, names)) if set(names) <= set(labels) else None
