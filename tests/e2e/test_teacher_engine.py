"""A whole run with everything that `auto` settles switched on: Paddle Inference, cached signals, a kill in between."""

import signal
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file

from paddle_ernie_tiny.seals import read_seal

from .conftest import ernie_tiny

STAGES = [f"stages/{n}" for n in ("1-general", "2-general_enhanced", "3-task_adaptive", "4-task_specific")]
STAGE = STAGES[-1]
OVERRIDES = [f"stages.task_specific.training.{key}" for key in ("max_steps=30", "save_steps=10")]
RUN = """
import os, signal, sys
from paddle_ernie_tiny.machine import import_paddle
import_paddle()
from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.pipeline import teacher_signals
from paddle_ernie_tiny.pipeline.run import run
from paddle_ernie_tiny.watch import Watcher
share, last = float(sys.argv[2]), int(sys.argv[3])
teacher_signals.WORTH, teacher_signals.DISK_SHARE = 1.0, share  # these models are small, and so is their work

def kill(at):
    if at.steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

run(load_config(sys.argv[1], sys.argv[4:]), until="task_specific", watcher=Watcher(kill))
"""


def run(file, share, last, *overrides):
    command = [sys.executable, "-c", RUN, str(file), str(share), str(last), *OVERRIDES, *overrides]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)


def test_a_killed_stage_ends_the_same_though_the_disk_has_filled_up(finished, tmp_path):
    whole, cut = finished.copy(tmp_path / "whole"), finished.copy(tmp_path / "cut")
    done = run(whole.file, 1.0, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "teacher signals, auto: cached" in done.stdout and "teacher: engine inference" in done.stdout
    assert run(cut.file, 1.0, 15).returncode == -signal.SIGKILL
    done = run(cut.file, 0.0, 0)
    assert done.returncode == 0 and "resuming at step 10 of 30" in done.stdout, done.stdout + done.stderr
    records = [read_seal(each.root / STAGE / "done.json") for each in (whole, cut)]
    for record in records:
        assert record["inputs"]["teacher_signals"] == record["result"]["teacher"]["signals"] == "cached"
    assert records[0]["result"]["teacher"]["engine"] == "inference"
    weights = [load_file(each.root / STAGE / "final" / "model.safetensors") for each in (whole, cut)]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(weights[1][name], value, err_msg=name)
    done = run(whole.file, 0.0, 0)  # a finished stage does not run again
    assert done.returncode == 0 and "re-running" not in done.stdout, done.stdout
    assert read_seal(whole.root / STAGE / "done.json")["id"] == records[0]["id"]
    assert any((whole.root / "data" / "signals").iterdir())
    done = ernie_tiny("run", whole.file, *OVERRIDES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_seal(whole.root / STAGE / "done.json")["id"] == records[0]["id"]
    assert not (whole.root / "data" / "signals").exists(), "nobody asked to keep them"


def test_general_stages_and_several_students_ask_the_same_engine(unstarted, tmp_path):
    plain = unstarted.copy(tmp_path / "run")
    student = plain.config.pop("student")
    plain.config["students"] = {"small": student, "large": {**student, "hidden_size": 16}}
    plain.config["baseline"] = None
    plain.config["stages"][2]["training"]["max_steps"] = 20
    plain.write()
    done = run(plain.file, 1.0, 0)
    assert done.returncode == 0, done.stdout + done.stderr
    engines = {
        name: [
            read_seal(plain.root / "students" / name / folder / "done.json")["result"]["teacher"] for folder in STAGES
        ]
        for name in ("small", "large")
    }
    for stage in range(2):  # together
        assert engines["small"][stage] == engines["large"][stage]
        assert engines["small"][stage]["engine"] == "inference"
    kept = [record["engine"] for records in engines.values() for record in records[2:]]
    # both students and both stages need the same states of the same rows
    assert sorted(kept) == ["inference", *["none: all signals are on the disk"] * 3]
