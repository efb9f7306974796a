"""Token classification: one tag for each word, such as the named entities of a text.

Tags are `O` or a prefix and a type: BIO (`B-PER I-PER`), BIOES or BMES (`B-PER M-PER E-PER S-PER`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..text_rule import INVISIBLE
from .kind import Kind, said_truncated
from .metrics import softmax
from .scored import Scored

if TYPE_CHECKING:
    from ..data.rows import TokenExample
    from ..errors import Finding


# Letters and digits of scripts that are not written without blanks between words, as Chinese and Japanese are.
_LETTERS = r"[^\W\u3040-\u30FF\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF]"
# What gets a tag in raw text: each character; each but whole Latin words and numbers; what is between blanks.
# Characters that cannot be seen, such as U+200B, get none, as in training.
_SEEN = rf"[^\s{INVISIBLE}]"
_MOST_WORDS = 1 << 16  # of a text, so that memory stays bounded
UNITS = {"character": _SEEN, "mixed": rf"{_LETTERS}+|{_SEEN}", "word": r"\S+"}


@dataclass(frozen=True)
class Entity:
    """A named entity: `text[start:end]` of the row; its probability is the mean of its words'."""

    label: str
    start: int
    end: int
    text: str
    probability: float


class Entities(list[Entity]):
    """A tagger's answer to one text; `truncated`: a word or the end of the text was not read whole."""

    truncated = False


class TokenClassification(Kind):
    """One tag per word."""

    name = "token_classification"
    description = "one tag per word (named entities)"
    head = "ForTokenClassification"
    by_token = True
    may_pair = False
    text_rows = False
    units = tuple(UNITS)
    graphs = ("plain",)
    unread = ("pooler",)
    soft_unit = "labelled"
    augmenter = "entities"
    unit_name = "words"
    pipeline_tag = "token-classification"
    answer_fields = {"entities": list[Entity]}
    long_texts = ("windows",)
    no_label = {"tags": None}
    no_soft = "a row has many answers"
    hard_symbol = "CE(labels, student) over words"
    example_answer = '{"entities": [{"label": ..., "start": ..., "end": ..., "text": ..., "probability": ...}]}'

    def read(self, files, table, labels, require_label=True, problems=None, soft=None):
        from ..data.token_rows import read_token_examples

        return read_token_examples(files, table, labels, problems)

    def read_dataset(self, name, split, table, subset, problems=None):
        from ..data.token_rows import read_paddlenlp_tokens

        return read_paddlenlp_tokens(name, split, table, subset, problems)

    def infer_labels(self, files, table, problems=None):
        from ..data.token_rows import infer_tags

        return infer_tags(files, table, problems)

    def raw_rows(self, path, table, labels, unit, problems):
        from ..data.raw_rows import raw_rows

        how = partial(_tag_count, labels=set(labels)), lambda words: join_words(words, unit)
        return raw_rows(path, table, problems, *how)

    def read_unlabelled(self, files, table, labels, unit, problems, soft=None):
        """Words as raw text is cut at prediction; the words of a file are joined before."""
        from ..data.raw_rows import unlabelled_rows
        from ..data.rows import TokenExample

        how = partial(_tag_count, labels=set(labels)), lambda words: join_words(words, unit)
        cut = ((self.split(row.text, unit), row.line) for row in unlabelled_rows(files, table, problems, *how))
        return [TokenExample(tuple(words), None, line) for words, line in cut if words]

    def encode(self, tokenizer, examples, max_length, long_text="windows", beside=None):
        from ..data.rows import IGNORED, EncodedRows

        encoded, places = tokenizer.encode_words([e.words for e in examples], max_length, beside)
        numbers = range(len(examples)) if encoded.rows is None else encoded.rows.tolist()
        labels, gold, answered = [], [], [0] * len(examples)
        for ids, starts, number in zip(encoded.input_ids, places, numbers):  # noqa: B905 (Python 3.9)
            row, own = np.full(len(ids), IGNORED, dtype=np.int64), slice(answered[number], None)
            tags = np.array(examples[number].tags or (), dtype=np.int64)[own][: len(starts)]
            row[starts[: len(tags)]] = tags
            answered[number] += len(starts)
            labels.append(row)
            gold.append(tags)
        return EncodedRows(encoded.input_ids, encoded.token_type_ids, labels, gold, places, rows=encoded.rows)

    def findings(self, splits, labels):
        from ..errors import Finding

        found = super().findings(splits, labels)
        found += unit_findings(splits["train"], self.unit(splits["train"]))
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
        rows = list(rows)
        cut = {None if isinstance(row, str) else row.unit for row in rows}
        if len(cut) == 1 and (unit := cut.pop()):  # every row is a text that was cut so
            return unit
        return unit_of(row if isinstance(row, str) else row.words for row in rows)

    def split(self, text, unit):
        return [word for word, _, _ in split_text(text, unit)]

    def tokenize(self, tokenizer, texts, texts_b, max_length, long_text="windows"):
        return tokenizer.encode_words(texts, max_length)

    gather = staticmethod(list)  # rows have different numbers of words

    def decode(self, row, answers, labels):
        probabilities, words, found = softmax(answers), split_text(row.text, row.unit), Entities()
        more = len(words) == _MOST_WORDS and split_text(row.text[words[-1][2] :], row.unit)
        found.truncated = row.truncated or bool(more)
        for label, first, last in entities([labels[best] for best in probabilities.argmax(-1)]):
            start, end = words[first][1], words[last - 1][2]
            mean = float(probabilities[first:last].max(axis=-1).mean())
            found.append(Entity(label, start, end, row.text[start:end], mean))
        return found

    def floor(self, train, labels):
        from .ngrams import TagModel

        return TagModel(len(labels))

    def breakdown(self, scored):
        from .breakdown import by_entity

        return by_entity(scored)

    def error_of(self, output, gold):
        """The number of words with a wrong tag."""
        return float((output.argmax(-1) != np.asarray(gold)[: len(output)]).sum())

    def named(self, output, gold, labels):
        named = []
        for tags in (output.argmax(-1), np.asarray(gold)[: len(output)]):
            found = entities([labels[tag] for tag in tags])
            named.append(", ".join(f"{label} {first + 1}-{last}" for label, first, last in found) or "none")
        return named[0], named[1]

    def texts_of(self, example):
        return [join_words(example.words, unit_of([example.words]))]

    def as_json(self, answer: Entities):
        found = [{**asdict(entity), "probability": round(entity.probability, 6)} for entity in answer]
        return {"entities": found, **said_truncated(answer)}


def _tag_count(name: str, labels: set[str]) -> int:
    from ..errors import InputError

    if not labels.issuperset(tags := name.replace("\x02", " ").split()):
        raise InputError("no tags")
    return len(tags)


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


def entity_parts(scored: Scored) -> np.ndarray:
    """Of each row, how many entities are right, predicted and gold: [rows, 3, 1]; words cut off count as O."""
    gold, predicted = _spans(scored)
    counts = [(len(g & p), len(p), len(g)) for g, p in zip(gold, predicted)]  # noqa: B905 (Python 3.9)
    return np.array(counts, dtype=np.float64).reshape(len(counts), 3, 1)


def _spans(scored: Scored) -> tuple[list[set], list[set]]:
    """The gold and the predicted entities of every row; found once."""
    if "spans" not in scored.__dict__:
        tags, own = scored.labels, [output.argmax(-1) for output in scored.outputs]
        sides = (scored.gold, own)
        scored.__dict__["spans"] = tuple([set(entities([tags[i] for i in row])) for row in side] for side in sides)
    return scored.__dict__["spans"]


def entity_null(scored: Scored, rng: np.random.Generator, times: int) -> np.ndarray:
    """Entity F1 of the predicted entities elsewhere in the text, [times]: rows in another order, and all of it moved.

    1 if every word has the same tag: that does not look at the text, wherever its entities are.
    """
    if not np.ptp(scored.predictions):
        return np.ones(times)
    lengths = np.array([len(row) for row in scored.gold])
    total, sides = int(lengths.sum()), _spans(scored)
    kinds: dict[str, int] = {}
    spans = [
        [(row, a, b - a, kinds.setdefault(kind, len(kinds))) for row, found in enumerate(side) for kind, a, b in found]
        for side in sides
    ]
    gold, predicted = (np.array(side, np.int64).reshape(-1, 4).T for side in spans)

    def codes(starts: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return (((starts[spans[0]] + spans[1]) % total) * (total + 1) + spans[2]) * (len(kinds) + 1) + spans[3]

    starts, moved, found = np.cumsum(lengths) - lengths, np.empty_like(lengths), []
    right = codes(starts, gold)
    for _ in range(times):
        order = rng.permutation(len(lengths))
        moved[order] = np.cumsum(lengths[order]) - lengths[order] + rng.integers(max(1, total))
        hits = len(np.intersect1d(codes(moved, predicted), right, assume_unique=True))
        found.append(2 * hits / max(1, predicted.shape[1] + gold.shape[1]))
    return np.array(found)


def best_constant_tag(scored: Scored) -> float:
    """Entity F1 of the best tag if every word had it."""
    lengths = [len(row) for row in scored.gold]
    gold, best = _spans(Scored([np.zeros((0, 1))] * len(lengths), scored.gold, scored.labels))[0], 0.0
    for tag in scored.labels:
        spans = {length: set(entities([tag] * length)) for length in set(lengths)}
        hits = sum(len(spans[length] & row) for length, row in zip(lengths, gold))  # noqa: B905 (Python 3.9)
        best = max(best, 2 * hits / max(1, sum(len(spans[length]) for length in lengths) + sum(map(len, gold))))
    return best


def _bioes(tags: Sequence[str]) -> list[str]:
    # BMES writes M for what BIOES and seqeval call I
    return [f"I{tag[1:]}" if tag.startswith("M-") else tag for tag in tags]


def split_text(text: str, unit: str) -> list[tuple[str, int, int]]:
    """(word, start, end) of what a tagger labels in raw text, by one of UNITS: the first 65,536 at most."""
    found = islice(re.finditer(UNITS[unit], text), _MOST_WORDS)
    return [(word.group(), word.start(), word.end()) for word in found]


def join_words(words: Sequence[str], unit: str) -> str:
    """The raw text that words are the units of: Latin words with a blank between, single letters without one."""
    if unit != "mixed":
        return ("" if unit == "character" else " ").join(words)
    text = ""
    for before, word in zip(["", *words], words):  # noqa: B905 (Python 3.9)
        apart = len(before + word) > 2 and re.match(f"{_LETTERS}{{2}}", before[-1:] + word[:1])
        text += f" {word}" if apart else word
    return text


def unit_of(rows: Iterable[Sequence[str]]) -> str:
    """The unit of UNITS by which raw text is cut as these rows are.

    "word", unless hardly a word of Chinese is longer than one character. Then "mixed" if it cuts more rows right than
    "character": words of other scripts are whole.
    """
    rows = list(rows)
    lengths = Counter(min(len(word), 2) for words in rows for word in words if re.search("[\u4e00-\u9fff]", word))
    if not lengths[1] or lengths[2] > 0.01 * lengths[1]:
        return "word"
    telling = [words for words in rows if re.search(f"{_LETTERS}{{2}}", "".join(words))]
    wrong = {unit: sum(1 for words in telling if _differs(words, unit)) for unit in ("character", "mixed")}
    return "mixed" if wrong["mixed"] < wrong["character"] else "character"


def _differs(words: Sequence[str], unit: str) -> bool:
    """Is the raw text of these words cut into others?"""
    return [word for word, _, _ in split_text(join_words(words, unit), unit)] != list(words)


def unit_findings(examples: Sequence[TokenExample], unit: str | None = None) -> list[Finding]:
    """How raw text will be cut at prediction, and in how many of these rows that differs from their own words."""
    from ..errors import Finding

    unit = unit or unit_of(row.words for row in examples)
    whole = {"mixed": "character, with Latin words and numbers whole", "word": "word, as blanks divide it"}
    said = whole.get(unit, unit)
    found = [Finding("note", "unit", f"raw text is tagged by {said}", "data.train")]
    wrong = [row for row in examples if _differs(row.words, unit)]
    if wrong:
        cut = {word for word, _, _ in split_text(join_words(wrong[0].words, unit), unit)}
        word = next((word for word in wrong[0].words if word not in cut), "")
        what = (
            f"raw text is tagged by {said}; so {len(wrong)} of {len(examples)} rows are cut into other words at "
            f"prediction than in the file, the first at {word!r} in the row of line {wrong[0].line}"
        )
        found.append(Finding("warning", "unit", what, "data.train", "tag the data in these units"))
    return found


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
