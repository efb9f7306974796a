"""Entity swaps keep the tags right."""

import pytest

from paddle_ernie_tiny.augmentation import augmenters
from paddle_ernie_tiny.augmentation.augmenters import AugmentationRequest
from paddle_ernie_tiny.config import AugmentationSettings
from paddle_ernie_tiny.data.rows import TokenExample
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds.token_classification import entities as entities_of

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BMES = ["O", "B-PER", "M-PER", "E-PER", "S-PER"]
BIOES = ["O", "B-PER", "I-PER", "E-PER", "S-PER"]


def row(text, tags, labels, line=1):
    return TokenExample(tuple(text), tuple(labels.index(t) for t in tags.split()), line)


def settings(**values):
    return AugmentationSettings(**{"copies_per_row": 2, "replace_probability": 1.0, **values})


def swap_entities(rows, labels, use, seed):
    return augmenters.swap_entities(AugmentationRequest(rows, labels, use, seed, None, lambda: None, ""))


def readable(example, labels):
    return "".join(example.words), " ".join(labels[t] for t in example.tags)


@pytest.mark.parametrize(
    ("labels", "one", "three"),
    [
        (BIO, "B-PER", "B-PER I-PER I-PER"),
        (BMES, "S-PER", "B-PER M-PER E-PER"),
        (BIOES, "S-PER", "B-PER I-PER E-PER"),
    ],
)
def test_tags_follow_the_length_of_the_new_entity_in_each_scheme(labels, one, three):
    rows = [row("我是王", f"O O {one}", labels, 1), row("李小明来了", f"{three} O O", labels, 5)]
    result = swap_entities(rows, labels, settings(), seed=0)
    assert [readable(e, labels) for e in result.examples] == [
        ("我是李小明", f"O O {three}"),
        ("王来了", f"{one} O O"),
    ]
    assert result.origin == [0, 1] and [e.line for e in result.examples] == [1, 5]
    assert result.given_up == 2  # there is only one other person for each
    assert result.samples[0] == {"before": "我是王", "after": "我是李小明"}


def test_only_entities_of_the_same_type_are_drawn_and_other_words_stay():
    rows = [
        row("王去北京", "B-PER O B-LOC I-LOC", BIO),
        row("李在上海", "B-PER O B-LOC I-LOC", BIO),
        row("好", "O", BIO),
    ]
    result = swap_entities(rows, BIO, settings(copies_per_row=1), seed=3)
    assert [readable(e, BIO) for e in result.examples] == [
        ("李去上海", "B-PER O B-LOC I-LOC"),
        ("王在北京", "B-PER O B-LOC I-LOC"),
    ]
    assert result.given_up == 1  # nothing to swap in the last


def test_neighbouring_entities_are_told_apart():
    def entities(tags):
        return [(start, end, entity_type) for entity_type, start, end in entities_of(tags.split())]

    assert entities("B-PER B-PER I-PER O I-LOC I-PER") == [(0, 1, "PER"), (1, 3, "PER"), (4, 5, "LOC"), (5, 6, "PER")]
    ends = entities("B-PER E-PER B-PER M-PER E-PER S-PER")
    assert [(start, end) for start, end, _ in ends] == [(0, 2), (2, 5), (5, 6)]


def test_the_probability_and_the_seed_decide():
    names = [chr(0x4E00 + i) for i in range(40)]
    rows = [row(names, " ".join(["B-PER"] * 40), BIO)]
    use = settings(copies_per_row=25, replace_probability=0.3)
    result = swap_entities(rows, BIO, use, seed=0)
    changed = sum(a != b for e in result.examples for a, b in zip(e.words, names, strict=True))
    assert changed / 1000 == pytest.approx(0.3, abs=0.05)
    assert swap_entities(rows, BIO, use, seed=0) == result
    assert swap_entities(rows, BIO, use, seed=1).examples != result.examples


def test_an_entity_whose_tags_the_task_does_not_have_is_not_put_in():
    labels = ["O", "S-PER", "I-PER", "E-PER"]  # an entity of two words would need B-PER
    rows = [row("王李甲", "S-PER I-PER E-PER", labels), row("赵", "S-PER", labels)]
    result = swap_entities(rows, labels, settings(copies_per_row=1), seed=0)
    assert {e.words[-1] for e in result.examples} <= {"赵", "王"}
    assert readable(result.examples[-1], labels) == ("王", "S-PER")


def test_tags_of_no_known_scheme_are_refused():
    with pytest.raises(InputError, match="task.labels: tag 'PER' is of no scheme"):
        swap_entities([], ["O", "PER"], settings(), seed=0)


def test_real_weibo_rows_keep_their_types(real_data):
    path = real_data / "data" / "weibo_ner" / "dev.all.bmes"
    sentences = path.read_text(encoding="utf-8").strip().split("\n\n")[:200]
    pairs = [[line.split() for line in s.split("\n")] for s in sentences]
    labels = sorted({tag for s in pairs for _, tag in s})
    rows = [TokenExample(tuple(w for w, _ in s), tuple(labels.index(t) for _, t in s), i) for i, s in enumerate(pairs)]
    result = swap_entities(rows, labels, settings(replace_probability=0.5), seed=0)
    assert result.examples
    for example, origin in zip(result.examples, result.origin, strict=True):
        assert len(example.words) == len(example.tags)
        types = [entity_type for entity_type, _, _ in entities_of([labels[tag] for tag in rows[origin].tags])]
        assert [found[0] for found in entities_of([labels[tag] for tag in example.tags])] == types
