"""int8 imitated in training: values and gradients by hand, which parts, and that nothing else of a model changes."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.build import build_masked_lm, load_classifier
from paddle_ernie_tiny.models.capture import Capture
from paddle_ernie_tiny.models.fake_int8 import FakeInt8Linear, as_trained, fake_int8, on_grid
from paddle_ernie_tiny.models.weights import save_model, to_numpy
from paddle_ernie_tiny.terms import Needs
from tests.bundles import TOKENS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "student"
    shape = ModelShape(
        **{"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    paddle.seed(0)
    save_model(build_masked_lm(len(TOKENS), shape, 32), WordPieceTokenizer(TOKENS), folder)
    return folder


@pytest.fixture
def model(folder):
    return load_classifier(folder, ["a", "b"], KINDS["classification"], new_head=True)


INPUTS = {"input_ids": np.array([[2, 7, 9, 3], [2, 8, 3, 0]]), "token_type_ids": np.zeros((2, 4), np.int64)}


def answers(model):
    mask = paddle.to_tensor((INPUTS["input_ids"] != 0).astype("float32"))
    return model(**{name: paddle.to_tensor(value) for name, value in INPUTS.items()}, attention_mask=mask)


def rounded(values, largest):
    """In NumPy: the nearest multiple of largest / 127, at most 127 of them."""
    return np.clip(np.rint(values / largest * 127), -127, 127) * largest / 127


def test_values_go_to_the_next_step_and_gradients_pass_unless_a_value_was_cut():
    values = paddle.to_tensor([0.0, 0.4, 0.6, -1.3, 126.6, 127.0, 200.0, -128.0], stop_gradient=False)
    grid = on_grid(values, paddle.to_tensor([127.0]))  # steps of 1
    assert grid.numpy().tolist() == [0.0, 0.0, 1.0, -1.0, 127.0, 127.0, 127.0, -127.0]
    (grid * paddle.arange(1, 9).astype("float32")).sum().backward()
    assert values.grad.numpy().tolist() == [1, 2, 3, 4, 5, 6, 0, 0]


def test_zeros_stay_zeros():
    assert on_grid(paddle.zeros([3]), paddle.zeros([1])).numpy().tolist() == [0, 0, 0]


def fake_layer(weight, bias=None):
    model = nn.Sequential(nn.Linear(*np.shape(weight)))
    layer = model[0]
    layer.weight.set_value(np.asarray(weight, np.float32))
    layer.bias.set_value(np.asarray(bias if bias is not None else np.zeros(np.shape(weight)[1]), np.float32))
    layer.__class__ = FakeInt8Linear
    layer.first_token = False
    layer.register_buffer("input_scale", paddle.zeros([1]))
    return layer


def test_a_layer_has_a_scale_for_each_output_channel_and_one_for_its_input():
    """Channels whose largest weights are 127 and 1.27, so steps of 1 and 0.01; inputs up to 12.7, steps of 0.1."""
    layer = fake_layer([[127.0, 0.123], [3.4, -1.27], [0.2, 0.006]], bias=[1.0, 0.0])
    layer.eval()
    layer.input_scale.set_value(np.array([12.7], np.float32))
    given = paddle.to_tensor([[1.04, -0.26, 20.0]])  # 1.0, -0.3, 12.7 (cut)
    weight = np.array([[127, 0.12], [3, -1.27], [0, 0.01]])
    np.testing.assert_allclose(layer(given).numpy(), np.array([[1.0, -0.3, 12.7]]) @ weight + [1, 0], rtol=1e-5)


def test_square_weights_have_one_scale():
    """As static_int8.py stores them: the step is 1 in both columns, so 1.27 is 1."""
    layer = fake_layer([[127.0, 0.6], [3.4, -1.27]])
    layer.eval()
    layer.input_scale.set_value(np.array([127.0], np.float32))
    np.testing.assert_allclose(layer(paddle.eye(2)).numpy(), [[127, 1], [3, -1]], rtol=1e-6)


def test_gradients_of_weights_are_those_of_rounded_inputs_and_weights():
    layer = fake_layer([[127.0, 0.5], [3.4, 1.27], [0.0, 0.0]])
    layer.eval()
    layer.input_scale.set_value(np.array([12.7], np.float32))
    given = paddle.to_tensor([[1.04, -0.26, 20.0]], stop_gradient=False)
    layer(given).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), [[1.0, 1.0], [-0.3, -0.3], [12.7, 12.7]], rtol=1e-5)
    np.testing.assert_allclose(given.grad.numpy(), [[127.5, 3 + 1.27, 0.0]], rtol=1e-5)


def test_the_input_s_scale_is_a_moving_average_of_the_rows_largest_values():
    """Rows' largest 4 and 2: 3; then 5 and 7: 0.9 * 3 + 0.1 * 6. In evaluation it stays."""
    layer = fake_layer(np.ones((2, 3)))
    layer.train()
    layer(paddle.to_tensor([[[1.0, -4.0]], [[2.0, 0.0]]]))
    assert float(layer.input_scale) == pytest.approx(3.0)
    layer(paddle.to_tensor([[[5.0, 0.0]], [[0.0, -7.0]]]))
    assert float(layer.input_scale) == pytest.approx(3.3)
    layer.eval()
    layer(paddle.to_tensor([[[50.0, 0.0]]]))
    assert float(layer.input_scale) == pytest.approx(3.3)


def fakes(model):
    return [
        name.split("encoder.layers.")[-1] for name, layer in model.named_sublayers() if type(layer) is FakeInt8Linear
    ]


ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


def test_parts_are_those_that_can_be_left_in_fp32(model):
    fake_int8(model, ["encoder.layers.0.attention", "encoder.layers.1.feed_forward", "head"])
    attention = [f"1.self_attn.{name}" for name in ATTENTION]
    assert sorted(fakes(model)) == sorted(["0.linear1", "0.linear2", *attention])


def test_of_a_served_last_layer_keys_values_and_later_rows_are_in_no_product(model):
    fake_int8(model, first_token=True)
    names = fakes(model)
    assert "1.self_attn.q_proj" in names and "1.self_attn.k_proj" not in names and "1.self_attn.v_proj" not in names
    assert {"0.self_attn.k_proj", "bert.pooler.dense", "classifier"} <= set(names)
    model.eval()
    layer = model.bert.encoder.layers[1].linear1
    layer.input_scale.set_value(np.array([1.0], np.float32))
    given = paddle.full([1, 3, 8], 0.3331)
    first, *rest = layer(given).numpy()[0]
    weight = layer.weight.numpy()
    grid = rounded(weight, np.abs(weight).max(0))
    np.testing.assert_allclose(first, rounded(np.full(8, 0.3331), 1.0) @ grid + layer.bias.numpy(), rtol=1e-5)
    np.testing.assert_allclose(rest, [np.full(8, 0.3331) @ grid + layer.bias.numpy()] * 2, rtol=1e-5)


def test_rows_of_the_table_have_a_scale_each(model):
    table = model.bert.embeddings.word_embeddings
    weight = table.weight.numpy()
    fake_int8(model, [])
    looked_up = table(paddle.to_tensor([7, 9])).numpy()
    np.testing.assert_allclose(
        looked_up, rounded(weight[[7, 9]], np.abs(weight[[7, 9]]).max(1, keepdims=True)), rtol=1e-5
    )
    assert np.abs(looked_up - weight[[7, 9]]).max() > 0


def test_states_are_captured_and_undoing_it_leaves_the_model_as_it_was(model):
    before, names = answers(model.eval() or model).numpy(), list(to_numpy(model.state_dict()))
    capture = Capture(model, Needs(hidden=(1,), attention=(2,), parts=("query", "key")))
    fake_int8(model)
    model.train()
    fake = answers(model).numpy()
    captured = capture.take()
    assert captured.query[2].shape == captured.key[2].shape == [2, 4, 8] and captured.hidden[1].shape == [2, 4, 8]
    assert 0 < np.abs(fake - before).max() < 0.1
    as_trained(model)
    assert list(to_numpy(model.state_dict())) == names
    model.eval()
    np.testing.assert_array_equal(answers(model).numpy(), before)
