"""Replacements that a masked language model proposes."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.augmentation.candidates import WordPredictor, analyse, compose
from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer, read_tokenizer
from paddle_ernie_tiny.models.build import build_masked_lm
from tests.byte_pairs import byte_level_folder

TINY = ModelShape(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"房间酒店很好大小，。7", "##房", "##s", "film", "plot", "12"]
TOKENIZER = WordPieceTokenizer(TOKENS)


@pytest.fixture(scope="module")
def model():
    paddle.seed(0)
    model = build_masked_lm(len(TOKENS), TINY, max_position_embeddings=128)
    for parameter in model.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    return model


def predict(model, texts, candidates=5, rows_per_batch=4, language="zh"):
    wanted = [w for t in analyse(texts, TOKENIZER, language) for w in t.words if w.pieces]
    return WordPredictor(model, TOKENIZER, candidates, rows_per_batch)(wanted)


def test_words_of_byte_pairs_are_replaced_by_tokens_with_a_blank(tmp_path):
    byte_level_folder(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    (text,) = analyse(["bad room, hotel!"], tokenizer, "en")
    wanted = [word for word in text.words if word.pieces]
    assert [word.text for word in wanted] == ["room", "hotel"], "the first word has no blank before it"
    paddle.seed(0)
    shape = ModelShape(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16)
    model = build_masked_lm(tokenizer.vocab_size, shape, 128, pad_token_id=tokenizer.pad_id)
    words = {token[1:] for token in tokenizer.tokens if token.startswith("Ġ")}
    for found, word in zip(WordPredictor(model, tokenizer, 5, 4)(wanted), wanted, strict=True):
        assert len(found) == 5 and word.text not in found and words.issuperset(found)
        assert all(other.isalpha() for other in found)


def test_compose_ranks_by_the_sum_of_scores():
    places = [[("a", 0.0), ("b", -1.0)], [("x", 0.0), ("y", -0.6), ("z", -3.0)]]
    assert compose(places) == ["ax", "ay", "bx", "by", "az", "bz"]


def test_compose_keeps_to_known_words_and_follows_their_beginnings():
    places = [[("a", 0.0), ("b", -1.0)], [("x", 0.0), ("y", -0.5)]]
    assert compose(places, {"a": 0, "ay": 4, "ax": 0, "b": 7, "bx": 1}) == ["ay", "bx"]
    assert compose(places, {}) == []


def test_a_single_piece_is_replaced_by_the_most_probable_of_its_kind(model):
    """By hand: mask `大`, take the logits at its place, drop what is no Chinese character or `大` itself."""
    model.eval()
    ids = [2, *[TOKENS.index(c) for c in "店，"], 4, 3]
    with paddle.no_grad():
        logits = model(paddle.to_tensor([ids])).numpy()[0, 3]
    order = [TOKENS[i] for i in np.argsort(-logits)]
    expected = [token for token in order if token in "房间酒店很好小"][:5]
    assert predict(model, ["店，大"])[-1] == expected


def test_a_word_of_two_pieces_becomes_a_word_of_two_that_jieba_knows(model):
    """All places are masked at once; with every token a candidate, only dictionary words are left."""
    model.eval()
    characters = "房间酒店很好大小"
    with paddle.no_grad():
        logits = model(paddle.to_tensor([[2, 4, 4, 3]])).numpy()[0, 1:3]
    score = {a + b: logits[0][TOKENS.index(a)] + logits[1][TOKENS.index(b)] for a in characters for b in characters}
    [found] = predict(model, ["房间"], candidates=20)
    assert "酒店" in found and "大小" in found and "房间" not in found and "店间" not in found
    assert found == sorted(found, key=lambda word: -score[word])


def test_letters_become_letters_and_numbers_numbers(model):
    assert predict(model, ["film"], language="en") == [["plot"]]
    assert predict(model, ["12。"]) == [["7"]]


def test_pieces_that_go_on_stand_only_inside_a_word(model):
    [found] = predict(model, ["films"], candidates=50)
    assert found == ["plots"]


def test_the_batch_size_and_padding_change_nothing(model):
    texts = ["房间很大，酒店很小。", "好", "酒店好大好大好大，房间很好。", "店"]
    expected = [predict(model, [text]) for text in texts]
    for rows in (1, 3, 64):
        assert predict(model, texts, rows_per_batch=rows) == [words for row in expected for words in row]


def test_of_a_long_text_the_part_around_the_word_is_read(model):
    [text] = analyse(["好" * 100 + "，大，" + "小" * 30], TOKENIZER, "zh")
    predictor = WordPredictor(model, TOKENIZER, 5, 4)
    word = next(w for w in text.words if w.text == "大")
    ids, [first] = predictor.masked([word])
    assert len(ids) == 64 and ids[first] == TOKENIZER.mask_id
    tokens = "".join(TOKENS[i] for i in ids)
    assert tokens == "[CLS]" + "好" * 29 + "，[MASK]，" + "小" * 30 + "[SEP]"
    ids, places = predictor.masked([text.words[0]])
    assert (len(ids), places) == (64, [1])


def test_words_that_are_masked_together_stand_apart(model):
    """Eight tokens between them; each word in one group; all of one text, within what is read of it."""
    texts = analyse(["大，好，" * 40, "大，" * 10], TOKENIZER, "zh")
    wanted = [word for text in texts for word in text.words]
    predictor = WordPredictor(model, TOKENIZER, 5, 4)
    groups = predictor.groups(wanted)
    assert sorted(id(word) for group in groups for word in group) == sorted(map(id, wanted))
    assert len(groups) < len(wanted) / 3
    for group in groups:
        assert len({id(word.ids) for word in group}) == 1
        assert all(b.first - a.last >= 8 for a, b in zip(group, group[1:], strict=False))
        ids, places = predictor.masked(group)
        assert len(ids) <= 64 and [ids[place] for place in places] == [TOKENIZER.mask_id] * len(group)
    alone = WordPredictor(model, TOKENIZER, 5, 4, tokens_between=1000)
    assert alone.groups(wanted) == [[word] for word in wanted]


def test_progress_and_evaluation_mode(model):
    model.train()
    seen = []
    wanted = [w for t in analyse(["房间很大"] * 3, TOKENIZER, "zh") for w in t.words]
    WordPredictor(model, TOKENIZER, 5, 4)(wanted, seen.append)
    assert sum(seen) == len(wanted) and max(seen) == 4 and not model.training
