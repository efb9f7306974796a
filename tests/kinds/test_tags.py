"""Entities from tags, their F1, and the units of raw text."""

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import TokenExample
from paddle_ernie_tiny.kinds import KINDS, Row
from paddle_ernie_tiny.kinds.token_classification import (
    entities,
    entity_f1,
    join_words,
    split_text,
    unit_findings,
    unit_of,
)

BIO = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"]


def test_entities_of_each_scheme():
    assert entities(BIO) == [("PER", 0, 2), ("LOC", 3, 4), ("LOC", 4, 6)]
    assert entities(["B-PER", "M-PER", "E-PER", "S-LOC", "O"]) == [("PER", 0, 3), ("LOC", 3, 4)]
    assert entities(["B-PER", "I-PER", "E-PER", "S-LOC", "O"]) == [("PER", 0, 3), ("LOC", 3, 4)]
    assert entities(["O", "O"]) == []


def test_f1_counts_whole_entities():
    # gold 3 entities, predicted 2, one right: precision 1/2, recall 1/3
    predicted = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC"]
    assert entity_f1([predicted], [BIO]) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert entity_f1([BIO], [BIO]) == 1
    assert entity_f1([["O"] * 6], [BIO]) == 0


def test_bmes_is_scored_like_bioes():
    gold = [["B-PER", "M-PER", "M-PER", "E-PER", "O"]]
    assert entity_f1(gold, gold) == 1
    assert entity_f1([["B-PER", "M-PER", "E-PER", "O", "O"]], gold) == 0


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        entity_f1([["O"]], [["O", "O"]])


def test_units_of_raw_text():
    assert split_text("在 2019年", "character") == [("在", 0, 1), *((c, i, i + 1) for i, c in enumerate("2019年", 2))]
    assert split_text(" Bill  whistled ", "word") == [("Bill", 1, 5), ("whistled", 7, 15)]
    assert len(split_text("好" * 20_000_000, "character")) == 65_536, "no row has as many tokens"
    assert split_text("a aa a", "word") == [("a", 0, 1), ("aa", 2, 4), ("a", 5, 6)]
    assert split_text("用iPhone 6s，好", "mixed") == [
        ("用", 0, 1),
        ("iPhone", 1, 7),
        ("6s", 8, 10),
        ("，", 10, 11),
        ("好", 11, 12),
    ]


def test_chinese_rows_of_single_characters_are_tagged_by_character():
    assert unit_of([["我", "在", *"Paddle"]] * 3) == "character"
    assert unit_of([["我们", "在", "北京"]] * 3) == "word"
    assert unit_of([["Bill", "whistled"]]) == "word"


def test_latin_words_are_the_same_unit_in_training_and_at_prediction():
    assert unit_of([["我", "在", "Paddle"]] * 3) == "mixed"
    words = ["Timmy", "Lee", "你", "去", "过", "ＵＳＡ", "2019", "年", "吗"]
    assert unit_of([words, ["好"]]) == "mixed"
    assert join_words(words, "mixed") == "Timmy Lee你去过ＵＳＡ 2019年吗"
    assert [word for word, _, _ in split_text(join_words(words, "mixed"), "mixed")] == words
    assert unit_of([words, ["在", *"Paddle"], [*"2019", "年"]]) == "character", "most rows decide"


def test_words_that_prediction_cuts_in_another_way_are_named():
    def said(*rows):
        return [str(found) for found in unit_findings([TokenExample(tuple(row), None, 5) for row in rows])]

    assert said(["我", "在", "Paddle"]) == [
        "data.train: raw text is tagged by character, with Latin words and numbers whole"
    ]
    _, warning = said(["I", "am"], ["New York", "is"], ["I", "do"])
    assert warning.startswith("warning: data.train: raw text is tagged by word")
    assert "1 of 3 rows are cut into other words" in warning and "'New York' in the row of line 5" in warning


def test_an_entity_across_a_seam_is_found_once():
    """Two windows answer for one word each of 王明; together they are one entity."""
    kind, labels = KINDS["token_classification"], ["O", "B-PER", "I-PER"]
    first, second = np.log([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2]]), np.log([[0.1, 0.0001, 0.9], [0.9, 0.05, 0.05]])
    answer = kind.decode(Row("见王明了", [], False, "character"), kind.whole([first, second]), labels)
    assert [(entity.label, entity.text, entity.start, entity.end) for entity in answer] == [("PER", "王明", 1, 3)]
    assert answer[0].probability == pytest.approx((0.7 + 0.9 / 1.0001) / 2)
