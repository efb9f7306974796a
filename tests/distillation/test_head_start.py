"""The student's head made from the teacher's: it answers to h as the teacher's does to h W."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ObjectiveSettings
from paddle_ernie_tiny.distillation.head_start import head_from_teacher
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.stages import STAGES
from tests.tiny_training import CLASSES, build_objective, classifier

LAST = STAGES["task_specific"]


def pair(kind=CLASSES, settings=None, teacher_layers=2):
    paddle.seed(5)
    student, teacher = classifier(1, 8, kind=kind), classifier(teacher_layers, 16, kind=kind)
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
    head_from_teacher(student, teacher)
    states = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    projection = student.projection_arrays()["1.weight"]
    own = student.classifier
    answers = own.classifier(paddle.tanh(own.bert.pooler.dense(paddle.to_tensor(states))))
    expected = teacher.classifier(paddle.tanh(teacher.bert.pooler.dense(paddle.to_tensor(states @ projection))))
    np.testing.assert_allclose(answers.numpy(), expected.numpy(), atol=1e-5)


def test_the_units_that_are_kept_are_those_whose_weights_differ_most_between_labels():
    student, teacher = pair()
    values = np.zeros((16, 2), np.float32)
    values[:, 0] = np.arange(16) / 10  # unit 15 differs most
    values[0] = 9.0  # large, but the same for both labels
    teacher.state_dict()["classifier.weight"].set_value(values)
    head_from_teacher(student, teacher)
    np.testing.assert_array_equal(student.classifier.classifier.weight.numpy(), values[8:])


def test_a_head_over_tokens_becomes_the_product():
    student, teacher = pair(KINDS["token_classification"])
    head_from_teacher(student, teacher)
    product = student.projection_arrays()["1.weight"] @ teacher.classifier.weight.numpy()
    np.testing.assert_allclose(student.classifier.classifier.weight.numpy(), product, atol=1e-6)
    np.testing.assert_array_equal(student.classifier.classifier.bias.numpy(), teacher.classifier.bias.numpy())


def test_it_is_refused_where_the_last_layers_are_not_compared():
    student, teacher = pair(settings=ObjectiveSettings(layer_map="bottom"))
    with pytest.raises(InputError, match="learns from the teacher's layer 1, the head reads layer 2"):
        head_from_teacher(student, teacher)
    without = ObjectiveSettings(hidden={"weight": 0.0}, embedding={"weight": 0.0})
    student, teacher = pair(settings=without)
    with pytest.raises(InputError, match="no learned projection"):
        head_from_teacher(student, teacher)
    assert build_objective(student.classifier, teacher, LAST).layers == {1: 2}
