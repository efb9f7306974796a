"""Soft labels from a file: the losses of the teacher that gave them, without it, and beside it."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ObjectiveSettings
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Layout, NoTeacher, SignalCache, Teacher
from paddle_ernie_tiny.distillation.trainers import TRAINERS
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.stages import STAGES
from paddle_ernie_tiny.terms import Captured, Needs
from paddle_ernie_tiny.training.inference import predict_outputs
from paddle_ernie_tiny.training.trainer import Training, training_arguments
from tests.tiny_training import CLASSES, SETTINGS, classifier, fit, rows

STAGE, LABELS = STAGES["task_specific"], ["neg", "pos"]
NO_LATENT = {name: {"weight": 0.0} for name in ("attention", "hidden", "embedding")}


def objective_of(student, soft_label, **terms):
    settings = ObjectiveSettings.model_validate({**NO_LATENT, "soft_label": soft_label, **terms})
    return Objective(settings, student.config, student.config, CLASSES, label_terms=True)


def sharp_teacher():
    """A teacher whose answers are far from one another, so that a temperature matters."""
    paddle.seed(7)
    model = classifier(2, 16)
    with paddle.no_grad():
        model.classifier.weight.set_value(model.classifier.weight * 400)
    model.eval()
    return model


def as_file(logits, form):
    """The teacher's answers as a file gives them, read again: float32 [rows, labels]."""
    if form == "logits":
        return np.array([[float(f"{value:.9g}") for value in row] for row in logits], dtype=np.float32)
    values = [CLASSES.soft_values(row, LABELS) for row in logits]
    return np.array([CLASSES.soft_logits(CLASSES.parse_soft(v, LABELS)) for v in values], dtype=np.float32)


def history(folder, data, teacher, soft_label):
    paddle.seed(5)
    model = classifier(1, 8)
    student = DistilledStudent(model, objective_of(model, soft_label), 16)
    args = training_arguments(SETTINGS, len(data), folder, folder / "vdl", seed=3)
    trainer = TRAINERS[STAGE.name](student, teacher, Training(args, data, 0, STAGE.title))
    return fit(trainer)["history"], model


@pytest.mark.parametrize("loss", ["cross_entropy", "kl"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("form", ["probabilities", "logits"])
def test_soft_labels_of_the_teacher_give_the_losses_of_the_teacher_online(tmp_path, loss, temperature, form):
    data, teacher, soft_label = rows(), sharp_teacher(), {"loss": loss, "temperature": temperature}
    logits = np.concatenate(predict_outputs(teacher, CLASSES, data, 0, 64))
    assert np.abs(logits).max() > 3
    online, _ = history(tmp_path / "online", data, Teacher(teacher, Needs(logits=True)), soft_label)
    data.soft = as_file(logits, form)
    alone, _ = history(tmp_path / "file", data, NoTeacher(), soft_label)
    assert len(online) == len(alone) > 2
    for one, other in zip(online, alone, strict=True):
        for name in ("loss", "soft_label_loss", "hard_label_loss"):
            assert other[name] == pytest.approx(one[name], abs=1e-6), name


def test_rows_without_soft_labels_have_those_of_the_teacher_cached_or_not(tmp_path):
    """Half of the rows have soft labels that are another model's; the losses are those of both kinds of rows."""
    data, teacher = rows(), sharp_teacher()
    own = np.full((len(data), 2), np.nan, dtype=np.float32)
    own[::2] = [3.0, -3.0]
    logits = np.concatenate(predict_outputs(teacher, CLASSES, data, 0, 64))
    data.soft = own
    online, _ = history(tmp_path / "online", data, Teacher(teacher, Needs(logits=True)), {})
    layout = Layout(Needs(logits=True), 16, labels=2)
    cache = SignalCache(tmp_path / "signals", {"teacher": "x"}, layout, data.lengths)
    cached, _ = history(tmp_path / "cached", data, Teacher(teacher, Needs(logits=True), cache=cache), {})
    data.soft = np.where(np.isnan(own), logits, own)
    expected, _ = history(tmp_path / "expected", data, NoTeacher(), {})
    for others in (online, cached):
        for one, other in zip(expected, others, strict=True):
            assert other["soft_label_loss"] == pytest.approx(one["soft_label_loss"], abs=1e-6)


def test_without_a_teacher_the_mean_is_over_the_rows_that_have_soft_labels():
    """Cross-entropy of [0.25, 0.75] and a student's [0.5, 0.5] is ln 2, whatever the third row says."""
    student = classifier(1, 8)
    objective = objective_of(student, {}, hard_label={"weight": 0.0})
    own = paddle.to_tensor([[0.0, 0.0], [2.0, 2.0], [9.0, -9.0]])
    soft = paddle.to_tensor(np.log([[0.25, 0.75], [0.5, 0.5], [np.nan, np.nan]]).astype(np.float32))
    known, mask, labels = paddle.to_tensor([True, True, False]), paddle.ones([3, 4]), paddle.to_tensor([0, 1, 1])
    values = objective(Captured(logits=own), Captured(logits=soft, known=known), mask, labels)
    assert float(values["soft_label"]) == pytest.approx(np.log(2), abs=1e-6)
    assert objective.counts(mask, labels, known).tolist() == [2.0]
    none = objective(Captured(logits=own), Captured(logits=soft, known=paddle.zeros_like(known)), mask, labels)
    assert float(none["soft_label"]) == 0.0


def test_a_row_with_neither_label_changes_nothing_without_a_teacher(tmp_path):
    """The same batches of rows that teach, and one that does not: not even a gradient of NaN."""
    data = rows()
    data.soft = np.full((len(data), 2), np.nan, dtype=np.float32)
    data.soft[:5] = np.log([0.2, 0.8])
    data.labels[5:12] = -100
    told, model = history(tmp_path, data, NoTeacher(), {})
    assert all(np.isfinite(entry["loss"]) for entry in told)
    assert all(bool(paddle.isfinite(weight).all()) for weight in model.parameters())


def test_the_soft_label_of_a_regression_takes_the_place_of_the_teacher_score():
    kind = KINDS["regression"]
    value = kind.soft_label("mse", paddle.to_tensor([[1.0]]), paddle.to_tensor([[3.0]]), 1.0, None, paddle.ones([1, 2]))
    assert float(value) == 4.0
