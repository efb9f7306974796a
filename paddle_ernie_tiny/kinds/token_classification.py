"""Token classification: one tag for each word, such as the named entities of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .classification import cross_entropy, logistic_probe
from .kind import Kind, Row, balance
from .metrics import softmax
from .tags import entities, misplaced_tags, split_text, unit_of


@dataclass(frozen=True)
class Entity:
    """A named entity: `text[start:end]` of the row; its probability is the mean of its words'."""

    label: str
    start: int
    end: int
    text: str
    probability: float


class TokenClassification(Kind):
    """One tag a word."""

    name = "token_classification"
    description = "one tag per word (named entities)"
    head = "ForTokenClassification"
    by_token = True
    may_pair = False
    augmenter = "entities"
    unit_name = "words"
    no_label = {"tags": None}
    hard_symbol = "CE(labels, student) over words"
    soft_unit = "labelled"

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

        found = balance(Counter(labels[tag] for e in splits["train"] for tag in e.tags), labels, self.unit_name)
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
        return unit_of(e.words for e in rows)

    def unit_of_texts(self, texts):
        return unit_of(map(list, texts))  # Chinese is tagged by character

    def split(self, text, unit):
        return [word for word, _, _ in split_text(text, unit)]

    def tokenize(self, tokenizer, texts, texts_b, max_length):
        return tokenizer.encode_words(texts, max_length)

    def rows(self, tokenizer, texts, texts_b, max_length, unit):
        words = [split_text(text, unit) for text in texts]
        encoded, places = tokenizer.encode_words([[word for word, _, _ in row] for row in words], max_length)
        columns = zip(texts, encoded.input_ids, encoded.token_type_ids, words, places)  # noqa: B905 (Python 3.9)
        return [Row(*column) for column in columns]

    def answers(self, output, places):
        return output[places]

    def stack(self, answers):
        return answers

    def states(self, hidden, places):
        return hidden[places]

    def decode(self, row, answers, labels):
        probabilities = softmax(answers)
        found = []
        for label, first, last in entities([labels[best] for best in probabilities.argmax(-1)]):
            start, end = row.words[first][1], row.words[last - 1][2]
            mean = float(probabilities[first:last].max(axis=-1).mean())
            found.append(Entity(label, start, end, row.text[start:end], mean))
        return found

    def as_json(self, answer: Sequence[Entity]):
        return {"entities": [{**asdict(entity), "probability": round(entity.probability, 6)} for entity in answer]}

    @property
    def answer_fields(self):
        return {"entities": list[Entity]}

    @property
    def example_answer(self):
        return '{"entities": [{"label": ..., "start": ..., "end": ..., "text": ..., "probability": ...}]}'

    def labelled(self, labels):
        from ..data.rows import IGNORED

        return labels != IGNORED

    def hard_label(self, output, labels):
        """Cross-entropy at each labelled token: output [batch, length, labels], labels int64 [batch, length]."""
        return cross_entropy(output, labels, self.labelled(labels))

    def soft_mask(self, labels):
        return self.labelled(labels)

    def probe(self, states, targets, test_states, labels):
        return logistic_probe(states, targets, test_states, labels)
