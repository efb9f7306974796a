"""Preflight warns where a run leaves the region in which a stage was seen to help, and names the result."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.rows import Example
from paddle_ernie_tiny.data.splits import TaskData
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline import evidence
from paddle_ernie_tiny.pipeline.context import RunContext
from paddle_ernie_tiny.pipeline.evidence import EVIDENCE, NARROWED, Evidence, evidence_findings
from paddle_ernie_tiny.stages import STAGES

RATE, TEMPERATURE = "training.learning_rate", "objective.soft_label.temperature"
SEEN = {
    "general": Evidence("study", 38_400, "-2.0 points without it", {RATE: (1e-3, 3e-3)}),
    "task_specific": Evidence("study", 600, "-3.0 points", {RATE: (1e-4, 5e-4), TEMPERATURE: (1.0, 2.0)}),
}


@pytest.fixture
def found(project_root, monkeypatch):
    """(overrides) -> the findings of the demo with 100 training rows."""
    monkeypatch.chdir(project_root)
    monkeypatch.setattr(evidence, "EVIDENCE", SEEN)
    rows = [Example("好", None, 1, line) for line in range(2, 102)]
    data = TaskData(kind=KINDS["classification"], labels=["a", "b"], train=rows, dev=rows, test=rows, test_is_dev=True)

    def findings(*overrides, pool=None, teacher_sizes=None, **changes):
        config = load_config("configs/demo.yaml", overrides).model_copy(update=changes)
        return evidence_findings(RunContext(config, replace(data, pool=pool), None, teacher_sizes))

    return findings


def test_nothing_is_said_inside_the_region(found):
    # the demo: 300 steps of 128 rows are 38,400; 5 epochs of 100 rows would be 500
    assert not found("stages.task_specific.training.num_train_epochs=6")


def test_too_few_rows_name_both_numbers_and_the_result(found):
    (finding,) = found("stages.general.training.max_steps=299", "stages.task_specific.training.num_train_epochs=6")
    assert finding.level == "warning" and finding.where == "stages[0] (general).training"
    assert "goes over 38,272 rows; it was seen to help with 38,400" in finding.what
    assert "docs/results/study: -2.0 points without it" in finding.what and "ernie-tiny ablate" in finding.remedy
    (finding,) = found()
    assert "goes over 500 rows; it was seen to help with 600" in finding.what
    (finding,) = found("stages.task_specific.training.max_steps=18")
    assert "goes over 576 rows" in finding.what, "18 steps of 32 rows"


def test_epochs_go_over_copies_and_unlabelled_rows_too(found):
    # 5 epochs of 100 rows are 500, too few; with a copy of each row 1,000
    assert not found("augmentation={copies_per_row: 1}")
    pool = SimpleNamespace(rows=[Example("好", None, None, line) for line in range(20)])
    assert not found(pool=pool), "5 epochs of 120 rows are the 600"


def test_nothing_is_said_of_a_run_without_a_teacher(found):
    assert found() and not found(teacher=None)


def test_settings_may_be_three_times_off(found):
    enough = "stages.task_specific.training.num_train_epochs=6"
    assert not found(enough, "stages.task_specific.training.learning_rate=1.5e-3")
    (finding,) = found(enough, "stages.task_specific.training.learning_rate=1.6e-3")
    assert finding.where == f"stages[3] (task_specific).{RATE}"
    assert "0.0016 is far from the 0.0001 to 0.0005 with which" in finding.what
    (finding,) = found(enough, "stages.task_specific.objective.soft_label.temperature=8.0")
    assert finding.where.endswith(TEMPERATURE) and "8 is far from the 1 to 2" in finding.what


def test_settings_say_nothing_of_much_wider_students(found, monkeypatch):
    # the demo's student is 64 wide; a tenth of the lowest rate is far off
    slow = ("stages.task_specific.training.num_train_epochs=6", "stages.task_specific.training.learning_rate=1e-5")
    for width, said in ((43, 1), (42, 0)):
        seen = {"task_specific": Evidence("study", 600, "", {RATE: (1e-4, 5e-4)}, width)}
        monkeypatch.setattr(evidence, "EVIDENCE", seen)
        assert len(found(*slow)) == said


TEACHER = {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}


@pytest.mark.parametrize("method", ["random", "teacher_embeddings"])
def test_random_layers_with_little_general_text_are_told_of_the_teacher_s(found, monkeypatch, method):
    # the demo: 300 and 700 steps of 128 rows on general text are 128,000
    start = f"student.init.method={method}"
    monkeypatch.setattr(evidence, "EVIDENCE", {NARROWED: Evidence("study", 42_667, "-5 points without it")})
    (finding,) = found(start, teacher_sizes=TEACHER)
    assert finding.level == "warning" and finding.where == "student.init.method"
    assert "go over 128,000 rows; with 42,667 a start of the teacher's layers" in finding.what
    assert "docs/results/study: -5 points" in finding.what and "teacher_narrowed" in finding.remedy
    assert not found(start), "the teacher's sizes are not known"
    assert not found(start, teacher_sizes={**TEACHER, "hidden_size": 16}), "it is narrower than the student"
    assert not found("student.init.method=teacher_narrowed", teacher_sizes=TEACHER)
    monkeypatch.setattr(evidence, "EVIDENCE", {NARROWED: Evidence("study", 42_666, "")})
    assert not found(start, teacher_sizes=TEACHER), "more than three times as many rows as were tried"


def test_the_table_is_of_results_that_are_there(project_root):
    for stage, known in EVIDENCE.items():
        assert (
            stage in {*STAGES, NARROWED} and (project_root / "docs" / "results" / known.result / "README.md").is_file()
        )
        assert known.rows > 0 and all(0 < low <= high for low, high in known.tried.values())
