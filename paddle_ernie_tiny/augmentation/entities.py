"""Augmentation of token rows: an entity's words are replaced by another entity of the same type."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from ..config import AugmentationSettings
from ..errors import InputError
from .copies import Augmented, distinct_copies, spread_samples
from .units import kind_of


@dataclasses.dataclass(frozen=True)
class _Entity:
    start: int
    end: int
    type: str


class TagScheme:
    """How tags mark an entity of several words: BIO, BIOES or BMES, as the label names tell.

    Raises InputError where a name is neither O nor a letter of these schemes, a hyphen and a type.
    """

    def __init__(self, labels: Sequence[str]):
        wrong = [name for name in labels if name != "O" and not re.fullmatch(r"[BIMES]-.+", name)]
        if wrong:
            raise InputError(
                f"tag {wrong[0]!r} is of no scheme that is known here",
                "task.labels",
                "use O and BIO, BIOES or BMES tags, such as B-PER and I-PER",
            )
        self.labels = list(labels)
        letters = {name[0] for name in labels if name != "O"}
        self.inside = "M" if "M" in letters else "I"
        self.single, self.last = "S" if "S" in letters else "B", "E" if "E" in letters else self.inside

    def entities(self, tags: Sequence[int]) -> list[_Entity]:
        """The entities of a row; one that does not begin with B or S begins where its type first stands."""
        found: list[_Entity] = []
        for place, tag in enumerate(tags):
            letter, _, kind = self.labels[tag].partition("-")
            if letter == "O":
                continue
            before = found[-1] if found and found[-1].end == place else None
            open_before = before is not None and self.labels[tags[place - 1]][0] not in "ES"
            if letter in "BS" or not open_before or before.type != kind:
                found.append(_Entity(place, place + 1, kind))
            else:
                found[-1] = _Entity(before.start, place + 1, kind)
        return found

    def tags(self, kind: str, length: int) -> tuple[int, ...] | None:
        """The tags of an entity of `length` words; None where the task has no such tag."""
        letters = [self.single] if length == 1 else ["B", *[self.inside] * (length - 2), self.last]
        names = [f"{letter}-{kind}" for letter in letters]
        return tuple(map(self.labels.index, names)) if set(names) <= set(self.labels) else None


def swap_entities(examples: list, labels: Sequence[str], settings: AugmentationSettings, seed: int) -> Augmented:
    """Up to `copies_per_row` copies of each token row, with entities replaced by others of the same type.

    Rows have `words` and `tags` (ids into `labels`), tuples of equal length. Each entity is replaced with
    `replace_probability` by one drawn uniformly from the different entities of its type in all rows; its tags
    are made anew in the scheme of `labels`. Rows without entities cannot be copied: their copies count as given
    up. The same rows and seed give the same copies. Raises InputError as `TagScheme` does.
    """
    scheme = TagScheme(labels)
    entities = [scheme.entities(e.tags) for e in examples]
    pool: dict[str, set[tuple[str, ...]]] = {}
    for example, row in zip(examples, entities, strict=True):
        for entity in row:
            words = tuple(example.words[entity.start : entity.end])
            if scheme.tags(entity.type, len(words)) is not None:
                pool.setdefault(entity.type, set()).add(words)
    ordered = {kind: sorted(words) for kind, words in pool.items()}

    def draw(row: int, copy: int, probability: float, attempt: int) -> tuple:
        words, tags = list(examples[row].words), list(examples[row].tags)
        dice = np.random.default_rng([seed, row, copy, attempt]).random((len(entities[row]), 2))
        # from the end, so that places before a replacement stay what they were
        for entity, (replaced, which) in reversed(list(zip(entities[row], dice, strict=True))):
            own = tuple(words[entity.start : entity.end])
            others = [other for other in ordered.get(entity.type, []) if other != own]
            if replaced < probability and others:
                other = others[int(which * len(others))]
                words[entity.start : entity.end] = other
                tags[entity.start : entity.end] = scheme.tags(entity.type, len(other))
        return tuple(words), tuple(tags)

    originals = [(tuple(e.words), tuple(e.tags)) for e in examples]
    copies = distinct_copies(originals, settings.copies_per_row, settings.replace_probability, draw)
    origin = [row for row, values in enumerate(copies) for _ in values]
    made = [
        dataclasses.replace(examples[row], words=words, tags=tags)
        for row, values in enumerate(copies)
        for words, tags in values
    ]
    samples = spread_samples(
        origin, lambda i: {"before": _joined(examples[origin[i]].words), "after": _joined(made[i].words)}
    )
    return Augmented(made, origin, settings.copies_per_row * len(examples) - len(made), samples)


def _joined(words: Sequence[str]) -> str:
    return ("" if any(kind_of(word) == "chinese" for word in words) else " ").join(words)
