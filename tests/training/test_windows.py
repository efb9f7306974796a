"""Rows that are longer than the model: trained and scored in windows, and whole again in what is measured."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.data.rows import IGNORED, Example, TokenExample
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.data.windows import Span, windows
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.training.inference import predict

from ..tiny_training import classifier

LETTERS = "abcdefghijklmnopqrstuvwx"
TOKENIZER = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS])
LENGTH = 10  # room for eight of the 24 letters


def test_windows_by_hand():
    """Words of 3, 4, 2, 1, 5, 1 tokens in windows of 8: at most two are shared, and the next word has to fit."""
    assert windows([3, 4, 1], 8) == [Span(0, 3, 0, 3)]
    assert windows([], 8) == [Span(0, 0, 0, 0)]
    assert windows([3, 4, 2, 1, 5, 1], 8) == [Span(0, 2, 0, 2), Span(2, 5, 2, 4), Span(3, 6, 4, 6)]


@pytest.mark.parametrize("room", [1, 2, 7, 126])
def test_every_word_has_one_window_with_context_on_both_sides(room):
    rng = np.random.default_rng(room)
    for _ in range(50):
        sizes = rng.integers(1, rng.integers(2, room + 2), rng.integers(1, 300)).tolist()
        spans = windows(sizes, room)
        assert [word for span in spans for word in range(span.own, span.own_end)] == list(range(len(sizes)))
        for span in spans:
            assert span.first <= span.own < span.own_end <= span.end
            assert sum(sizes[span.first : span.end]) <= room
        if max(sizes) == 1 and len(spans) > 1:
            assert all(span.own - span.first >= room // 4 // 2 for span in spans[1:])
            assert {span.end - span.first for span in spans} == {room}, "the last one is full too"


def model_of(kind, labels):
    paddle.seed(7)
    model = classifier(1, 16, vocab_size=TOKENIZER.vocab_size, kind=kind)
    for weight in model.parameters():  # the usual start leaves all answers alike
        weight.set_value(paddle.randn(weight.shape) * 0.3)
    model.eval()
    return model


def direct(model, letters):
    """A forward pass over one window, without the toolkit's batches."""
    ids = [TOKENIZER.cls_id, *map(TOKENIZER.tokens.index, letters), TOKENIZER.sep_id]
    return model(paddle.to_tensor([ids]))[0].numpy()


def test_each_word_of_a_tagged_text_is_answered_by_its_window():
    """A text three times as long as the model: each word as in a forward pass over its window alone."""
    kind, tags = KINDS["token_classification"], tuple(index % 2 for index in range(24))
    examples = [TokenExample(("x", "a"), (1, 0), 1), TokenExample(tuple(LETTERS), tags, 2)]
    rows = kind.encode(TOKENIZER, examples, LENGTH)
    assert rows.rows.tolist() == [0, 1, 1, 1, 1]
    labels = [[label for label in row.tolist() if label != IGNORED] for row in rows.labels]
    assert labels[0] == [1, 0] and sum(labels[1:], []) == list(tags), "each tag is learnt once"
    model = model_of(kind, ["O", "B-X"])
    scored = predict(model, kind, rows, TOKENIZER.pad_id, ["O", "B-X"], batch_size=2)
    assert [len(output) for output in scored.outputs] == [2, 24]
    assert [gold.tolist() for gold in scored.gold] == [[1, 0], list(tags)] and scored.rows.tolist() == [0] * 2 + [
        1
    ] * 24
    expected = []
    for first, own, own_end in ((0, 0, 7), (6, 7, 13), (12, 13, 18), (16, 18, 24)):
        answers = direct(model, LETTERS[first : first + 8])[1:-1]
        expected.append(answers[own - first : own_end - first])
    np.testing.assert_allclose(scored.outputs[1], np.concatenate(expected), atol=1e-5)
    part = rows.take([4, 0, 3])
    assert part.rows.tolist() == [1, 0, 1] and len(predict(model, kind, part, 0, ["O", "B-X"]).outputs[0]) == 11


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_a_classifier_answers_with_the_mean_of_its_windows(name):
    kind, label = KINDS[name], 1 if name == "classification" else 2.5
    examples = [Example(" ".join(LETTERS), None, label, 1), Example("x a", None, 0, 2)]
    rows = kind.encode(TOKENIZER, examples, LENGTH, "windows")
    assert rows.rows.tolist() == [0, 0, 0, 0, 1] and rows.labels.tolist() == [label] * 4 + [0]
    model, names = model_of(kind, ["a", "b"]), ["a", "b"]
    scored = predict(model, kind, rows, TOKENIZER.pad_id, names)
    starts = 0, 6, 12, 16
    mean = np.mean([direct(model, LETTERS[first : first + 8]) for first in starts], axis=0)
    np.testing.assert_allclose(scored.outputs[0][0], mean, atol=1e-5)
    np.testing.assert_allclose(scored.outputs[1][0], direct(model, "xa"), atol=1e-5)
    assert list(scored.gold) == [label, 0] and list(scored.groups) == [0, 1] and list(rows.row_groups) == [0, 1]
