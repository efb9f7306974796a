"""The stages' trainers on small models: frozen teacher, cached signals, students together, one component a stage."""

import json

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.distillation.joint import JointDistillation, share_of
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Layout, SignalCache, Teacher
from paddle_ernie_tiny.distillation.trainers import TRAINERS
from paddle_ernie_tiny.stages import STAGES
from paddle_ernie_tiny.terms import Needs
from paddle_ernie_tiny.training.trainer import Training, training_arguments
from tests.tiny_training import SETTINGS, build_objective, classifier, fit, rows


@pytest.mark.parametrize("name", ["general", "task_specific"])
def test_a_stage_trains_the_student_and_leaves_the_teacher_alone(tmp_path, name):
    paddle.seed(5)
    stage = STAGES[name]
    student_model, teacher_model = classifier(1, 8), classifier(2, 16, dropout=0.5)
    objective = build_objective(student_model, teacher_model, stage)
    student = DistilledStudent(student_model, objective, 16)
    teacher = Teacher(teacher_model, objective.needs("teacher"))
    before = {n: v.numpy().copy() for n, v in teacher_model.state_dict().items()}
    start = {n: v.numpy().copy() for n, v in student.state_dict().items()}
    data = rows(labelled=stage.label_terms)
    args = training_arguments(SETTINGS, len(data), tmp_path, tmp_path / "vdl", seed=3)
    result = fit(TRAINERS[stage.name](student, teacher, Training(args, data, 0, stage.title)))

    assert not teacher_model.training, "dropout must be off in the teacher"
    for n, value in teacher_model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[n])
    moved = {n for n, v in student.state_dict().items() if not np.array_equal(v.numpy(), start[n])}
    assert "projections.0.weight" in moved and "classifier.bert.embeddings.word_embeddings.weight" in moved
    assert ("classifier.classifier.weight" in moved) == stage.label_terms
    assert result["history"][-1]["loss"] < result["history"][0]["loss"]
    terms = {"attention_loss", "hidden_loss", "embedding_loss"}
    if stage.label_terms:
        terms |= {"soft_label_loss", "hard_label_loss"}
    assert {key for key in result["history"][0] if key.endswith("_loss")} == terms
    json.dumps(result)


def test_cached_signals_give_the_losses_of_an_online_teacher(tmp_path):
    stage, data = STAGES["task_specific"], rows(labelled=True)
    histories, asked = {}, []
    for mode in ("online", "cached"):
        paddle.seed(5)
        student_model, teacher_model = classifier(1, 8), classifier(2, 16)
        objective = build_objective(student_model, teacher_model, stage)
        student = DistilledStudent(student_model, objective, 16)
        teacher = Teacher(teacher_model, objective.needs("teacher"))
        if mode == "cached":
            layout = Layout(objective.needs("teacher"), 16, labels=2)
            cache = SignalCache(tmp_path / "signals", {"teacher": "x"}, layout, data.lengths)
            teacher.cache = cache
            teacher_model.register_forward_post_hook(lambda *_: asked.append(1))
        args = training_arguments(SETTINGS, len(data), tmp_path / mode, tmp_path / "vdl", seed=3)
        histories[mode] = fit(TRAINERS[stage.name](student, teacher, Training(args, data, 0, stage.title)))["history"]
    steps_an_epoch = -(-len(data) // SETTINGS.per_device_train_batch_size)
    assert len(asked) == steps_an_epoch, "the teacher is asked once a row"
    assert SETTINGS.max_steps > 2 * steps_an_epoch
    for online, cached in zip(histories["online"], histories["cached"], strict=True):
        for name in online:
            if name.endswith("loss"):
                assert cached[name] == pytest.approx(online[name], rel=1e-3, abs=1e-6), name


def test_students_together_learn_what_each_learns_alone(tmp_path):
    """Same losses and weights, gradient clipping included, from one teacher forward pass per step for all."""
    stage, data = STAGES["general"], rows(labelled=False)
    settings = SETTINGS.model_copy(update={"max_grad_norm": 0.05})  # clips at every step

    def pair(layers, width):
        paddle.seed(layers)
        student_model, teacher_model = classifier(layers, width), classifier(4, 16)
        paddle.seed(9)
        for parameter in teacher_model.parameters():
            parameter.set_value(paddle.randn(parameter.shape) * 0.1)
        objective = build_objective(student_model, teacher_model, stage)
        return DistilledStudent(student_model, objective, 16), objective, teacher_model

    alone, results = {}, {}
    shapes = {"small": (1, 8), "large": (2, 12)}
    for name, shape in shapes.items():
        student, objective, model = pair(*shape)
        args = training_arguments(settings, len(data), tmp_path / name, tmp_path / "vdl", seed=3)
        teacher = Teacher(model, objective.needs("teacher"))
        results[name] = fit(TRAINERS[stage.name](student, teacher, Training(args, data, 0, stage.title)))["history"]
        alone[name] = {key: value.numpy() for key, value in student.state_dict().items()}

    asked = []
    pairs = {name: pair(*shape) for name, shape in shapes.items()}
    students = {name: student for name, (student, _, _) in pairs.items()}
    model = pairs["small"][2]
    model.bert.register_forward_post_hook(lambda *_: asked.append(1))
    args = training_arguments(settings, len(data), tmp_path / "joint", tmp_path / "vdl", seed=3)
    needs = Needs.union(objective.needs("teacher") for _, objective, _ in pairs.values())
    joint = JointDistillation(students, Teacher(model, needs), Training(args, data, 0, stage.title))
    history = fit(joint)["history"]

    assert len(asked) == settings.max_steps
    for name in shapes:
        own = {key: value.numpy() for key, value in students[name].state_dict().items()}
        for key, value in alone[name].items():
            np.testing.assert_allclose(own[key], value, atol=1e-6, err_msg=f"{name} {key}")
        for mine, entry in zip(history, results[name], strict=True):
            for key in ("attention_loss", "hidden_loss", "embedding_loss"):
                assert share_of(name, mine)[key] == pytest.approx(entry[key], rel=1e-5)


def test_each_stage_changes_exactly_one_component():
    order = [STAGES[name] for name in ("general", "general_enhanced", "task_adaptive", "task_specific")]
    assert list(STAGES.values()) == order
    for earlier, later in zip(order, order[1:], strict=False):
        changed = [c for c in ("teacher", "data", "label_terms") if getattr(earlier, c) != getattr(later, c)]
        assert len(changed) == 1, (earlier, later, changed)
    for stage in order:
        own = {name for name in vars(TRAINERS[stage.name]) if not name.startswith("__")}
        assert own == {"stage"}, "a stage's trainer holds nothing but its row of the table"
        assert TRAINERS[stage.name].stage is stage
