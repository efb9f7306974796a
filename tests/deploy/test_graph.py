"""The graph that is served answers as the model does: logits equal up to rounding, whatever the padding."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.deploy.graph import answer_from_first_token
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.architectures import complete_config
from paddle_ernie_tiny.models.build import _new_model


def build(family, labels):
    from paddlenlp import transformers as nlp

    config = getattr(nlp, f"{family}Config")(
        vocab_size=90,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=64,
        type_vocab_size=2,
        num_labels=labels,
    )
    paddle.seed(3)
    model = getattr(nlp, f"{family}ForSequenceClassification")(config)
    for weight in model.parameters():  # biases and norms off their initial 0 and 1
        weight.set_value(weight + 0.3 * paddle.randn(weight.shape))
    model.eval()
    return model


@pytest.mark.parametrize(("family", "labels"), [("Bert", 3), ("Ernie", 2), ("Roberta", 1)])
def test_logits_equal_the_plain_model_s(family, labels):
    model = build(family, labels)
    ids = paddle.randint(5, 90, [3, 17])
    ids[1, 9:] = 0  # padding
    ids[2, 1:] = 0
    types = paddle.zeros_like(ids)
    types[0, 8:] = 1
    mask = (ids != 0).astype("float32")
    with paddle.no_grad():
        plain = model(ids, token_type_ids=types, attention_mask=mask).numpy()
        answer_from_first_token(model)
        served = model(ids, token_type_ids=types, attention_mask=mask).numpy()
    assert np.abs(plain).max() > 0.1
    np.testing.assert_allclose(served, plain, atol=2e-5)


def test_the_last_layer_answers_for_one_token_only():
    model = build("Bert", 2)
    answer_from_first_token(model)
    ids = paddle.randint(5, 90, [2, 9])
    states, _ = model.bert(ids)
    assert states.shape == [2, 1, 24]


def test_an_encoder_that_normalises_first_is_refused():
    model = build("Bert", 2)
    model.bert.encoder.layers[-1].normalize_before = True
    with pytest.raises(ValueError, match="normalises before"):
        answer_from_first_token(model)


@pytest.mark.parametrize("family", ["bert", "ernie", "roberta", "electra"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_sentence_vectors_do_not_see_padding(family, pooling):
    """Of every family, and where the first token is pooled also with a last layer for that token alone."""
    kind = KINDS["embedding"].with_settings({"pooling": pooling, "width": 6})
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    config = complete_config({"model_type": family, "vocab_size": 90, "pad_token_id": 0, **sizes}, "")
    paddle.seed(3)
    model = _new_model(config, kind.head, list(kind.outputs), kind, initializer_range=0.3)
    model.eval()
    assert type(model).__name__.endswith("ForEmbedding")
    ids = paddle.randint(5, 90, [2, 9])
    ids[1, 5:] = 0
    with paddle.no_grad():
        vectors = model(ids, token_type_ids=paddle.zeros_like(ids), attention_mask=(ids != 0).astype("float32"))
        alone = model(ids[1:, :5], token_type_ids=paddle.zeros([1, 5], "int64"), attention_mask=paddle.ones([1, 5]))
        np.testing.assert_allclose(vectors[1:].numpy(), alone.numpy(), atol=1e-5)
        assert vectors.shape == [2, 6] and float((vectors[0] - vectors[1]).abs().max()) > 0.01
        if "served" in kind.graphs:
            answer_from_first_token(model)
            served = model(ids, token_type_ids=paddle.zeros_like(ids), attention_mask=(ids != 0).astype("float32"))
            np.testing.assert_allclose(served.numpy(), vectors.numpy(), atol=1e-5)
    assert ("served" in kind.graphs) == (pooling == "first")
