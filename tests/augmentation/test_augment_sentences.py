"""Copies of sentences and pairs."""

import paddle
import pytest

from paddle_ernie_tiny.augmentation import augmenters as module
from paddle_ernie_tiny.augmentation.augmenters import AugmentationRequest
from paddle_ernie_tiny.config import AugmentationSettings, ModelShape
from paddle_ernie_tiny.data.rows import Example
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.build import build_masked_lm

TINY = ModelShape(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"房间酒店很好大小不也都，。"]
TOKENIZER = WordPieceTokenizer(TOKENS)
ROWS = [
    Example("房间很大，酒店很小。", None, 1, 2),
    Example("酒店不好。", None, 0, 3),
    Example("，。", None, 0, 4),
    Example("很好也很小，很大也不好", None, 1, 5),
]


@pytest.fixture(scope="module")
def model():
    paddle.seed(0)
    return build_masked_lm(len(TOKENS), TINY, max_position_embeddings=32)


def settings(**values):
    return AugmentationSettings(**{"copies_per_row": 3, "candidates": 4, **values})


def augment(rows, use, masked_lm, tokenizer, seed):
    request = AugmentationRequest(rows, ["0", "1"], use, seed, tokenizer, lambda: masked_lm, "")
    return module.replace_words(request)


class HandMade:
    """Stands for the predictor: candidates by word, and what it was asked."""

    def __init__(self, candidates):
        self.candidates, self.asked = candidates, []

    def __call__(self, wanted, progress):
        words = [word.text for word in wanted]
        self.asked += words
        return [self.candidates.get(word, []) for word in words]


@pytest.fixture
def hand_made(monkeypatch):
    def use(candidates):
        predictor = HandMade(candidates)
        monkeypatch.setattr(module, "WordPredictor", lambda *_: predictor)
        return predictor

    return use


def test_copies_differ_from_their_original_and_from_one_another(model):
    result = augment(ROWS, settings(), model, TOKENIZER, seed=1)
    assert result.origin == sorted(result.origin) and set(result.origin) == {0, 1, 3}
    for row in (0, 1, 3):
        copies = [e for e, origin in zip(result.examples, result.origin, strict=True) if origin == row]
        texts = {e.text for e in copies} | {ROWS[row].text}
        assert len(texts) == len(copies) + 1 and all(texts)
        assert {(e.label, e.line, e.text_b) for e in copies} == {(ROWS[row].label, ROWS[row].line, None)}
    assert result.given_up == 4 * 3 - len(result.examples) >= 3  # the row of punctuation alone


def test_the_seed_decides_and_the_batch_size_does_not(model):
    first = augment(ROWS, settings(), model, TOKENIZER, seed=1)
    assert augment(ROWS, settings(rows_per_batch=1), model, TOKENIZER, seed=1) == first
    assert augment(ROWS, settings(), model, TOKENIZER, seed=2).examples != first.examples


def test_blocks_of_rows_change_nothing(model, monkeypatch):
    first = augment(ROWS, settings(), model, TOKENIZER, seed=1)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 1)
    again = augment(ROWS, settings(), model, TOKENIZER, seed=1)
    assert (again.examples, again.origin) == (first.examples, first.origin)


def test_each_word_is_replaced_with_the_probability_by_each_candidate_alike(hand_made):
    hand_made({"好": ["大", "小", "不", "也"]})
    rows = [Example("好，" * 50, None, 0, 1)]
    result = augment(rows, settings(copies_per_row=40, replace_probability=0.4), object(), TOKENIZER, seed=0)
    drawn = "".join(e.text for e in result.examples).replace("，", "")
    assert len(drawn) == 2000
    assert drawn.count("好") / 2000 == pytest.approx(0.6, abs=0.04)
    for word in "大小不也":
        assert drawn.count(word) / 2000 == pytest.approx(0.1, abs=0.025)


def test_a_word_is_predicted_once_for_all_copies_and_only_if_a_copy_replaces_it(hand_made):
    predictor = hand_made({word: ["也", "都"] for word in "很大小不"})
    rows = [Example("很，大，不，小", None, 0, 1)]
    augment(rows, settings(copies_per_row=6, replace_probability=0.9), object(), TOKENIZER, seed=0)
    assert sorted(predictor.asked) == sorted("很大不小")
    predictor.asked.clear()
    augment(rows, settings(copies_per_row=1, replace_probability=0.3), object(), TOKENIZER, seed=0)
    assert 0 < len(predictor.asked) < 4


def test_copies_that_cannot_be_are_given_up_and_counted(hand_made):
    hand_made({"好": ["大"]})
    result = augment([Example("好", None, 1, 1)], settings(replace_probability=0.01), object(), TOKENIZER, seed=0)
    assert [e.text for e in result.examples] == ["大"]  # found by trying again with a higher probability
    assert result.given_up == 2


def test_both_texts_of_a_pair_start_from_the_original(hand_made):
    hand_made({"很": ["不", "也"], "好": ["大", "小"]})
    rows = [Example("很，很，很", "好，好，好", 1, 1)]
    result = augment(rows, settings(copies_per_row=8, replace_probability=0.2), object(), TOKENIZER, seed=0)
    assert len(result.examples) == 8
    assert {c for e in result.examples for c in e.text} <= set("很不也，")
    assert {c for e in result.examples for c in e.text_b} <= set("好大小，")
    # words replaced in a copy do not pile up from copy to copy: 6 words, a fifth replaced
    kept = sum(e.text.count("很") + e.text_b.count("好") for e in result.examples) / 8
    assert kept > 3
    assert set(result.samples[0]) == {"before", "after", "before_b", "after_b"}


def test_samples_are_twenty_spread_over_the_rows(hand_made):
    hand_made({"好": ["大", "小", "不"]})
    rows = [Example("好" + "，" * i, None, 0, i) for i in range(100)]
    samples = augment(rows, settings(), object(), TOKENIZER, seed=0).samples
    assert len(samples) == 20
    assert [len(s["before"]) - 1 for s in (samples[0], samples[-1])] == [0, 99]
    assert all(s["before"] != s["after"] for s in samples)


def test_word_vectors_add_candidates_and_do_without_a_model(tmp_path, hand_made):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("films 1 0\nmovies 1 0.1\nbad 0 1\ngood 0.1 1\n", encoding="utf-8")
    use = settings(language="en", word_vectors=str(vectors), candidates=1, replace_probability=1.0)
    rows = [Example("Films, unseen!", None, 0, 1)]
    assert [e.text for e in augment(rows, use, None, TOKENIZER, seed=0).examples] == ["movies, unseen!"]
    hand_made({"unseen": ["great"], "good": ["fine"]})
    rows = [Example("unseen good", None, 0, 1)]
    texts = {e.text for e in augment(rows, use, object(), TOKENIZER, seed=0).examples}
    assert texts == {"great fine", "great bad"}


def test_without_model_and_vectors_there_is_nothing_to_draw_from():
    with pytest.raises(InputError, match="neither a masked language model nor word vectors"):
        augment(ROWS, settings(), None, TOKENIZER, seed=0)
