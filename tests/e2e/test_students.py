"""Several students of one run: they share the teacher and its forwards, and each ends as if it had run alone."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from .conftest import TINY, ernie_tiny

GENERAL = ("1-general", "2-general_enhanced")


@pytest.fixture(scope="module")
def several(finished, tmp_path_factory):
    """(the finished run with its student and a wider one in its place, what was printed)"""
    run = finished.copy(tmp_path_factory.mktemp("several"))
    student = run.config.pop("student")
    run.config["students"] = {"same": student, "wide": {**TINY, "num_hidden_layers": 2, "hidden_size": 12}}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


def report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_the_teacher_is_shared_and_general_stages_train_all_at_once(several):
    run, printed = several
    assert "finetune: already done" in printed
    for name in ("general", "general_enhanced"):
        assert f"{name} of same, wide: done" in printed
    assert "task_adaptive of same: done" in printed and "task_adaptive of wide: done" in printed
    for stage in GENERAL:
        entry = json.loads((run.root / "students" / "same" / "stages" / stage / "done.json").read_text())["result"]
        assert entry["together_with"] == ["wide"]
        assert {key for point in entry["history"] for key in point} == {
            "step",
            "attention_loss",
            "hidden_loss",
            "embedding_loss",
        }


@pytest.mark.parametrize("stage", [*GENERAL, "3-task_adaptive", "4-task_specific"])
def test_each_student_is_what_it_would_be_alone(finished, several, stage):
    alone = load_file(finished.root / "stages" / stage / "final" / "model.safetensors")
    together = load_file(several[0].root / "students" / "same" / "stages" / stage / "final" / "model.safetensors")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, atol=1e-5, err_msg=name)


def test_each_has_a_whole_run_folder_and_the_run_sets_them_side_by_side(several):
    run, printed = several
    overall = report(run.root)
    assert list(overall["students"]) == ["same", "wide"]
    for name, student in overall["students"].items():
        folder = run.root / "students" / name
        assert (run.root / student["bundle"] / "manifest.json").is_file()
        assert (folder / "report.html").is_file() and (folder / "vdl").is_dir()
        assert report(folder)["student"] == student["student"]
        assert f" student {name} " in printed
    done = ernie_tiny("predict", run.root / overall["students"]["wide"]["bundle"], "房间很宽敞")
    assert done.returncode == 0, done.stderr


def test_each_has_a_pruned_vocabulary_if_the_run_asks_for_it(several, tmp_path):
    run = several[0].copy(tmp_path)
    run.config["export"]["prune_vocabulary"] = {"corpus": [], "max_drop_points": 100.0}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [report(run.root / "students" / name)["export"]["vocabulary"] for name in ("same", "wide")]
    assert made[0]["tokens_after"] == made[1]["tokens_after"] < made[0]["tokens_before"]
    saved = [values["parameters_before"] - values["parameters_after"] for values in made]
    assert saved[1] * 8 == saved[0] * 12, "as wide as each student is"


def test_a_student_that_is_added_later_trains_alone(several, tmp_path):
    run = several[0].copy(tmp_path)
    run.config["students"]["late"] = {**TINY, "num_hidden_layers": 1, "hidden_size": 4}
    run.write()
    done = ernie_tiny("run", run.file, "--until", "general")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "general of late: done" in done.stdout and "stopped after general" in done.stdout


def test_one_student_or_several_not_both(unstarted):
    done = ernie_tiny("validate", unstarted.file, "students={a: {num_hidden_layers: 1}}")
    assert done.returncode == 2 and "give student or students, not both" in done.stderr, done.stderr


def test_a_student_that_does_not_fit_is_found_first(several):
    done = ernie_tiny("validate", several[0].file, "students.wide.num_attention_heads=3")
    assert done.returncode == 2 and "equal head counts" in done.stderr, done.stderr
