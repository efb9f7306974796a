"""Teacher signals on disk: shared by stages and runs, followed through changes, refused where they do not belong."""

import json

import pytest

from .conftest import ernie_tiny

CACHED = ["stages.task_adaptive.teacher_signals=cached", "stages.task_specific.teacher_signals=cached"]


def losses(run, step):
    history = json.loads((run.root / step / "done.json").read_text(encoding="utf-8"))["result"]["history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def cached(finished, tmp_path_factory):
    """(the finished run with cached signals in a folder of its own, what was printed)"""
    run = finished.copy(tmp_path_factory.mktemp("cached"))
    done = ernie_tiny("run", run.file, *CACHED, f"signals_folder={run.folder / 'signals'}")
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


def test_preflight_says_what_they_take(cached):
    # 2 layers of 16: embedding, 1 hidden state, 1 query and 1 key of 16 numbers of 2 bytes
    assert "cached teacher signals: 0.1 kB a token" in cached[1]
    assert "1.33 passes over them" in cached[1]


def test_stages_with_the_same_teacher_and_data_share_them(cached):
    run, _ = cached
    folders = list((run.folder / "signals").iterdir())
    assert len(folders) == 1 and folders[0].name.startswith("task-finetuned-")
    assert set((folders[0] / "filled.bin").read_bytes()) == {1}


def test_losses_are_those_of_an_online_teacher(finished, cached):
    for step in ("stages/3-task_adaptive", "stages/4-task_specific"):
        assert losses(cached[0], step) == pytest.approx(losses(finished, step), rel=1e-3)


def test_another_teacher_is_refused_in_a_shared_folder_and_replaced_in_the_run_s_own(cached, tmp_path):
    run = cached[0].copy(tmp_path)
    change = "teacher.finetune.max_steps=6"
    done = ernie_tiny("run", run.file, *CACHED, f"signals_folder={run.folder / 'signals'}", change)
    assert done.returncode == 2 and "made with another teacher" in done.stderr, done.stdout + done.stderr
    for more in ([], [change]):
        done = ernie_tiny("run", run.file, *CACHED, *more, "--until", "task_adaptive")
        assert done.returncode == 0, done.stderr
    assert "teacher signals: made again" in done.stdout


def test_signals_that_do_not_fit_on_the_disk_are_found_first(unstarted):
    done = ernie_tiny("validate", unstarted.file, "stages.general.teacher_signals=cached")
    assert done.returncode == 0 and "0.267 passes over them: none is read twice" in done.stdout, done.stdout
