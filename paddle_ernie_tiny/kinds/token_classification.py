"""Token classification: one tag for each word, such as the named entities of a text.

Tags are `O` or a prefix and a type: BIO (`B-PER I-PER`), BIOES or BMES (`B-PER M-PER E-PER S-PER`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from .kind import Kind
from .metrics import softmax

if TYPE_CHECKING:
    from ..data.rows import TokenExample


@dataclass(frozen=True)
class Entity:
    """A named entity: `text[start:end]` of the row; its probability is the mean of its words'."""

    label: str
    start: int
    end: int
    text: str
    probability: float


class TokenClassification(Kind):
    """One tag per word."""

    name = "token_classification"
    description = "one tag per word (named entities)"
    head = "ForTokenClassification"
    by_token = True
    may_pair = False
    text_rows = False
    graphs = ("plain",)
    unread = ("pooler",)
    soft_unit = "labelled"
    augmenter = "entities"
    unit_name = "words"
    answer_fields = {"entities": list[Entity]}
    no_label = {"tags": None}
    hard_symbol = "CE(labels, student) over words"
    example_answer = '{"entities": [{"label": ..., "start": ..., "end": ..., "text": ..., "probability": ...}]}'

    def read(self, path, table, labels, require_label=True):
        from ..data.readers import read_token_examples

        return read_token_examples(path, table, labels)

    def read_dataset(self, name, split, table, subset):
        from ..data.readers import read_paddlenlp_tokens

        return read_paddlenlp_tokens(name, split, table, subset)

    def infer_labels(self, path, table):
        from ..data.readers import infer_tags

        return infer_tags(path, table)

    def encode(self, tokenizer, examples, max_length):
        from ..data.rows import IGNORED, EncodedRows

        encoded, places = tokenizer.encode_words([e.words for e in examples], max_length)
        labels = []
        for ids, starts, example in zip(encoded.input_ids, places, examples):  # noqa: B905 (Python 3.9)
            row = np.full(len(ids), IGNORED, dtype=np.int64)
            if example.tags is not None:
                row[starts] = np.array(example.tags, dtype=np.int64)[: len(starts)]
            labels.append(row)
        gold = [np.array(e.tags or (), dtype=np.int64) for e in examples]
        return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels, gold, places)

    def findings(self, splits, labels):
        from ..errors import Finding

        found = super().findings(splits, labels)
        for name, examples in splits.items():
            wrong = misplaced_tags(examples, labels)
            if wrong:
                line, example = wrong[0]
                what = (
                    f"{len(wrong)} tags continue an entity that was not begun, the first in the row of line "
                    f"{line}: {example}"
                )
                remedy = "correct them, or know that they are read as they are"
                found.append(Finding("warning", "tags", what, f"data.{name}", remedy))
        return found

    def unit(self, rows):
        # a row that is raw text counts by its characters: Chinese is tagged by character
        return unit_of(row if isinstance(row, str) else row.words for row in rows)

    def split(self, text, unit):
        return [word for word, _, _ in split_text(text, unit)]

    def tokenize(self, tokenizer, texts, texts_b, max_length):
        return tokenizer.encode_words(texts, max_length)

    gather = staticmethod(list)  # rows have different numbers of words

    def decode(self, row, answers, labels):
        probabilities, words, found = softmax(answers), split_text(row.text, row.unit), []
        for label, first, last in entities([labels[best] for best in probabilities.argmax(-1)]):
            start, end = words[first][1], words[last - 1][2]
            mean = float(probabilities[first:last].max(axis=-1).mean())
            found.append(Entity(label, start, end, row.text[start:end], mean))
        return found

    def as_json(self, answer: Sequence[Entity]):
        return {"entities": [{**asdict(entity), "probability": round(entity.probability, 6)} for entity in answer]}


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
    """(word, start, end) of the units that a tagger labels: characters, or what is between spaces."""
    words = re.finditer(r"\S" if unit == "character" else r"\S+", text)
    return [(word.group(), word.start(), word.end()) for word in words]


def unit_of(rows: Iterable[Sequence[str]]) -> str:
    """ "character" where hardly a word of Chinese is longer than one character, else "word"."""
    lengths = Counter(min(len(word), 2) for words in rows for word in words if re.search("[\u4e00-\u9fff]", word))
    return "character" if lengths[1] and lengths[2] <= 0.01 * lengths[1] else "word"


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
