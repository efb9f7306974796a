"""Augmented rows join the stages on task data, are shown in the report, and are not made twice."""

import json

import pytest

from .conftest import ernie_tiny
from .test_kinds import gold_rows

AUGMENTATION = "augmentation={copies_per_row: 1, replace_probability: 0.3}"


@pytest.fixture(scope="module")
def augmented(finished, tmp_path_factory):
    """(the run, what was printed): the finished run once more, with augmentation."""
    run = finished.copy(tmp_path_factory.mktemp("augmented"))
    done = ernie_tiny("run", run.file, AUGMENTATION)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


def test_only_stages_on_task_data_are_made_anew(augmented):
    _, printed = augmented
    for step in ("pretrain", "finetune", "baseline", "general", "general_enhanced"):
        assert f"{step}: already done" in printed
    for step in ("task_adaptive", "task_specific", "export"):
        assert f"{step}: re-running" in printed


def test_the_report_shows_before_and_after(augmented):
    run, _ = augmented
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    made = report["augmentation"]
    assert made["rows"] + made["given_up"] == 120 and made["rows"] > 60
    assert len(made["samples"]) == 20
    for sample in made["samples"]:
        assert sample["after"] and sample["after"] != sample["before"]
    page = (run.root / "report.md").read_text(encoding="utf-8")
    assert made["samples"][0]["after"].replace("|", "\\|") in page


def test_the_rows_are_kept(augmented):
    run, _ = augmented
    file = run.root / "data" / "augmented" / "augmented.jsonl"
    before = file.stat().st_mtime_ns
    done = ernie_tiny("run", run.file, AUGMENTATION, "--from-stage", "task_specific")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mtime_ns == before


def test_augmented_rows_can_carry_the_teacher_s_labels_alone(finished, tmp_path):
    run = finished.copy(tmp_path)
    done = ernie_tiny("run", run.file, "augmentation={copies_per_row: 1, labels: teacher}", "--until", "task_specific")
    assert done.returncode == 0, done.stdout + done.stderr


def test_entities_are_swapped_in_tagged_rows(tagger, tmp_path):  # noqa: F811
    run = tagger.copy(tmp_path)
    done = ernie_tiny("run", run.file, "augmentation={copies_per_row: 2, replace_probability: 0.9}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    originals = {"".join(word for word, _ in row) for row in gold_rows(run.folder / "train.bio")}
    samples = report["augmentation"]["samples"]
    assert samples and all(sample["before"] in originals for sample in samples)
    assert any(sample["after"] not in originals for sample in samples)
