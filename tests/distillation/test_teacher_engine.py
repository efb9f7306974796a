"""The teacher in another engine than the dynamic graph: tried on the first rows, and refused with a reason."""

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.distillation import teacher as teacher_module
from paddle_ernie_tiny.distillation.joint import JointDistillation
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Layout, NoTeacher, SignalCache, Teacher
from paddle_ernie_tiny.distillation.trainers import TRAINERS
from paddle_ernie_tiny.stages import STAGES
from paddle_ernie_tiny.terms import Needs
from paddle_ernie_tiny.training.trainer import Training, training_arguments
from tests.tiny_training import SETTINGS, build_objective, classifier, fit, rows

STAGE = STAGES["task_specific"]


def trainer(folder, engine, data=None):
    """The trainer of the last stage on small models, always the same ones."""
    paddle.seed(5)
    student_model, teacher_model = classifier(1, 8), classifier(2, 16)
    objective = build_objective(student_model, teacher_model, STAGE)
    teacher = Teacher(teacher_model, objective.needs("teacher"), engine)
    data = data or rows()
    args = training_arguments(SETTINGS, len(data), folder, folder / "vdl", seed=3)
    student = DistilledStudent(student_model, objective, 16)
    return TRAINERS[STAGE.name](student, teacher, Training(args, data, 0, STAGE.title))


def refuse(monkeypatch, change):
    """Paddle Inference, with what it answers changed."""
    make = teacher_module.in_paddle_inference

    def broken(model, answers):
        run = make(model, answers)
        return lambda *inputs: [change(value) for value in run(*inputs)]

    monkeypatch.setattr(teacher_module, "in_paddle_inference", broken)


@pytest.mark.parametrize("engine", ["inference", "static"])
def test_an_engine_with_the_losses_of_the_dynamic_graph_is_used(tmp_path, capfd, engine):
    tried = trainer(tmp_path / "other", engine)
    record = tried.try_teacher()
    assert record["engine"] == tried.teacher.engine == engine
    assert 0 <= record["largest_difference"] <= 1e-4
    assert f"teacher: engine {engine}; its losses are the dynamic graph's" in capfd.readouterr().out
    plain = trainer(tmp_path / "dynamic", "dynamic")
    assert plain.try_teacher() == {"engine": "dynamic"}
    histories = [fit(each)["history"] for each in (plain, tried)]
    for expected, found in zip(*histories, strict=True):
        for name, value in expected.items():
            if name.endswith("loss"):
                assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_the_student_keeps_its_threads(tmp_path, monkeypatch):
    """Each run of Paddle Inference leaves Paddle with one thread, on which the student would train."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    set_to = []
    monkeypatch.setattr("paddle.base.core.set_num_threads", set_to.append)
    trainer(tmp_path, "inference").try_teacher()
    assert set_to == [3]


@pytest.mark.parametrize(
    ("change", "why"),
    [(lambda value: value * 1.01, "from the dynamic graph's"), (lambda value: value * float("nan"), "nan")],
    ids=["other losses", "no numbers"],
)
def test_an_engine_with_other_losses_is_refused_and_that_is_said(tmp_path, monkeypatch, capfd, change, why):
    refuse(monkeypatch, change)
    tried = trainer(tmp_path / "refused", "inference")
    record = tried.try_teacher()
    said = capfd.readouterr().out
    assert record["engine"] == tried.teacher.engine == "dynamic"
    assert record["refused"].startswith("inference: its losses are up to") and why in record["refused"]
    assert "the dynamic graph is used; the engine inference was refused" in said and why in said
    expected = fit(trainer(tmp_path / "dynamic", "dynamic"))["history"]
    losses = [[entry["loss"] for entry in history] for history in (expected, fit(tried)["history"])]
    assert losses[0] == losses[1], "the training is that of the dynamic graph"


def test_an_engine_that_cannot_be_opened_is_refused(tmp_path, monkeypatch, capfd):
    def broken(model, answers):
        raise RuntimeError("no such pass\nand a long trace")

    monkeypatch.setattr(teacher_module, "in_paddle_inference", broken)
    record = trainer(tmp_path, "inference").try_teacher()
    assert record == {"engine": "dynamic", "refused": "inference: RuntimeError: no such pass"}
    assert "was refused: RuntimeError: no such pass" in capfd.readouterr().out


def test_the_trial_leaves_a_cache_alone_and_a_full_one_needs_no_engine(tmp_path, monkeypatch):
    data = rows()
    tried = trainer(tmp_path / "first", "inference", data)
    layout = Layout(tried.teacher.needs, 16, labels=2)
    tried.teacher.cache = cache = SignalCache(tmp_path / "signals", {"teacher": "x"}, layout, data.lengths)
    assert tried.try_teacher()["engine"] == "inference" and not cache.filled.any()
    fit(tried)
    assert cache.filled.all()
    monkeypatch.setattr(teacher_module, "in_paddle_inference", None)  # calling it would fail
    later = trainer(tmp_path / "later", "inference", data)
    later.teacher.cache = cache
    assert later.try_teacher() == {"engine": "none: all signals are on the disk"}
    fit(later)


def test_one_engine_serves_all_students(tmp_path, monkeypatch):
    """It is refused if it is wrong for one of them."""
    stage, data = STAGES["general"], rows(labelled=False)
    for change, engine in ((lambda value: value, "inference"), (lambda value: value + 0.1, "dynamic")):
        with monkeypatch.context() as patch:
            refuse(patch, change)
            model, students = classifier(4, 16), {}
            for name, shape in {"small": (1, 8), "large": (2, 12)}.items():
                own = classifier(*shape)
                students[name] = DistilledStudent(own, build_objective(own, model, stage), 16)
            needs = Needs.union(student.objective.needs("teacher") for student in students.values())
            args = training_arguments(SETTINGS, len(data), tmp_path / engine, tmp_path / "vdl", seed=3)
            teacher = Teacher(model, needs, "inference")
            joint = JointDistillation(students, teacher, Training(args, data, 0, stage.title))
            assert joint.try_teacher()["engine"] == engine
            assert np.isfinite([entry["loss"] for entry in fit(joint)["history"]]).all()


def test_without_a_teacher_nothing_is_tried(tmp_path):
    tried = trainer(tmp_path, "dynamic")
    tried.teacher = NoTeacher()
    assert tried.try_teacher() == {"engine": "dynamic"}
