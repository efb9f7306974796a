"""`ernie-tiny export-hf` and its refusals, with an interpreter that plays transformers."""

import errno
import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml

import paddle_ernie_tiny as et
from paddle_ernie_tiny.deploy import torch_folder as writing
from paddle_ernie_tiny.deploy.torch_parity import torch_python
from paddle_ernie_tiny.errors import ErnieTinyError, GateError, InputError
from paddle_ernie_tiny.models.architectures import SENTENCE_HEAD, TOKEN_HEAD
from tests.leaving import changed, theirs

REFUSED = {
    "a pooler without tanh": ("bert", SENTENCE_HEAD, {"pool_act": "relu"}, "pool_act is 'relu'"),
    "another task id": ("ernie", SENTENCE_HEAD, {"task_id": 2}, "task_id is 2"),
    "ELECTRA's head": ("electra", SENTENCE_HEAD, {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    "choices": ("bert", "", {"architectures": ["BertForMultipleChoice"]}, "head of BertForMultipleChoice"),
    "no head for questions": (
        "bert",
        "",
        {"architectures": ["BertForQuestionAnswering"]},
        "2 head weights are missing",
    ),
    "no head": ("bert", "", {"architectures": ["BertForTokenClassification"]}, "2 head weights are missing"),
    "a head without a class": ("bert", SENTENCE_HEAD, {"architectures": None}, "the weights hold a classifier, which"),
    "one of several labels": (
        "bert",
        SENTENCE_HEAD,
        {"problem_type": "multi_label_classification", "id2label": {"0": "a"}},
        "with 1 labels is no kind of task",
    ),
    "one tag": ("bert", TOKEN_HEAD, {"id2label": {"0": "a"}}, "with 1 labels is no kind of task"),
    "labels of another": ("bert", SENTENCE_HEAD, {"id2label": {"0": "a", "1": "b"}}, r"shape \[8, 3\]"),
    "another family": ("bert", "", {"model_type": "gpt2"}, "model type 'gpt2'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_computes_otherwise_is_refused(case, tmp_path):
    family, head, changes, message = REFUSED[case]
    theirs(tmp_path / "model", family, head)
    changed(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=message):
        et.export_hf(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


PLAYER = """#!{python}
import json, sys
sys.path[:] = {path!r}
import numpy as np
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer

folder, asked, answered = sys.argv[3:]
case, rows = {case!r}, json.load(open(asked, encoding="utf-8"))
if case == "no torch":
    print("No module named 'torch'", file=sys.stderr)
    sys.exit(3)
if case == "unreadable":
    raise ValueError("Unrecognized model")
tokenizer = WordPieceTokenizer.from_folder(folder)
about = {{"torch": "2", "transformers": "5", "missing_keys": [], "unexpected_keys": []}}
about["missing_keys"] += ["classifier.weight"] * (case == "missing")
answers = {{}}
for number, row in enumerate(rows):
    ids = tokenizer.encode(row[:1], row[1:] or None, 16).input_ids[0]
    answers[f"{{number}}.ids"] = np.array(ids[:-1] if case == "ids" else ids)
    answers[f"{{number}}.output"] = np.full((1, 3), np.nan if case == "not numbers" else 0, "float32")
np.savez(answered, about=json.dumps(about), **answers)
"""


def player(folder, case):
    path = folder / "python"
    path.write_text(PLAYER.format(python=sys.executable, path=sys.path, case=case), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


GATE = {
    "no torch": (1e-4, InputError, "No module named 'torch'"),
    "unreadable": (1e-4, ErnieTinyError, "(?s)did not read the folder.*Unrecognized model"),
    "missing": (1e-4, GateError, "weights are not those of the folder: classifier.weight"),
    "ids": (1e-4, GateError, "the token ids of .* are .* here"),
    "zeros": (1e-4, GateError, "logits of transformers and PaddleNLP differ by up to"),
    "not numbers": (1e9, GateError, "differ by up to nan"),
    "labels": (1e9, GateError, "of the labels are the same in transformers; nothing was written"),
}


@pytest.mark.parametrize("case", GATE)
def test_a_folder_that_does_not_pass_is_not_delivered(case, tmp_path):
    tolerance, error, message = GATE[case]
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)
    with pytest.raises(error, match=message) as caught:
        et.export_hf(tmp_path / "model", tmp_path / "out", python=player(tmp_path, case), tolerance=tolerance)
    assert ".tmp" not in str(caught.value), "names the folder that was asked for"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "python"]


def test_no_such_interpreter(tmp_path):
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)
    with pytest.raises(InputError, match="no such program"):
        et.export_hf(tmp_path / "model", tmp_path / "out", python=tmp_path / "no-python")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr("paddle_ernie_tiny.deploy.torch_parity._NEEDED", ("no_such_package",))


def test_a_folder_that_was_not_compared_says_so(tmp_path, without_torch):
    theirs(tmp_path / "model", "roberta", TOKEN_HEAD)
    assert torch_python(None) is None
    assert et.export_hf(tmp_path / "model", tmp_path / "out") is None
    assert "Not compared with the Paddle model" in (tmp_path / "out" / "README.md").read_text()
    names = {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"special_tokens_map.json", "README.md"}
    with pytest.raises(InputError, match="the folder is not empty"):
        et.export_hf(tmp_path / "model", tmp_path / "out")


def test_a_full_disk_leaves_nothing(tmp_path, without_torch, monkeypatch):
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)

    def full(weights, file, library):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "write_weights", full)
    with pytest.raises(OSError) as caught:
        et.export_hf(tmp_path / "model", tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def run_folder(root, **config):
    stages = [{"stage": "general"}, {"stage": "task_specific"}]
    values = {"config": {"stages": stages, "task": {"max_length_tokens": 12}, **config}, "run": {}}
    root.mkdir(parents=True)
    (root / "config.resolved.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root


def length_of(out):
    return json.loads((out / "tokenizer_config.json").read_text())["model_max_length"]


def test_a_run_is_its_finished_student(tmp_path, without_torch):
    run = run_folder(tmp_path / "run")
    (run / "stages" / "2-task_specific").mkdir(parents=True)
    with pytest.raises(InputError, match="the run has not come to stages/2-task_specific/final"):
        et.export_hf(run, tmp_path / "out")
    final = run / "stages" / "2-task_specific" / "final"
    theirs(final, "bert", SENTENCE_HEAD)
    et.export_hf(run, tmp_path / "out")
    et.export_hf(final, tmp_path / "same")
    for name in os.listdir(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert length_of(tmp_path / "same") == 12, "rows are cut as in the run"
    et.export_hf(final, tmp_path / "shorter", max_length_tokens=9)
    assert length_of(tmp_path / "shorter") == 9
    shutil.move(final, tmp_path / "alone")
    et.export_hf(tmp_path / "alone", tmp_path / "longest")
    assert length_of(tmp_path / "longest") == 16
    with pytest.raises(InputError, match="--max-length: 17 is more than the model's 16 positions"):
        et.export_hf(tmp_path / "alone", tmp_path / "longer", max_length_tokens=17)


def test_what_is_no_model_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        et.export_hf(tmp_path / "none", tmp_path / "out")
    with pytest.raises(InputError, match="give one of .*/students/small"):
        et.export_hf(run_folder(tmp_path / "run", students={"small": {}}), tmp_path / "out")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").touch()
    with pytest.raises(InputError, match="holds no config.json"):
        et.export_hf(tmp_path / "bundle", tmp_path / "out")
