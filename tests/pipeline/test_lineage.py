"""Finished work is reused only when what decided it is unchanged."""

from paddle_ernie_tiny.files import read_json, write_json
from paddle_ernie_tiny.pipeline.step import StepRecord, differences, identity


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
