"""Layers of a teacher at a smaller width: what is kept exactly, and how near the rest comes to the teacher's states."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddle_ernie_tiny.config import ModelShape, StudentSettings
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.build import base_model, build_masked_lm, load_encoder
from paddle_ernie_tiny.models.initialise import check_start, initial_student
from paddle_ernie_tiny.models.narrow import fit_heads, linear_fit, projections_of, strongest_channels
from paddle_ernie_tiny.models.weights import save_model

WIDE = {"num_hidden_layers": 4, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48}
WORDS = [*SPECIAL_TOKENS, *"一二三四五六七八九十"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher whose layers change the states a good deal, as trained ones do."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    paddle.seed(1)
    model = build_masked_lm(len(WORDS), ModelShape(**WIDE))
    for name, weight in model.named_parameters():
        if name.endswith("weight") and "norm" not in name:
            weight.set_value(weight * 10.0)
    save_model(model, WordPieceTokenizer(WORDS), folder)
    return folder


def texts(seed=0, rows=64, length=12):
    rng = np.random.default_rng(seed)
    ids = rng.integers(len(SPECIAL_TOKENS), len(WORDS), (rows, length))
    mask = (np.arange(length) < rng.integers(4, length + 1, (rows, 1))).astype(np.float32)
    ids = np.where(mask > 0, ids, 0)
    values = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}
    return [{name: paddle.to_tensor(value) for name, value in values.items()}]


def start(teacher, method="teacher_narrowed", **sizes):
    layers = sizes.pop("layers", "uniform")
    settings = StudentSettings(**{**WIDE, **sizes}, init={"method": method, "layers": layers})
    return initial_student(settings, teacher, ["a", "b"], KINDS["classification"], 3, texts)


def last_states(model, batch):
    model.eval()
    states = base_model(model)(**batch)[0].numpy()
    return states[batch["attention_mask"].numpy() > 0]


def explained(student, teacher):
    """The share of the teacher's last states that a linear map of the student's gives, on texts it has not seen."""
    (old,), (new,) = texts(), texts(seed=1)
    wide = load_encoder(teacher)
    fit = linear_fit(last_states(student, old), last_states(wide, old))
    wanted = last_states(wide, new)
    left = wanted - last_states(student, new) @ fit[:-1] - fit[-1]
    return 1 - np.square(left).sum() / np.square(wanted - wanted.mean(axis=0)).sum()


def test_a_regression_finds_weights_and_bias():
    inputs = np.random.default_rng(0).normal(size=(500, 3))
    weights, bias = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]), np.array([4.0, -2.0])
    np.testing.assert_allclose(linear_fit(inputs, inputs @ weights + bias), [*weights, bias], atol=0.02)


def test_inputs_that_never_vary_explain_nothing():
    """Such as one token only: what is left is the outputs' mean."""
    fit = linear_fit(np.full((4, 3), 7.0), np.array([[1.0], [3.0], [2.0], [2.0]]))
    np.testing.assert_array_equal(fit, [[0.0], [0.0], [0.0], [2.0]])


def test_the_channels_that_explain_the_others_are_kept():
    """Channel 1 is -2 times channel 3, which has less noise of its own; 0 and 2 are independent, 2 is hardly there."""
    one, two, three = np.random.default_rng(0).normal(size=(3, 1000))
    states = np.stack([one, -2 * two, 0.01 * three, two], axis=1)
    assert strongest_channels(states, 2).tolist() == [0, 1]
    assert strongest_channels(states, 3).tolist() == [0, 1, 2]  # not 3: it would say nothing new
    assert strongest_channels(states, 4).tolist() == [0, 1, 2, 3]


def test_scores_of_low_rank_are_kept_at_half_the_head_size():
    """q k^T / sqrt(4) of the teacher is q k^T / sqrt(2) of the student, and the values' part of the output is whole."""
    rng, kept = np.random.default_rng(0), np.array([0, 2, 5, 7])
    wide, narrow = nn.MultiHeadAttention(8, 2), nn.MultiHeadAttention(4, 2)
    for name in ("q_proj", "k_proj", "v_proj"):
        low = [rng.normal(size=(8, 2)) @ rng.normal(size=(2, 4)) for _ in range(2)]
        getattr(wide, name).weight.set_value(np.hstack(low).astype(np.float32))
        getattr(wide, name).bias.set_value(np.zeros(8, np.float32))
    states = rng.normal(size=(300, 4)).astype(np.float32)
    read = np.vstack([rng.normal(size=(4, 8)), np.zeros(8)])
    fit_heads(narrow, wide, states, read, kept)
    full = paddle.to_tensor((states @ read[:-1]).astype(np.float32))
    own = {name: getattr(narrow, name)(paddle.to_tensor(states)).numpy() for name in ("q_proj", "k_proj", "v_proj")}
    theirs = {name: getattr(wide, name)(full).numpy() for name in ("q_proj", "k_proj", "v_proj")}
    for head in range(2):
        here, there = slice(2 * head, 2 * head + 2), slice(4 * head, 4 * head + 4)
        mine = own["q_proj"][:, here] @ own["k_proj"][:, here].T / np.sqrt(2)
        wanted = theirs["q_proj"][:, there] @ theirs["k_proj"][:, there].T / np.sqrt(4)
        np.testing.assert_allclose(mine, wanted, atol=2e-3 * np.abs(wanted).max())
        output = theirs["v_proj"][:, there] @ wide.out_proj.weight.numpy()[there][:, kept]
        spread = np.linalg.lstsq(own["v_proj"][:, here], output, rcond=None)[0]
        np.testing.assert_allclose(own["v_proj"][:, here] @ spread, output, atol=2e-3 * np.abs(output).max())


def test_at_the_teacher_s_sizes_the_states_are_the_teacher_s(teacher):
    student, (batch,) = start(teacher), texts(seed=1)
    np.testing.assert_allclose(last_states(student, batch), last_states(load_encoder(teacher), batch), atol=0.1)
    assert explained(student, teacher) > 0.999


def test_a_narrower_student_starts_near_the_teacher(teacher):
    narrowed = explained(start(teacher, hidden_size=16, intermediate_size=32), teacher)
    others = [explained(start(teacher, method, hidden_size=16), teacher) for method in ("random", "teacher_embeddings")]
    assert narrowed > max(others) + 0.15, (narrowed, others)


def test_projections_start_where_the_states_of_both_are_nearest(teacher):
    """No other W is nearer, by the squared difference on these texts: its gradient there is nearly 0."""
    student, wide, (batch,) = start(teacher, hidden_size=16), load_encoder(teacher), texts()
    found = projections_of(student, wide, {0: 0, 4: 4}, [batch])
    assert {name: weights.shape for name, weights in found.items()} == {"0": (16, 24), "4": (16, 24)}
    own, theirs = last_states(student, batch), last_states(wide, batch)
    left = own @ found["4"] - theirs
    assert np.abs(own.T @ left / len(own)).max() < 0.02 < 0.1 * np.abs(own.T @ theirs / len(own)).max()
    shared = projections_of(student, wide, {0: 0, 4: 4}, [batch], shared=True)
    assert list(shared) == ["shared"]
    assert np.square(own @ shared["shared"] - theirs).sum() > np.square(left).sum()


def test_fewer_layers_read_what_the_layers_between_would_have_made(teacher):
    narrowed = start(teacher, num_hidden_layers=2, hidden_size=16, layers=[2, 4])
    random = start(teacher, "random", num_hidden_layers=2, hidden_size=16)
    assert explained(narrowed, teacher) > explained(random, teacher) + 0.1, (
        explained(narrowed, teacher),
        explained(random, teacher),
    )


def test_a_student_without_layers_has_the_embeddings_alone(teacher):
    student = start(teacher, num_hidden_layers=0, hidden_size=16, num_attention_heads=4, intermediate_size=64)
    assert explained(student, teacher) > explained(
        start(teacher, "random", num_hidden_layers=0, hidden_size=16), teacher
    )


def test_embeddings_are_channels_of_the_teacher_s_and_the_start_is_the_same_again(teacher):
    one, same = start(teacher, hidden_size=16), start(teacher, hidden_size=16)
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), same.state_dict()[name].numpy())
    own, theirs = base_model(one).embeddings, load_encoder(teacher).embeddings
    columns = {tuple(column) for column in theirs.word_embeddings.weight.numpy().T}
    assert columns.issuperset(tuple(column) for column in own.word_embeddings.weight.numpy().T)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 32}, "hidden_size is 32, the teacher's only 24"),
        ({"intermediate_size": 64}, "intermediate_size is 64, the teacher's only 48"),
        ({"num_attention_heads": 4}, "the teacher has 2, the student 4"),
        ({"num_hidden_layers": 5}, "the student has 5 layers, the teacher only 4"),
        ({"layers": [4, 2, 3, 1]}, "not monotonic"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(teacher, sizes, message):
    with pytest.raises(InputError, match=message):
        start(teacher, **sizes)


def test_a_teacher_with_narrower_embeddings_is_refused():
    electra = {"hidden_size": 24, "embedding_size": 8, "intermediate_size": 48, "num_hidden_layers": 4}
    settings = StudentSettings(**{**WIDE, "hidden_size": 12}, init={"method": "teacher_narrowed"})
    with pytest.raises(InputError, match="embeddings have another width"):
        check_start(settings, {**electra, "num_attention_heads": 2})
