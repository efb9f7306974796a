"""The student's head made from the teacher's: it answers to h as the teacher's does to h W."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddlenlp import transformers as nlp
from pydantic import ValidationError

from paddle_ernie_tiny.config import ObjectiveSettings, StageSettings, load_config
from paddle_ernie_tiny.distillation.head_start import check_head_start, head_from_teacher
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.errors import InputError, InputErrors
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline.preflight import preflight
from paddle_ernie_tiny.pipeline.student_start import head_of
from tests.tiny_training import CLASSES, classifier

W = np.random.default_rng(7).normal(size=(8, 16)).astype(np.float32)
LEARNED = {"0.weight": -W, "1.weight": W}  # of the stage before: embeddings and the last layer


def pair(kind=CLASSES, settings=None):
    """A student of one layer, 8 wide, and a teacher of two, 16 wide."""
    paddle.seed(5)
    student, teacher = classifier(1, 8, kind=kind), classifier(2, 16, kind=kind)
    teacher.state_dict()["classifier.bias"].set_value(np.array([0.3, -0.2], np.float32))
    objective = Objective(settings or ObjectiveSettings(), student.config, teacher.config, kind, True)
    return DistilledStudent(student, objective, 16), teacher


def test_a_pooled_head_answers_as_the_teachers_where_the_units_that_count_fit():
    student, teacher = pair()
    weights = teacher.state_dict()
    used = np.array([1, 4, 5, 7, 10, 11, 14, 15])  # as many as the student is wide; the labels differ in no other
    values = np.full((16, 2), 0.5, np.float32)
    values[used, 0], values[used, 1] = np.linspace(1, 2, 8), np.linspace(-1, 0.5, 8)
    values[[0, 2, 3, 6, 8, 9, 12, 13]] = 0.0
    weights["classifier.weight"].set_value(values)
    head_from_teacher(student, teacher, LEARNED)
    states = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    own = student.classifier
    answers = own.classifier(paddle.tanh(own.bert.pooler.dense(paddle.to_tensor(states))))
    expected = teacher.classifier(paddle.tanh(teacher.bert.pooler.dense(paddle.to_tensor(states @ W))))
    np.testing.assert_allclose(answers.numpy(), expected.numpy(), atol=1e-5)


def test_the_units_that_are_kept_are_those_whose_weights_differ_most_between_labels():
    student, teacher = pair()
    values = np.zeros((16, 2), np.float32)
    values[:, 0] = np.arange(16) / 10  # unit 15 differs most
    values[0] = 9.0  # large, but the same for both labels
    teacher.state_dict()["classifier.weight"].set_value(values)
    head_from_teacher(student, teacher, LEARNED)
    np.testing.assert_array_equal(student.classifier.classifier.weight.numpy(), values[8:])


def test_a_head_over_tokens_becomes_the_product():
    student, teacher = pair(KINDS["token_classification"])
    head_from_teacher(student, teacher, LEARNED)
    product = W @ teacher.classifier.weight.numpy()
    np.testing.assert_allclose(student.classifier.classifier.weight.numpy(), product, atol=1e-6)
    np.testing.assert_array_equal(student.classifier.classifier.bias.numpy(), teacher.classifier.bias.numpy())


def test_of_several_labels_per_row_the_units_with_the_largest_weights_are_kept():
    student, teacher = pair(KINDS["multi_label"])
    values = np.zeros((16, 2), np.float32)
    values[:, 0] = np.arange(16) / 10
    values[0] = 9.0  # each label is decided by its own logit, so this unit moves both
    teacher.state_dict()["classifier.weight"].set_value(values)
    head_from_teacher(student, teacher, LEARNED)
    np.testing.assert_array_equal(student.classifier.classifier.weight.numpy(), values[[0, *range(9, 16)]])


def test_the_projection_is_read_of_the_stage_before_whatever_this_stage_compares():
    off = {name: {"weight": 0.0} for name in ("attention", "hidden", "embedding")}
    student, teacher = pair(KINDS["token_classification"], ObjectiveSettings(**off))  # as TinyBERT's last stage
    assert not student.projection_arrays()
    head_from_teacher(student, teacher, {"shared.weight": W})
    np.testing.assert_allclose(
        student.classifier.classifier.weight.numpy(), W @ teacher.classifier.weight.numpy(), atol=1e-6
    )


def test_without_projections_it_is_the_teachers_own_head():
    paddle.seed(5)
    student, teacher = classifier(1, 8), classifier(2, 8)
    objective = Objective(ObjectiveSettings(projection="none"), student.config, teacher.config, CLASSES, True)
    head_from_teacher(DistilledStudent(student, objective, 8), teacher, {})
    for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"):
        np.testing.assert_array_equal(student.state_dict()[name].numpy(), teacher.state_dict()[name].numpy())


def test_a_head_with_a_dense_layer_of_its_own_is_made_as_one_behind_a_pooler():
    sizes = {"vocab_size": 40, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 2}
    models = [
        nlp.RobertaForSequenceClassification(nlp.RobertaConfig(hidden_size=width, num_hidden_layers=layers, **sizes))
        for width, layers in ((8, 1), (16, 2))
    ]
    objective = Objective(ObjectiveSettings(), *(model.config for model in models), CLASSES, True)
    teacher = models[1].state_dict()
    values = np.zeros((16, 2), np.float32)
    values[:8, 0] = np.arange(1, 9)
    teacher["classifier.out_proj.weight"].set_value(values)
    head_from_teacher(DistilledStudent(models[0], objective, 16), models[1], LEARNED)
    own = models[0].state_dict()
    np.testing.assert_array_equal(own["classifier.out_proj.weight"].numpy(), values[:8])
    dense = (W @ teacher["classifier.dense.weight"].numpy())[:, :8]
    np.testing.assert_allclose(own["classifier.dense.weight"].numpy(), dense, atol=1e-6)


def test_vectors_of_an_encoder_alone_become_the_projected_ones():
    kind = KINDS["embedding"].with_settings({"width": 16})

    def encoder(layers, width):
        sizes = {"vocab_size": 40, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 16}
        config = nlp.BertConfig(num_hidden_layers=layers, hidden_size=width, **sizes)
        return kind.model_class(nlp.BertForTokenClassification)(config)

    student, teacher = encoder(1, 8), encoder(2, 16)
    objective = Objective(ObjectiveSettings(), student.config, teacher.config, kind, True)
    head_from_teacher(DistilledStudent(student, objective, 16), teacher, LEARNED)
    np.testing.assert_array_equal(student.classifier.weight.numpy(), W)
    np.testing.assert_array_equal(student.classifier.bias.numpy(), np.zeros(16))


def sizes(layers, width, family="bert"):
    values = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": 2, "model_type": family}
    return values, SimpleNamespace(**values)


def refused(student=(1, 8), teacher=(2, 16), kind=CLASSES, first=False, own_model=False, **settings):
    (own, of_student), (theirs, of_teacher) = sizes(*student), sizes(*teacher)
    before = Objective(ObjectiveSettings(**settings), of_student, of_teacher, kind, False)
    with pytest.raises(InputError) as error:
        check_head_start("stages[3].head", None if first else before, own, theirs, own_model)
    assert "leave head out" in error.value.remedy and error.value.where == "stages[3].head"
    return error.value.what


def test_what_cannot_be_made_is_refused_by_the_configurations():
    assert "the stage before trains none" in refused(first=True)
    assert "the stage before trains none" in refused(hidden={"weight": 0.0})
    assert "learns from the teacher's layer 1; the teacher's head reads layer 2" in refused(layer_map="bottom")
    assert "wider than the teacher (32, 16)" in refused(student=(1, 32))
    vectors = KINDS["embedding"].with_settings({"width": 16})
    assert "its vectors are 16 wide" in refused(student=(1, 16), kind=vectors, projection="none")
    assert "type electra computes another function" in refused((1, 8, "electra"), (2, 16, "bert"), own_model=True)
    assert "type roberta" in refused((1, 8, "roberta"), (2, 16, "electra"), own_model=True)


def test_heads_of_the_same_function_are_not_refused():
    for families in (("bert", "ernie"), ("electra", "electra")):
        (own, of_student), (theirs, of_teacher) = sizes(1, 8, families[0]), sizes(2, 16, families[1])
        before = Objective(ObjectiveSettings(), of_student, of_teacher, CLASSES, False)
        check_head_start("stages[1].head", before, own, theirs, True)
    tags, (wide, of_wide) = KINDS["token_classification"], sizes(1, 32, "electra")
    before = Objective(ObjectiveSettings(), of_wide, of_teacher, tags, False)
    check_head_start("stages[1].head", before, wide, theirs, True)  # one linear layer, whatever the family


def test_preflight_refuses_it_before_anything_is_trained(project_root, tmp_path, monkeypatch):
    monkeypatch.chdir(project_root)
    asked = ["stages.task_specific.head=teacher", f"output_dir={tmp_path / 'run'}"]
    off = "stages.task_adaptive.objective={hidden: {weight: 0.0}}"
    with pytest.raises(InputErrors, match=r"stages\[3\] \(task_specific\)\.head: .*the stage before trains none"):
        preflight(load_config("configs/demo.yaml", [*asked, off]), lambda line: None)
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ([], "teacher"),
        (["stages.task_specific.head=own"], "own"),
        (["stages.task_adaptive.objective={hidden: {weight: 0.0}}"], "own"),  # no projection is learnt before it
        (["objective.layer_map=bottom"], "own"),  # the student's last layer is not the teacher's
    ],
)
def test_auto_is_the_teachers_head_where_one_can_be_made(project_root, tmp_path, monkeypatch, changes, head):
    monkeypatch.chdir(project_root)
    asked = ["stages.task_specific.head=auto", f"output_dir={tmp_path / 'run'}", *changes]
    (context,) = preflight(load_config("configs/demo.yaml", asked), lambda line: None).values()
    assert [head_of(context, index) for index in range(4)] == ["own", "own", "own", head]


def test_auto_leaves_a_head_that_a_stage_has_trained(project_root, tmp_path, monkeypatch):
    monkeypatch.chdir(project_root)
    config = load_config("configs/demo.yaml", [f"output_dir={tmp_path / 'run'}", "stages.task_specific.head=auto"])
    *general, adaptive, last = config.stages
    again = config.model_copy(update={"stages": [*general, adaptive, last, last]})
    (context,) = preflight(again, lambda line: None).values()
    assert [head_of(context, index) for index in (3, 4)] == ["teacher", "own"]


@pytest.mark.parametrize("head", ["auto", "teacher"])
def test_only_a_stage_that_trains_the_head_gives_it_a_start(head):
    with pytest.raises(ValidationError, match=f"head: {head} is for a stage that trains the head; general does not"):
        StageSettings(stage="general", training={"max_steps": 1, "learning_rate": 0.1}, head=head)
