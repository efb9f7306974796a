"""Students that start from layers, embeddings or a folder carry exactly these weights."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ModelShape, StudentSettings, check_config
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.build import build_masked_lm, count_parameters, load_classifier
from paddle_ernie_tiny.models.initialise import embeddings_by_svd, initial_student, with_sizes
from paddle_ernie_tiny.models.weights import read_weights, save_model, write_weights

SIZES = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
WORDS = [*SPECIAL_TOKENS, *"一二三四五六七八九十"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "model"
    paddle.seed(1)
    model = build_masked_lm(len(WORDS), ModelShape(num_hidden_layers=4, **SIZES))
    save_model(model, WordPieceTokenizer(WORDS), folder)
    return folder


def start(teacher, layers=2, seed=3, init=None, **sizes):
    settings = StudentSettings(num_hidden_layers=layers, **{**SIZES, **sizes}, init=init or {})
    return initial_student(settings, teacher, ["a", "b"], KINDS["classification"], seed)


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_random_starts_depend_on_the_seed_alone(teacher):
    one, same, other = start(teacher), start(teacher), start(teacher, seed=4)
    name = "bert.encoder.layers.0.self_attn.q_proj.weight"
    np.testing.assert_array_equal(arrays(one)[name], arrays(same)[name])
    assert np.abs(arrays(one)[name] - arrays(other)[name]).max() > 0


@pytest.mark.parametrize(("layers", "expected"), [("uniform", (2, 4)), ("top", (3, 4)), ([1, 3], (1, 3))])
def test_layers_are_copies_of_the_teacher_s(teacher, layers, expected):
    own, theirs = arrays(start(teacher, init={"method": "teacher_layers", "layers": layers})), read_weights(teacher)
    for m, g in enumerate(expected):
        for part in ("self_attn.q_proj.weight", "linear2.bias", "norm1.weight"):
            mine, given = f"bert.encoder.layers.{m}.{part}", f"bert.encoder.layers.{g - 1}.{part}"
            np.testing.assert_array_equal(own[mine], theirs[given])
    name = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(own[name], theirs[name])


def test_embeddings_are_the_best_of_their_rank(teacher):
    own = arrays(start(teacher, hidden_size=4, init={"method": "teacher_embeddings"}))
    full = read_weights(teacher)["bert.embeddings.word_embeddings.weight"].astype(np.float64)
    u, s, _ = np.linalg.svd(full, full_matrices=False)
    best = (u[:, :4] * s[:4]) @ (u[:, :4] * s[:4]).T  # inner products; they do not know the basis
    mine = own["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_allclose(mine @ mine.T, best, atol=1e-5)
    assert own["bert.embeddings.position_embeddings.weight"].shape[1] == 4


def test_at_full_width_svd_keeps_every_inner_product():
    rng = np.random.default_rng(0)
    words, places = rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    tables = {"embeddings.word_embeddings.weight": words, "embeddings.position_embeddings.weight": places}
    w, p = embeddings_by_svd({**tables, "embeddings.layer_norm.weight": np.ones(5)}, 5).values()
    np.testing.assert_allclose(w @ p.T, words @ places.T, atol=1e-5)


def test_a_folder_with_the_same_sizes_and_vocabulary(teacher, tmp_path):
    paddle.seed(9)
    model = build_masked_lm(len(WORDS), ModelShape(num_hidden_layers=2, **SIZES))
    save_model(model, WordPieceTokenizer(WORDS), tmp_path / "start")
    own = start(teacher, init={"method": "folder", "folder": str(tmp_path / "start")})
    name = "bert.encoder.layers.1.linear1.weight"
    np.testing.assert_array_equal(arrays(own)[name], read_weights(tmp_path / "start")[name])
    assert count_parameters(own) == count_parameters(start(teacher))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"intermediate_size": 24}, "intermediate_size is 16 here, and 24.*\n.*=16 or less, or leave it out"),
        ({"layers": 5}, "num_hidden_layers is 4 here, and 5.*\n.*=4 or less, or leave it out"),
        ({"hidden_size": 16}, "hidden_size is 8 here, and 16.*\n.*=8, or leave it out"),
        ({"hidden_size": 4}, "hidden_size is 8 here, and 4.*\n.*=8, or leave it out"),
        ({"num_attention_heads": 1}, "num_attention_heads is 2 here, and 1"),
        ({"init": {"layers": [2, 5]}}, "model layer 5 does not exist"),
        ({"init": {"layers": [1, 2, 3]}}, "names 3 layers, the student has 2.*\n.*one model layer for each"),
        ({"init": {"layers": [3, 2]}}, "model layers must not decrease"),
    ],
)
def test_a_folder_that_has_not_what_is_asked_for_is_refused(teacher, sizes, message):
    init = {"folder": str(teacher), **sizes.pop("init", {})}
    with pytest.raises(InputError, match=message):
        start(teacher, init=init, **sizes)


@pytest.fixture
def larger(tmp_path):
    """A classifier of 4 layers with 6 units each: what its weights are is written in them."""
    rng, folder = np.random.default_rng(0), tmp_path / "larger"
    shape = ModelShape(num_hidden_layers=4, hidden_size=4, num_attention_heads=2, intermediate_size=6)
    save_model(build_masked_lm(len(WORDS), shape), WordPieceTokenizer(WORDS), folder)
    model = load_classifier(folder, ["a", "b"], new_head=True)
    for name, value in model.state_dict().items():
        value.set_value(rng.normal(size=value.shape).astype(np.float32))
        if name.endswith("norm1.bias"):
            value.set_value(np.full(4, int(name.split(".")[3]) + 1, np.float32))  # the layer's number, from 1
    along = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]  # products of norms: 6, 1, 8, 0, 5, 7
    for layer in model.bert.encoder.layers:
        layer.linear1.weight.set_value((along * np.array([[3], [1], [4], [9], [1], [7]], np.float32)).T)
        layer.linear2.weight.set_value(along * np.array([[2], [1], [2], [0], [5], [1]], np.float32))
        layer.linear1.bias.set_value(np.arange(10, 16).astype(np.float32))
    save_model(model, WordPieceTokenizer(WORDS), folder)
    return folder


def smaller(folder, init=None, **sizes):
    settings = StudentSettings(**sizes, init={"folder": str(folder), **(init or {})})
    return initial_student(settings, folder, ["a", "b"], KINDS["classification"], 3)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("uniform", (2, 4)), ("top", (3, 4)), ("bottom", (1, 2)), ([1, 4], (1, 4)), ([2, 2], (2, 2)), ([], ())],
)
def test_a_smaller_student_has_layers_of_the_model_and_the_rest_as_it_is(larger, layers, expected):
    own, given = arrays(smaller(larger, {"layers": layers}, num_hidden_layers=len(expected))), read_weights(larger)
    assert [own[f"bert.encoder.layers.{m}.norm1.bias"][0] for m in range(len(expected))] == list(expected)
    for name in own:
        m, _, part = name.removeprefix("bert.encoder.layers.").partition(".")
        theirs = f"bert.encoder.layers.{expected[int(m)] - 1}.{part}" if ".layers." in name else name
        np.testing.assert_array_equal(own[name], given[theirs])
    assert "bert.pooler.dense.weight" in own and "classifier.weight" in own


def test_the_units_that_stay_are_those_with_the_largest_product_of_norms(larger):
    student = smaller(larger, num_hidden_layers=1, intermediate_size=4)
    own, given = arrays(student), read_weights(larger)
    kept = [0, 2, 4, 5]  # 6, 8, 5, 7; not 1 and 0
    layer, theirs = "bert.encoder.layers.0.", "bert.encoder.layers.3."
    np.testing.assert_array_equal(own[f"{layer}linear1.bias"], [10, 12, 14, 15])
    np.testing.assert_array_equal(own[f"{layer}linear1.weight"], given[f"{theirs}linear1.weight"][:, kept])
    np.testing.assert_array_equal(own[f"{layer}linear2.weight"], given[f"{theirs}linear2.weight"][kept])
    np.testing.assert_array_equal(own[f"{layer}linear2.bias"], given[f"{theirs}linear2.bias"])
    assert (student.config.num_hidden_layers, student.config.intermediate_size) == (1, 4)


def test_units_that_add_nothing_can_go_without_a_change(larger):
    """The answers of the model and of a student without its units 1 and 3, whose weights are 0 in the model."""
    weights = read_weights(larger)
    for name in (name for name in weights if name.endswith("linear2.weight")):
        weights[name][[1, 3]] = 0
    write_weights(weights, larger / "model.safetensors")
    ids, given = paddle.to_tensor([[2, 7, 9, 3]]), load_classifier(larger, ["a", "b"])
    student = smaller(larger, intermediate_size=4)
    for model in (given, student):
        model.eval()
    np.testing.assert_allclose(student(ids).numpy(), given(ids).numpy(), atol=1e-5)


def test_a_folder_with_another_vocabulary_keeps_its_own(teacher, tmp_path):
    paddle.seed(9)
    words = [*SPECIAL_TOKENS[::-1], *"九八七"]
    save_model(build_masked_lm(len(words), ModelShape(**SIZES)), WordPieceTokenizer(words), tmp_path / "start")
    own = start(teacher, layers=4, init={"folder": str(tmp_path / "start")})
    name = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(arrays(own)[name], read_weights(tmp_path / "start")[name])
    assert own.config.vocab_size == 8


def run_of(**student):
    """A run with these sections of the student or of several, and a map of three layers."""
    training = {"max_steps": 1}
    sections = {
        "output_dir": "runs/x",
        "task": {"name": "t", "labels": ["a", "b"]},
        "data": {"train": "train.tsv", "dev": "dev.tsv"},
        "teacher": {"model": "some-model", "finetune": training},
        "stages": [{"stage": "task_specific", "training": training, "objective": {"layer_map": [1, 2, 3]}}],
    }
    return check_config({**sections, **student}, "run.yaml")


def test_sizes_that_are_not_given_are_the_model_s(tmp_path):
    sizes = {"num_hidden_layers": 3, "hidden_size": 20, "num_attention_heads": 4, "intermediate_size": 24}
    save_model(build_masked_lm(len(WORDS), ModelShape(**sizes)), WordPieceTokenizer(WORDS), tmp_path / "start")
    start = {"folder": str(tmp_path / "start")}
    config = run_of(student={"init": start, "hidden_size": 20})  # 20 is no multiple of the default of 12 heads
    assert config.student.init.method == "folder", "is implied"
    student = with_sizes(config).student
    assert student.model_dump(include=set(sizes)) == sizes and student.sized
    smaller = with_sizes(run_of(student={"init": start, "num_hidden_layers": 3, "intermediate_size": 8})).student
    assert smaller.model_dump(include=set(sizes)) == {**sizes, "intermediate_size": 8}
    with pytest.raises(InputError, match="num_attention_heads is 4 here, and 2 in the configuration"):
        with_sizes(run_of(student={"init": start, "num_attention_heads": 2}))
    config = with_sizes(run_of(students={"one": {"init": start}, "two": {**sizes, "hidden_size": 8}}))
    assert [run.student.hidden_size for run in config.each_student.values()] == [20, 8]


def test_what_the_sizes_decide_is_checked_once_they_are_known(tmp_path):
    save_model(build_masked_lm(len(WORDS), ModelShape(**SIZES)), WordPieceTokenizer(WORDS), tmp_path / "start")
    with pytest.raises(InputError, match="layer_map names 3 teacher layers, the student has 4"):
        with_sizes(run_of(student={"init": {"folder": str(tmp_path / "start")}}))


@pytest.mark.parametrize(
    ("init", "sizes", "message"),
    [
        ({"method": "teacher_layers"}, {"hidden_size": 4}, "hidden_size is 8, the student's 4"),
        ({"method": "teacher_layers", "layers": [5, 6]}, {}, "teacher layer 5 does not exist"),
        ({"method": "teacher_embeddings"}, {"hidden_size": 16}, "16 wide, the teacher's embeddings only 8"),
    ],
)
def test_what_does_not_fit_the_teacher_is_refused(teacher, init, sizes, message):
    with pytest.raises(InputError, match=message):
        start(teacher, init=init, **sizes)
