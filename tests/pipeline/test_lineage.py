"""Finished work is reused only when what decided it is unchanged, and its files are whole."""

import os

import pytest

from paddle_ernie_tiny.files import read_json, write_json
from paddle_ernie_tiny.pipeline.step import RunFolder, StepRecord, differences, identity

from ..damage import delete, flip


def test_differences_name_the_key_and_both_values():
    old = {"a": {"b": 1, "c": 2}, "d": [1]}
    new = {"a": {"b": 1, "c": 3}, "d": [1], "e": "x"}
    assert differences(old, new) == ["a.c: 2 -> 3", 'e: null -> "x"']


def test_a_step_goes_from_new_over_resume_to_done_and_stale(tmp_path):
    folder = tmp_path / "step"
    record = StepRecord(folder, {"rate": 1e-4})
    assert record.state() == ("new", [])
    record.begin(fresh=True)
    assert record.state() == ("resume", [])
    record.finish({"steps": 3})
    assert record.state() == ("done", [])
    assert StepRecord(folder, {"rate": 2e-4}).state() == ("stale", ["rate: 0.0001 -> 0.0002"])


def test_unfinished_work_of_another_configuration_is_stale(tmp_path):
    StepRecord(tmp_path / "s", {"seed": 1}).begin(fresh=True)
    assert StepRecord(tmp_path / "s", {"seed": 2}).state()[0] == "stale"


def test_a_step_that_runs_again_has_another_identity(tmp_path):
    record = StepRecord(tmp_path / "s", {})
    assert identity(tmp_path / "s") == "unfinished"
    record.finish({})
    first = identity(tmp_path / "s")
    record.finish({})
    assert identity(tmp_path / "s") != first


def test_fresh_start_throws_old_files_away_and_resume_keeps_them(tmp_path):
    folder = tmp_path / "s"
    record = StepRecord(folder, {})
    record.begin(fresh=True)
    (folder / "checkpoint").write_text("x")
    record.begin(fresh=False)
    assert (folder / "checkpoint").is_file()
    record.begin(fresh=True)
    assert not (folder / "checkpoint").exists()


def test_a_cut_off_json_file_counts_as_absent(tmp_path):
    path = tmp_path / "done.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a": ')
    assert read_json(path) is None


def finished_step(folder, content="weights"):
    """A step with one file, done; its record as the next run opens it."""
    record = StepRecord(folder, {"seed": 1})
    record.state()
    record.begin(fresh=True)
    (folder / "model").write_text(content)
    record.finish({}, [folder / "model"])
    return StepRecord(folder, {"seed": 1})


@pytest.mark.parametrize("name", ["model", "done.json"])
def test_a_damaged_file_makes_a_step_stale(tmp_path, name):
    record = finished_step(tmp_path / "s")
    assert record.state() == ("done", [])
    flip(tmp_path / "s" / name)
    os.utime(tmp_path / "s" / name, (1, 1))
    state, why = record.state()
    assert state == "stale" and str(tmp_path / "s" / name) in why[0] and "damaged" in why[0]


def test_inputs_that_are_gone_make_unfinished_work_stale(tmp_path):
    record = StepRecord(tmp_path / "s", {})
    record.begin(fresh=True)
    (tmp_path / "s" / "checkpoint").write_text("x")
    delete(tmp_path / "s" / "inputs.json")
    assert record.state() == ("stale", [f"{tmp_path / 's' / 'inputs.json'}: the file is gone"])


@pytest.mark.parametrize(("content", "same"), [("weights", True), ("other weights", False)])
def test_a_damaged_step_keeps_its_identity_if_it_makes_the_same_again(tmp_path, content, same):
    finished_step(tmp_path / "s")
    before = identity(tmp_path / "s")
    delete(tmp_path / "s" / "model")
    finished_step(tmp_path / "s", content)
    assert (identity(tmp_path / "s") == before) == same


def test_a_new_start_leaves_nothing_of_the_run_before(tmp_path, monkeypatch):
    files = [
        "teacher/finetuned/done.json",
        "students/a/report.md",
        "data/sealed.json",
        "vdl/log",
        "config.resolved.yaml",
    ]
    files += ["report.json", "report.md", "report.html", "preflight.json", ".launch/workerlog.0", "mine.txt"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")  # then the launcher is writing its logs
    RunFolder(tmp_path).clear()
    assert {path.name for path in tmp_path.iterdir()} == {".launch", "mine.txt"}
    monkeypatch.delenv("PADDLE_TRAINERS_NUM")
    RunFolder(tmp_path).clear()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt"}
