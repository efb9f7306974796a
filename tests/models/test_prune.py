"""Vocabulary pruning: exact on the texts it was made from, and what changes elsewhere."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.build import (
    build_masked_lm,
    load_classifier,
    load_masked_lm,
    load_tokenizer,
    read_model_config,
)
from paddle_ernie_tiny.models.prune import prune_vocabulary
from paddle_ernie_tiny.models.weights import read_weights, save_model

SHAPE = ModelShape(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16)
# [PAD] not first, and single letters only as whole words: both must survive
TOKENS = ["[unused1]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙洪荒", "play", "##ing", "##ed", "pl"]
TOKENS += ["##ay", "a", "b", "##a", "##b", "！", "。"]


@pytest.fixture
def model(tmp_path):
    paddle.seed(0)
    tokenizer = WordPieceTokenizer(TOKENS)
    masked_lm = build_masked_lm(len(TOKENS), SHAPE, max_position_embeddings=len(TOKENS), pad_token_id=tokenizer.pad_id)
    for parameter in masked_lm.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    save_model(masked_lm, tokenizer, tmp_path / "model")
    return tmp_path / "model"


def classify(folder, texts):
    model, tokenizer = load_classifier(folder, ["a", "b"], new_head=True), load_tokenizer(folder)
    model.eval()
    return [model(paddle.to_tensor([ids])).numpy() for ids in tokenizer.encode(texts).input_ids]


def test_logits_within_the_corpus_are_equal_bit_for_bit(model, tmp_path):
    save_model(load_classifier(model, ["a", "b"], new_head=True), load_tokenizer(model), tmp_path / "classifier")
    model = tmp_path / "classifier"
    corpus = ["天地 playing！", "playe", "ab"]  # playe: no piece for its end, so [UNK] before and after
    made = prune_vocabulary(model, tmp_path / "small", corpus)
    old, new = load_tokenizer(model), load_tokenizer(tmp_path / "small")
    # used: 天 地 play ##ing ！ [UNK] a ##b; reserve: the special tokens and single ASCII characters
    kept = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天", "地", "play", "##ing", "a", "b", "##a", "##b", "！"]
    assert new.tokens == kept
    texts = [*corpus, "地天！ba", "playing playing"]
    for before, after in zip(old.encode(texts).input_ids, new.encode(texts).input_ids, strict=True):
        assert [old.tokens[i] for i in before] == [new.tokens[i] for i in after]
    for before, after in zip(classify(model, texts), classify(tmp_path / "small", texts), strict=True):
        np.testing.assert_array_equal(before, after)
    dropped = len(TOKENS) - len(kept)
    assert (made["tokens_before"], made["tokens_after"]) == (len(TOKENS), len(kept))
    assert made["parameters_before"] - made["parameters_after"] == dropped * SHAPE.hidden_size
    assert read_model_config(tmp_path / "small")["pad_token_id"] == new.pad_id == 0


def test_the_masked_lm_head_is_pruned_along(model, tmp_path):
    prune_vocabulary(model, tmp_path / "small", ["天地！"])
    old, new = load_tokenizer(model), load_tokenizer(tmp_path / "small")
    kept = [old.tokens.index(token) for token in new.tokens]
    before = load_masked_lm(model)(paddle.to_tensor(old.encode(["天地！"]).input_ids)).numpy()
    after = load_masked_lm(tmp_path / "small")(paddle.to_tensor(new.encode(["天地！"]).input_ids)).numpy()
    np.testing.assert_allclose(after, before[..., kept], atol=1e-6)


def test_elsewhere_words_are_cut_otherwise_or_unknown(model, tmp_path):
    prune_vocabulary(model, tmp_path / "small", ["天 pl 地"])
    tokens = load_tokenizer(tmp_path / "small")
    assert [tokens.tokens[i] for i in tokens.encode_plain(["play 玄 天"])[0]] == ["[UNK]", "[UNK]", "天"]


def test_a_reserve_in_the_vocabularys_order(model, tmp_path):
    prune_vocabulary(model, tmp_path / "small", ["天地"], keep=3)
    tokens = load_tokenizer(tmp_path / "small").tokens
    assert tokens[0] == "[unused1]" and {"玄", "黄"} <= set(tokens) and "宇" not in tokens


def test_greedy_cutting_never_changes_on_text_within_it():
    """Random vocabularies and words: whatever the corpus uses is enough to cut it as before."""
    rng = np.random.default_rng(0)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for _ in range(50):
        pieces = {"".join(rng.choice(list("xyz"), rng.integers(1, 4))) for _ in range(8)}
        pieces |= {"##" + "".join(rng.choice(list("xyz"), rng.integers(1, 4))) for _ in range(8)}
        full = WordPieceTokenizer([*specials, *sorted(pieces)])
        corpus = ["".join(rng.choice(list("xyz"), rng.integers(1, 9))) for _ in range(6)]
        used = {i for row in full.encode_plain(corpus) for i in row}
        small = WordPieceTokenizer([t for i, t in enumerate(full.tokens) if i < 5 or i in used])
        for before, after in zip(full.encode_plain(corpus), small.encode_plain(corpus), strict=True):
            assert [full.tokens[i] for i in before] == [small.tokens[i] for i in after]


def test_bad_input_is_refused_and_leaves_nothing(model, tmp_path):
    with pytest.raises(InputError, match="no text in the corpus"):
        prune_vocabulary(model, tmp_path / "small", [])
    with pytest.raises(InputError, match="the folder is not empty"):
        prune_vocabulary(model, model, ["天"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_real_teacher(real_data, tmp_path):
    """Every dev text of ChnSentiCorp: same pieces, far fewer rows of the embedding table."""
    teacher = real_data / "models" / "teacher-zh-6l256h"
    text = (real_data / "data" / "chnsenticorp" / "dev.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t")[1] for line in text.splitlines()[1:]]
    made = prune_vocabulary(teacher, tmp_path / "small", lines)
    old, new = load_tokenizer(teacher), load_tokenizer(tmp_path / "small")
    for before, after in zip(old.encode_plain(lines), new.encode_plain(lines), strict=True):
        assert [old.tokens[i] for i in before] == [new.tokens[i] for i in after]
    name = next(n for n in read_weights(teacher) if n.endswith("word_embeddings.weight"))
    assert len(read_weights(tmp_path / "small")[name]) == made["tokens_after"] < made["tokens_before"] / 2
