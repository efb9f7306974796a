"""A run that asks for a benchmark measures teacher and student after the export, and reports it."""

import json

import pytest

from .conftest import ernie_tiny

SETTINGS = ["benchmark.batches=[1]", "benchmark.lengths=[8]", "benchmark.seconds=0.2", "benchmark.rounds=2"]


def test_teacher_and_student_side_by_side(finished, tmp_path):
    run = finished.copy(tmp_path / "run")
    done = ernie_tiny("run", run.file, *SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "benchmark: done" in done.stdout and "export: already done" in done.stdout
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    measured = report["benchmark"]
    assert [r["model"] for r in measured["records"]] == ["teacher", "bundle"]
    assert [m["parameters"] for m in measured["models"]] == [report["teacher"]["params"], report["student"]["params"]]
    assert [r["pipeline"] for r in measured["text"]] == ["usual", "toolkit", "toolkit"]
    assert "rounds_ms" in json.loads((run.root / "benchmark" / "result.json").read_text(encoding="utf-8"))["records"][0]
    assert "## Speed" in (run.root / "report.md").read_text(encoding="utf-8")
    assert (run.root / "report.html").read_text(encoding="utf-8").count("data:image/png") >= 6
    assert not (run.root / "data" / "benchmark" / "teacher").exists()
    card = (run.root / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "## Speed" in card and f"of {measured['environment']['cpu']};" in card
    assert f"| {measured['records'][1]['latency_ms']['p50']:.2f} |" in card


def test_a_run_without_the_section_reports_none(finished):
    assert json.loads((finished.root / "report.json").read_text(encoding="utf-8"))["benchmark"] is None


@pytest.mark.parametrize("override", ["benchmark.batches=[0]", "benchmark.lengths=[513]", "benchmark.engines=[torch]"])
def test_a_wrong_setting_is_refused_before_training(unstarted, override):
    done = ernie_tiny("validate", unstarted.file, override)
    assert done.returncode == 2 and "benchmark" in done.stderr
