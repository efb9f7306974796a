"""The floor of a run: trained once, kept and sealed, and what it says of a teacher."""

import numpy as np
import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.kinds.scored import Scored
from paddle_ernie_tiny.pipeline import floor as module
from paddle_ernie_tiny.pipeline.context import RunContext
from paddle_ernie_tiny.pipeline.floor import find_floor, floor_findings, gold_answers, judged_teacher, keep_floor
from paddle_ernie_tiny.pipeline.verdicts import of_teacher


@pytest.fixture
def context(project_root, tmp_path, monkeypatch):
    """Of the demo's rows, a few hundred of them."""
    monkeypatch.chdir(project_root)
    config = load_config("configs/demo.yaml", [f"output_dir={tmp_path / 'run'}", "data.train_limit=400"])
    return RunContext(config, load_task_data(config), None, {})


@pytest.fixture
def trained_here(monkeypatch):
    """Trains in this process; gives how often."""
    calls = []

    def here(what, function, *arguments):
        calls.append(what)
        return function(*arguments)

    monkeypatch.setattr(module, "in_child", here)
    return calls


def test_a_floor_is_trained_once_and_a_damaged_one_again(context, trained_here):
    context.floor = first = find_floor(context)
    keep_floor(context)
    again = find_floor(context)
    assert trained_here == ["linear floor"]
    assert again.facts == first.facts and np.array_equal(again.scored.predictions, first.scored.predictions)
    assert first.facts["trained_rows"] == 400 and first.facts["low"] < first.facts["score"] < first.facts["high"]
    kept = context.folder.prepared("floor") / "predictions.npz"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert find_floor(context).facts["score"] == first.facts["score"] and len(trained_here) == 2


def test_it_is_trained_in_a_process_of_its_own(context):
    found = find_floor(context)
    assert 0.4 < found.facts["score"] < 0.8 and len(found.scored.outputs) == len(context.data.test)


def test_a_teacher_below_the_floor_cannot_pay_and_a_perfect_one_can(context, trained_here):
    (note,) = floor_findings({"": context})
    assert note.check == "floor" and "a linear model on n-grams, scores" in note.what and "texts/s" in note.what
    right = gold_answers(context)
    good = judged_teacher(context, right)
    assert good["against_floor"]["pays"] and good["chance"]["verdict"] == "above"
    assert good["against_floor"]["difference"] == pytest.approx(1 - context.floor.facts["score"])
    same = judged_teacher(context, context.floor.scored)
    assert not same["against_floor"]["pays"] and same["against_floor"]["difference"] == 0
    assert "distilling this teacher cannot pay: take another teacher" in same["against_floor"]["sentence"]
    report = {"teacher": same, "floor": context.floor.facts, "gate": True, "kind": "classification"}
    assert len(list(filter(None, of_teacher(report)))) == 3


def test_a_small_split_is_said_beforehand_with_what_would_do(context, trained_here):
    context.data.test = context.data.test[:8]
    small = next(finding for finding in floor_findings({"": context}) if finding.check == "gate")
    assert small.level == "warning" and small.where in ("data.test", "data.dev")
    assert "8 rows are too few or too lopsided" in small.what
    assert "rows like these would do" in small.remedy and "of them with the label" in small.remedy
    constant = np.eye(2)[np.zeros(8, dtype=int)]
    judged = judged_teacher(context, Scored.of(constant, gold_answers(context).gold, context.data.labels))
    assert judged["chance"]["verdict"] == "unknown" and "the run goes on" in judged["chance"]["sentence"]


def test_without_a_teacher_the_student_is_what_is_judged(project_root, monkeypatch, trained_here):
    monkeypatch.chdir(project_root)
    config = load_config("examples/own_task/soft_labels.yaml", [])
    said = [f.what for f in floor_findings({"": RunContext(config, load_task_data(config), None, {})})]
    assert "tell a student from chance" in said[0] and "a student that is not above it is not worth having" in said[1]
    assert not any("teacher" in what for what in said)
