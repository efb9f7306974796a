"""Writes the demo's data: a Chinese sentiment task and an unlabelled corpus, both from one small grammar.

    python examples/demo_data.py            # writes examples/data/demo again, byte for byte the same

What decides the label of a sentence, besides the words:

- negation: 不宽敞, 并不拖沓, 没有那么好用; a double negation affirms (不是不热情);
- contrast: in 虽然…但是… and …不过… the clause after the contrast decides;
- intensity: with two opposed clauses and no contrast word, the stronger one decides (有点偏僻，非常整洁).

What the demo shows: the labelled training sentences use only `SEEN_SHARE` of the opinion words, the dev and test
sentences use all of them. The general corpus has no labels, but in it, as in real reviews, words of one polarity
occur together, and with a closing verdict (好评, 后悔) that the labelled sentences never contain. A model that reads
the corpus (the pretrained teacher, the distilled student) can learn the polarity of a word without labels; a model
that sees only the labelled sentences must guess.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

from demo_lexicon import BAD_VERDICTS, DOMAINS, GOOD_VERDICTS, Aspect, Domain

SEED = 20210602
SPLIT_SIZES = {"test": 1500, "dev": 500, "train": 2000}
GENERAL_LINES = 40_000
SEEN_SHARE = 0.5
MAX_CHARACTERS = 36
LABELS = ("negative", "positive")
DEFAULT_FOLDER = Path(__file__).parent / "data" / "demo"

T = TypeVar("T")
Weighted = tuple[tuple[str, float], ...]

# `{n}` is the aspect's name, `{w}` the opinion word.
AFFIRMED = {
    "weak": ("{n}比较{w}", "{n}稍微{w}了点", "{n}多少有点{w}"),
    "normal": ("{n}很{w}", "{n}挺{w}", "{n}{w}", "{n}真{w}", "{n}确实{w}"),
    "strong": ("{n}非常{w}", "{n}特别{w}", "{n}极其{w}", "{n}太{w}了", "{n}{w}极了"),
}
# Usual words for a mild remark; they already tell its polarity, as in real reviews.
MILD = {True: ("{n}还算{w}",), False: ("{n}有点{w}",)}
NEGATED = {
    "weak": ("{n}不太{w}", "{n}不怎么{w}"),
    "normal": ("{n}不{w}", "{n}并不{w}", "{n}没有那么{w}", "{n}不算{w}"),
    "strong": ("{n}一点也不{w}", "{n}毫不{w}", "{n}完全不{w}"),
}
TWICE_NEGATED = ("{n}不是不{w}", "{n}并非不{w}")

CONTRAST = (
    *("虽然{a}，但是{b}", "虽然{a}，不过{b}", "尽管{a}，但{b}"),
    *("{a}，不过{b}", "{a}，但是{b}", "{a}，可{b}"),
)
BESIDE = ("{a}，{b}",)
AGREEMENT = ("{a}，而且{b}", "{a}，{b}", "不但{a}，而且{b}")
RATHER = ("{n}不{v}，反而很{w}", "{n}不是{v}，是{w}")
PAIR = ("{n}{v}{w}", "又{v}又{w}", "{v}{w}", "{n}{v}又{w}")

# Some of these contain a 不 or a 没 that negates nothing.
OPENERS = ("说实话，", "总的来说，", "不得不说，", "没想到")
ENDINGS = ("", "", "。", "！")

TASK_MIX: Weighted = (
    *(("plain", 0.4), ("negation", 0.2), ("double_negation", 0.04)),
    *(("contrast", 0.16), ("intensity", 0.1), ("agreement", 0.1)),
)
GENERAL_MIX: Weighted = (
    *(
        ("plain", 0.12),
        ("negation", 0.17),
        ("double_negation", 0.03),
        ("contrast", 0.09),
        ("intensity", 0.08),
    ),
    *(("agreement", 0.02), ("rather", 0.02), ("pair", 0.03), ("remark", 0.44)),
)


@dataclass(frozen=True)
class Sentence:
    """A sentence, whether it is positive, and the phenomenon that decides it (a key of the mixes above)."""

    text: str
    positive: bool
    phenomenon: str


@dataclass(frozen=True)
class Lexicon:
    """The opinion words that a writer may use; `None` allows all."""

    allowed: frozenset[str] | None = None

    def of(self, aspect: Aspect, positive: bool) -> list[str]:
        return self.keep(aspect.positive if positive else aspect.negative)

    def keep(self, words: Sequence[str]) -> list[str]:
        return [w for w in words if self.allowed is None or w in self.allowed]


def pick(rng: Random, items: Sequence[T]) -> T:
    """One item; uses `random()` only, the one method whose sequence Python promises never to change."""
    return items[int(rng.random() * len(items))]


def draw(rng: Random, mix: Weighted) -> str:
    """One key of `mix`, by its weight."""
    point = rng.random() * sum(weight for _, weight in mix)
    for key, weight in mix:
        point -= weight
        if point < 0:
            return key
    return mix[-1][0]


def opinion_words() -> dict[str, bool]:
    """Every opinion word of the lexicon, in its order, with its polarity (true: positive)."""
    words: dict[str, bool] = {}
    for domain in DOMAINS.values():
        for aspect in domain.aspects:
            words.update(dict.fromkeys(aspect.positive, True))
            words.update(dict.fromkeys(aspect.negative, False))
    return words


def seen_words(seed: int = SEED, share: float = SEEN_SHARE) -> frozenset[str]:
    """The opinion words that labelled training sentences may use: `share` of each polarity."""
    rng = Random(seed)
    words = opinion_words()
    seen: list[str] = []
    for positive in (True, False):
        side = sorted(((rng.random(), word) for word, sign in words.items() if sign == positive))
        seen += [word for _, word in side[: round(share * len(side))]]
    return frozenset(seen)


class Writer:
    """Writes sentences of the grammar with the words of one lexicon."""

    def __init__(self, rng: Random, lexicon: Lexicon, mix: Weighted, verdict_share: float):
        self.rng, self.lexicon, self.mix, self.verdict_share = rng, lexicon, mix, verdict_share

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def aspect(self, domain: Domain) -> Aspect:
        """An aspect for which the lexicon has words of both polarities."""
        usable = [a for a in domain.aspects if self.lexicon.of(a, True) and self.lexicon.of(a, False)]
        return pick(self.rng, usable)

    def name(self, domain: Domain, aspect: Aspect) -> str:
        name = pick(self.rng, aspect.names)
        return f"{pick(self.rng, domain.subjects)}的{name}" if self.chance(0.05) else name

    def word(self, aspect: Aspect, positive: bool, besides: str = "") -> str:
        return pick(self.rng, [w for w in self.lexicon.of(aspect, positive) if w != besides])

    def clause(self, domain: Domain, positive: bool, strength: str = "normal", negations: int = 0) -> str:
        """A clause that is `positive` as a whole, with its opinion word under 0, 1 or 2 `negations`."""
        aspect = self.aspect(domain)
        word = self.word(aspect, positive != (negations == 1))
        if negations == 2:
            form = pick(self.rng, TWICE_NEGATED)
        elif negations == 1:
            form = pick(self.rng, NEGATED[strength])
        elif strength == "weak" and self.chance(0.4):
            form = pick(self.rng, MILD[positive])
        else:
            form = pick(self.rng, AFFIRMED[strength])
        return form.format(n=self.name(domain, aspect), w=word)

    def any_clause(self, domain: Domain, positive: bool) -> str:
        """A clause of any strength, sometimes negated."""
        strength = draw(self.rng, (("weak", 0.15), ("normal", 0.6), ("strong", 0.25)))
        return self.clause(domain, positive, strength, negations=int(self.chance(0.15)))

    def core(self, domain: Domain, positive: bool, phenomenon: str) -> str:
        """The opinion of a sentence, without its noise."""
        rng = self.rng
        if phenomenon == "plain":
            strength = draw(rng, (("normal", 0.6), ("strong", 0.4)))
            return self.clause(domain, positive, strength)
        if phenomenon == "negation":
            strength = draw(rng, (("weak", 0.2), ("normal", 0.5), ("strong", 0.3)))
            return self.clause(domain, positive, strength, negations=1)
        if phenomenon == "double_negation":
            return self.clause(domain, positive, negations=2)
        if phenomenon == "contrast":
            a, b = self.any_clause(domain, not positive), self.any_clause(domain, positive)
            return pick(rng, CONTRAST).format(a=a, b=b)
        if phenomenon == "intensity":
            a = self.clause(domain, not positive, "weak", negations=int(self.chance(0.1)))
            b = self.clause(domain, positive, "strong", negations=int(self.chance(0.1)))
            a, b = (a, b) if self.chance(0.5) else (b, a)
            return pick(rng, BESIDE).format(a=a, b=b)
        if phenomenon == "agreement":
            a, b = self.any_clause(domain, positive), self.any_clause(domain, positive)
            return pick(rng, AGREEMENT).format(a=a, b=b)
        aspect = self.aspect(domain)
        word = self.word(aspect, positive)
        if phenomenon == "rather":
            forms, other = RATHER, self.word(aspect, not positive)
        else:
            forms, other = PAIR, self.word(aspect, positive, besides=word)
        return pick(rng, forms).format(n=self.name(domain, aspect), v=other, w=word)

    def remark(self, domain: Domain, positive: bool) -> str:
        """A few words thrown together, as in the title of a review."""
        aspect = self.aspect(domain)
        word = self.word(aspect, positive)
        pair = word + self.word(aspect, positive, besides=word)
        said = pick(self.rng, (word, pair, pair, pick(self.rng, aspect.names) + pair))
        verdict = pick(self.rng, GOOD_VERDICTS if positive else BAD_VERDICTS)
        return f"{said}，{verdict}" if self.chance(0.7) else f"{verdict}，{said}"

    def sentence(self, positive: bool) -> Sentence:
        """A sentence of a random domain and phenomenon, with noise around it."""
        rng = self.rng
        domain = pick(rng, tuple(DOMAINS.values()))
        phenomenon = draw(rng, self.mix)
        if phenomenon == "remark":
            return Sentence(self.remark(domain, positive) + pick(rng, ENDINGS), positive, phenomenon)
        text = self.core(domain, positive, phenomenon)
        verdicts = GOOD_VERDICTS if positive else BAD_VERDICTS
        if self.chance(self.verdict_share):
            text += "，" + pick(rng, verdicts)
        elif self.chance(0.04):
            text = pick(rng, domain.facts) + "，" + text
        elif self.chance(0.05):
            text += "，" + pick(rng, domain.facts)
        if self.chance(0.06):
            text = pick(rng, OPENERS) + text
        return Sentence(text + pick(rng, ENDINGS), positive, phenomenon)


def essence(text: str) -> str:
    """The text without its punctuation: two texts with the same essence count as one text."""
    return "".join(c for c in text if c.isalnum())


def compose(writer: Writer, count: int, taken: set[str], repeats: bool) -> list[Sentence]:
    """`count` sentences, half positive, in random order, none in `taken`, and none twice unless `repeats`."""
    sentences: list[Sentence] = []
    written = set(taken)
    while len(sentences) < count:
        sentence = writer.sentence(positive=len(sentences) % 2 == 0)
        key = essence(sentence.text)
        if key in written or len(sentence.text) > MAX_CHARACTERS:
            continue
        sentences.append(sentence)
        if not repeats:
            written.add(key)
    shuffled = sorted((writer.rng.random(), i) for i in range(count))
    return [sentences[i] for _, i in shuffled]


def build(seed: int = SEED) -> dict[str, list[Sentence]]:
    """All sentences: `test`, `dev`, `train` and `general` (whose labels are not written)."""
    labelled: set[str] = set()
    made: dict[str, list[Sentence]] = {}
    for number, (split, size) in enumerate(SPLIT_SIZES.items(), start=1):
        lexicon = Lexicon(seen_words(seed)) if split == "train" else Lexicon()
        writer = Writer(Random(seed + number), lexicon, TASK_MIX, verdict_share=0.0)
        made[split] = compose(writer, size, labelled, repeats=False)
        labelled.update(essence(s.text) for s in made[split])
    general = Writer(Random(seed + 9), Lexicon(), GENERAL_MIX, verdict_share=0.9)
    # Short remarks are repeated, as in real reviews.
    made["general"] = compose(general, GENERAL_LINES, labelled, repeats=True)
    return made


def write(folder: Path, made: dict[str, list[Sentence]]) -> None:
    """The three labelled tables (header; text, label name) and `general/reviews.txt`, under `folder`."""
    (folder / "general").mkdir(parents=True, exist_ok=True)
    for split in SPLIT_SIZES:
        rows = ["text\tlabel", *(f"{s.text}\t{LABELS[s.positive]}" for s in made[split])]
        _write_lines(folder / f"{split}.tsv", rows)
    _write_lines(folder / "general" / "reviews.txt", [s.text for s in made["general"]])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the demo's data.")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where to write; default: %(default)s")
    write(parser.parse_args().folder, build())


if __name__ == "__main__":
    main()
