"""Named entities in rows of tags, and the words that tags belong to.

Tags are `O` or a prefix and a type: BIO (`B-PER I-PER`), BIOES or BMES (`B-PER M-PER E-PER S-PER`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.rows import TokenExample

UNITS = ("character", "word")  # what gets a tag in raw text


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, word after the last) of every entity, as seqeval's default mode reads the tags."""
    from seqeval.metrics.sequence_labeling import get_entities

    return [(kind, start, last + 1) for kind, start, last in get_entities(_bioes(tags))]


def entity_f1(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> float:
    """Micro F1 over entities: an entity counts when type, start and end are all right (seqeval).

    0 where neither holds an entity. Raises ValueError for rows of unequal length.
    """
    from seqeval.metrics import f1_score

    if len(predicted) != len(gold) or any(len(p) != len(g) for p, g in zip(predicted, gold)):  # noqa: B905 (3.9)
        raise ValueError("predicted and gold tags differ in length")
    return float(f1_score([_bioes(row) for row in gold], [_bioes(row) for row in predicted], zero_division=0))


def _bioes(tags: Sequence[str]) -> list[str]:
    # BMES writes M for what BIOES and seqeval call I
    return [f"I{tag[1:]}" if tag.startswith("M-") else tag for tag in tags]


def split_text(text: str, unit: str) -> list[tuple[str, int, int]]:
    """(word, start, end) of the units that a tagger labels: characters, or what stands between spaces."""
    if unit == "character":
        return [(character, at, at + 1) for at, character in enumerate(text) if not character.isspace()]
    found, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        found.append((word, start, start + len(word)))
        start += len(word)
    return found


def unit_of(rows: Iterable[Sequence[str]]) -> str:
    """ "character" where hardly a word of Chinese is longer than one character, else "word"."""
    single = several = 0
    for words in rows:
        for word in words:
            if any("\u4e00" <= character <= "\u9fff" for character in word):
                single += len(word) == 1
                several += len(word) > 1
    return "character" if single and several <= 0.01 * single else "word"


def misplaced_tags(examples: Iterable[TokenExample], labels: Sequence[str]) -> list[tuple[int, str]]:
    """(line, what) of tags that continue an entity that was not begun: `I-PER` after `O` or after `B-LOC`."""
    found = []
    for example in examples:
        before = "O"
        for word, tag in zip(example.words, [labels[i] for i in example.tags or ()]):  # noqa: B905 (Python 3.9)
            goes_on = tag[:2] in ("I-", "M-", "E-")
            if goes_on and (before[:2] not in ("B-", "I-", "M-") or before[2:] != tag[2:]):
                found.append((example.line, f"{tag} at {word!r} after {before}"))
            before = tag
    return found
