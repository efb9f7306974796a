"""The floor: what the linear models see of a row, and that they learn what n-grams can tell and nothing else."""

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.metrics import METRICS, Scored
from paddle_ernie_tiny.kinds.ngrams import LinearModel, train_floor
from paddle_ernie_tiny.kinds.vectors import cosines

RNG = np.random.default_rng(0)


def rows_of(words, count, second=None):
    """Random sentences with one of the words; its place in the list is the label."""
    fill = "的一是了我他在有这个" if any("\u4e00" <= c <= "\u9fff" for c in "".join(words)) else "abcdefghij"
    made = []
    for _ in range(count):
        label = int(RNG.integers(len(words)))
        around = [
            " ".join(RNG.choice(list(fill), 6)) if fill[0] == "a" else "".join(RNG.choice(list(fill), 6)) for _ in "ab"
        ]
        text = f"{around[0]} {words[label]} {around[1]}" if fill[0] == "a" else around[0] + words[label] + around[1]
        made.append(Example(text, second, label, 0))
    return made


def score(kind, metric, train, test, labels):
    model = KINDS[kind].floor(train, labels)
    outputs, facts = train_floor(model, model.part(train, 0), test)
    assert facts["params"] > 0 and facts["mb"] >= 0 and facts["texts_per_second"] > 0
    gold = [example.label for example in test]
    return METRICS[metric](Scored(outputs, gold, labels)), outputs


@pytest.mark.parametrize("words", [["好吃", "难吃"], ["good", "bad", "fair"]])
def test_a_word_that_decides_is_found(words):
    found, outputs = score("classification", "accuracy", rows_of(words, 200), rows_of(words, 100), words)
    assert found == 1 and outputs[0].shape == (1, len(words)) and outputs[0].dtype == np.float32


def test_pairs_are_told_by_what_they_share():
    letters = list("天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏")

    def pairs(count):
        made = []
        for _ in range(count):
            one, other = ("".join(RNG.choice(letters, 8)) for _ in range(2))
            same = int(RNG.integers(2))
            made.append(Example(one, one[:7] + other[0] if same else other, same, 0))
        return made

    assert score("classification", "accuracy", pairs(300), pairs(200), ["no", "yes"])[0] > 0.95


def test_sets_of_labels_have_a_model_each():
    words, kind = ["red", "blue", "salt"], KINDS["multi_label"]

    def sets(count):
        made = []
        for _ in range(count):
            held = RNG.random(3) < [0.5, 0.3, 0.0]  # no row has the last one
            text = " ".join(["a", "b", *(word for word, has in zip(words, held, strict=True) if has)])
            made.append(Example(text, None, tuple(held.astype(int).tolist()), 0))
        return made

    train, test = sets(200), sets(100)
    outputs, facts = train_floor(kind.floor(train, words), train, test)
    scored = kind.scored(outputs, [row.label for row in test], words)
    assert METRICS["micro_f1"](scored) == 1 and outputs[0].shape == (1, 3) and facts["params"] > 0


def test_scores_are_ridge_regression():
    def scored(count):
        ups = RNG.integers(0, 6, count)
        return [Example(" ".join(["up"] * up + ["down"] * (5 - up)), None, float(up), 0) for up in ups.tolist()]

    found, outputs = score("regression", "pearson", scored(200), scored(100), ["score"])
    assert found > 0.9 and outputs[0].shape == (1, 1)


def test_tags_are_told_by_the_words_around():
    def tagged(count):
        made = []
        for _ in range(count):
            name = str(RNG.choice(["王明", "李华", "张伟"]))
            before = "".join(RNG.choice(list("的一是了我他在有"), RNG.integers(1, 5)))
            words = tuple(before + "见到" + name + "了")
            first = len(before) + 2
            tags = tuple(1 if i == first else 2 if i == first + 1 else 0 for i in range(len(words)))
            made.append(TokenExample(words, tags, 0))
        return made

    tags = ["O", "B-PER", "I-PER"]
    found, outputs = score("token_classification", "entity_f1", tagged(100), tagged(50), tags)
    assert found > 0.95 and outputs[0].ndim == 2


def test_of_too_many_rows_a_part_is_trained_on_with_a_bound_on_memory(monkeypatch):
    rows = rows_of(["好吃", "难吃"], 500)
    model = KINDS["classification"].floor(rows, ["a", "b"])
    assert model.part(rows, 0) == rows
    monkeypatch.setattr(type(model), "most", 3000)
    part = model.part(rows, 0)
    assert 2 <= len(part) < 120 and sum(model.size(row) for row in part) <= 3000
    assert part == model.part(rows, 0) and set(part) <= set(rows)


def test_few_rows_and_labels_without_rows_are_no_error():
    rows = [Example("好", None, 0, 0), Example("坏", None, 2, 0)]
    model = KINDS["classification"].floor(rows, ["a", "b", "c"])
    outputs, _ = train_floor(model, rows, rows)
    assert [int(row.argmax()) for row in outputs] == [0, 2]
    assert outputs[0][0, 1] == pytest.approx(-1e9)


def test_a_base_class_says_what_is_missing():
    with pytest.raises(NotImplementedError):
        LinearModel(2).features([])


def test_vectors_of_texts_are_latent_semantic_analysis():
    """Texts with the same n-grams have a cosine of 1; of a search the floor finds what is written alike."""
    rows = [
        Example(f"{device}打不开", f"{device}没有反应时按开关", i, i)
        for i, device in enumerate("手机 相机 电视 耳机".split())
    ]
    model = KINDS["embedding"].floor(rows, [])
    outputs, facts = train_floor(model, model.part(rows, 0), [*rows, Example("手机打不开", "手机打不开", 0, 9)])
    assert [output.shape for output in outputs] == [(2, 7)] * 5 and facts["params"] > 0
    assert cosines(*outputs[4]) == pytest.approx(1, abs=1e-6)
    scored = KINDS["embedding"].scored(outputs[:4], [row.label for row in rows], [])
    assert METRICS["recall_at_1"](scored) == 1
