"""Models without layers: the head reads the mean of the embeddings, as NumPy computes it, whatever the padding."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from pydantic import ValidationError

from paddle_ernie_tiny.config import ModelShape, ObjectiveSettings, StudentSettings
from paddle_ernie_tiny.config.schema import PretrainSettings
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.deploy.graph import answer_from_first_token
from paddle_ernie_tiny.deploy.torch_folder import read_leaving
from paddle_ernie_tiny.distillation.head_start import check_head_start
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Teacher
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.architectures import FAMILIES, complete_config
from paddle_ernie_tiny.models.build import _new_model, check_model, last_states, load_classifier, load_encoder
from paddle_ernie_tiny.models.fake_int8 import as_trained, fake_int8
from paddle_ernie_tiny.models.initialise import initial_student
from paddle_ernie_tiny.models.mean_encoder import MeanEncoder
from paddle_ernie_tiny.models.weights import save_model
from tests.bundles import TOKENS

SIZES = {"num_hidden_layers": 0, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
CLASSES = KINDS["classification"]
IDS = np.array([[2, 7, 9, 8, 3], [2, 6, 3, 0, 0]])
LENGTHS = (5, 3)


def build(family, kind=CLASSES, labels=("a", "b", "c"), **sizes):
    config = complete_config({"model_type": family, "vocab_size": len(TOKENS), "pad_token_id": 0, **SIZES, **sizes}, "")
    paddle.seed(3)
    model = _new_model(config, kind.head, list(labels), kind, initializer_range=0.5)
    model.eval()
    return model


def inputs(ids=IDS):
    tensor = paddle.to_tensor(ids)
    types = paddle.to_tensor(np.where(np.arange(ids.shape[1]) > 2, 1, 0) * np.ones_like(ids))
    return {"input_ids": tensor, "token_type_ids": types, "attention_mask": (tensor != 0).astype("float32")}


def embedded(weights, prefix, ids, first_position=0):
    """In NumPy: the embeddings of one row [length, 8], normalised as BERT and ERNIE do."""
    table = {name: weights[f"{prefix}.embeddings.{name}"].numpy() for name in ("layer_norm.weight", "layer_norm.bias")}
    words, places, types = (
        weights[f"{prefix}.embeddings.{name}_embeddings.weight"].numpy() for name in ("word", "position", "token_type")
    )
    at = np.arange(len(ids))
    values = (words[ids] + places[at + first_position] + types[(at > 2).astype(int)]).astype(np.float64)
    values = (values - values.mean(1, keepdims=True)) / np.sqrt(values.var(1, keepdims=True) + 1e-12)
    return values * table["layer_norm.weight"] + table["layer_norm.bias"]


@pytest.mark.parametrize(("family", "first_position"), [("bert", 0), ("ernie", 0), ("roberta", 1)])
def test_the_first_state_is_the_mean_of_the_real_tokens_and_the_others_are_embeddings(family, first_position):
    model = build(family)
    with paddle.no_grad():
        states = last_states(model, inputs()).numpy()
    weights = model.state_dict()
    for row, length in enumerate(LENGTHS):
        expected = embedded(weights, family, IDS[row, :length], first_position)
        np.testing.assert_allclose(states[row, 0], expected.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(states[row, 1:length], expected[1:], atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "ernie"])
def test_logits_are_the_head_s_of_the_mean(family):
    model = build(family)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    with paddle.no_grad():
        logits = model(**inputs()).numpy()
    for row, length in enumerate(LENGTHS):
        mean = embedded(model.state_dict(), family, IDS[row, :length]).mean(axis=0)
        pooled = np.tanh(mean @ weights[f"{family}.pooler.dense.weight"] + weights[f"{family}.pooler.dense.bias"])
        expected = pooled @ weights["classifier.weight"] + weights["classifier.bias"]
        np.testing.assert_allclose(logits[row], expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["classification", "token_classification", "embedding"])
def test_a_row_has_the_same_answer_alone_and_padded_in_a_batch_also_as_it_is_served(family, kind):
    kind = KINDS[kind] if kind != "embedding" else KINDS[kind].with_settings({"width": 3})
    model = build(family, kind, embedding_size=4) if family == "electra" else build(family, kind)
    alone = [inputs(IDS[row : row + 1, :length]) for row, length in enumerate(LENGTHS)]
    with paddle.no_grad():
        batch = model(**inputs()).numpy()
        for row, (length, single) in enumerate(zip(LENGTHS, alone, strict=True)):
            answer = batch[row, :length] if kind.by_token else batch[row]
            np.testing.assert_allclose(model(**single)[0].numpy(), answer, atol=1e-6)
        if kind is CLASSES:
            answer_from_first_token(model)
            np.testing.assert_allclose(model(**inputs()).numpy(), batch, atol=1e-6)
            assert last_states(model, inputs()).shape == [2, 1, 8]


def test_without_a_mask_every_state_counts():
    states = paddle.randn([2, 3, 4])
    np.testing.assert_allclose(MeanEncoder()(states)[:, 0].numpy(), states.numpy().mean(axis=1), atol=1e-6)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "model"
    save_model(build("bert", num_hidden_layers=2), WordPieceTokenizer(TOKENS), folder)
    return folder


def start(teacher, init=None, **sizes):
    settings = StudentSettings(**{**SIZES, **sizes}, init=init or {})
    return initial_student(settings, teacher, ["a", "b", "c"], CLASSES, 3)


def test_a_folder_comes_back_and_is_a_start_but_cannot_leave_paddle(teacher, tmp_path):
    folder, model = tmp_path / "final", start(teacher)
    save_model(model, WordPieceTokenizer(TOKENS), folder)
    model.eval()
    check_model(folder, CLASSES.head, 3)
    again, started = load_classifier(folder, ["a", "b", "c"]), start(teacher, {"folder": str(folder)})
    for loaded in (again, started):
        loaded.eval()
        np.testing.assert_array_equal(loaded(**inputs()).numpy(), model(**inputs()).numpy())
    assert isinstance(load_encoder(folder).encoder, MeanEncoder)
    with pytest.raises(InputError, match="transformers has no such model"):
        read_leaving(folder)


def test_a_start_from_the_teacher_takes_its_embeddings(teacher):
    name = "bert.embeddings.word_embeddings.weight"
    theirs = load_classifier(teacher, ["a", "b", "c"]).state_dict()[name].numpy()
    own = start(teacher, {"method": "teacher_layers"}).state_dict()
    np.testing.assert_array_equal(own[name].numpy(), theirs)
    assert not [name for name in own if ".encoder." in name]


def objective(student, teacher, label_terms=True, **settings):
    return Objective(ObjectiveSettings(**settings), student.config, teacher.config, CLASSES, label_terms)


@pytest.mark.parametrize("heads", [2, 4])  # as many as the teacher or not: no attention is compared
def test_terms_that_compare_layers_are_left_out(teacher, heads):
    student, given = start(teacher, num_attention_heads=heads), load_classifier(teacher, ["a", "b", "c"])
    terms = objective(student, given)
    assert terms.layers == {} and [term.name for term in terms.terms] == ["embedding", "soft_label", "hard_label"]
    distilled, asked = DistilledStudent(student, terms, 8), Teacher(given, terms.needs("teacher"))
    assert list(distilled.projections) == ["0"] and asked.needs.hidden == (0,)
    batch = inputs()
    values = terms(distilled(**batch), asked(batch), batch["attention_mask"], paddle.to_tensor([0, 2]))
    loss = terms.total(values)
    loss.backward()
    assert all(np.isfinite(float(value)) for value in values.values())
    assert float(student.bert.embeddings.word_embeddings.weight.grad.abs().sum()) > 0
    assert [term.name for term in objective(student, given, label_terms=False, embedding={"weight": 0}).terms] == []


def test_a_head_cannot_be_made_from_the_teacher_s(teacher):
    student, given = start(teacher), load_classifier(teacher, ["a", "b", "c"])
    with pytest.raises(InputError, match="the student has no layers.*\n.*leave head out"):
        check_head_start("stages[1].head", objective(student, given), SIZES, {**SIZES, "num_hidden_layers": 2}, False)


def test_fake_int8_rounds_the_table_and_the_head(teacher):
    model = start(teacher)
    model.eval()
    before = model(**inputs()).numpy()
    fake_int8(model, first_token=True)
    model.train()
    model(**inputs())
    model.eval()
    scaled = [name for name in model.state_dict() if name.endswith("input_scale")]
    assert scaled == ["bert.pooler.dense.input_scale", "classifier.input_scale"]
    assert np.abs(model(**inputs()).numpy() - before).max() > 0
    as_trained(model)
    np.testing.assert_array_equal(model(**inputs()).numpy(), before)


def test_a_teacher_is_not_pretrained_without_layers():
    with pytest.raises(ValidationError, match="cannot be predicted without layers"):
        PretrainSettings(shape=ModelShape(**SIZES), training={"max_steps": 1})


def test_a_damaged_number_of_layers_is_still_refused():
    for layers in (-1, 1001, 2.0, True):
        with pytest.raises(InputError, match="num_hidden_layers"):
            complete_config({"model_type": "bert", "num_hidden_layers": layers}, "config.json")
    assert SimpleNamespace(**complete_config({"model_type": "bert", **SIZES}, "")).num_hidden_layers == 0
