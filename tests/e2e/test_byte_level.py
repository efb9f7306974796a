"""A whole run with RoBERTa's byte pairs, from a folder of transformers to answers: pairs of English texts."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer

from paddle_ernie_tiny.data.tokenization import read_tokenizer
from paddle_ernie_tiny.deploy.predictor import Predictor

from ..byte_pairs import LINES
from ..torch_folders import roberta_folder
from .conftest import TINY, TinyRun, ernie_tiny, training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    roberta_folder(folder / "teacher")
    rng = np.random.default_rng(0)
    words = {"bad": ["bad", "worse", "worst"], "good": ["good", "better", "best"]}
    for split, rows in (("train", 64), ("dev", 16), ("test", 16)):
        lines = ["first\tsecond\tlabel"]
        for index in range(rows):
            label = ("bad", "good")[index % 2]
            lines.append(f"the room is {rng.choice(words[label])} {index}\t Café, 不错 {index}\t{label}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "general").mkdir()
    (folder / "general" / "part.txt").write_text("\n".join(LINES * 2) + "\n", encoding="utf-8")
    stages = [
        {"stage": name, "training": training(4), "teacher_signals": signals}
        for name, signals in (
            ("general", "cached"),
            ("general_enhanced", "online"),
            ("task_adaptive", "cached"),
            ("task_specific", "cached"),
        )
    ]
    config = {
        "output_dir": str(folder / "run"),
        "device": "cpu",
        "task": {"name": "pairs", "labels": ["bad", "good"], "max_length_tokens": 32},
        "data": {
            **{split: str(folder / f"{split}.tsv") for split in ("train", "dev", "test")},
            "columns": {"text": "first", "text_b": "second", "label": "label"},
        },
        "general_corpus": {"path": str(folder / "general"), "max_length_tokens": 32, "held_out_rows": 4},
        "teacher": {"model": str(folder / "teacher"), "finetune": training(4), "check_above_chance": False},
        "student": {**TINY, "num_hidden_layers": 1, "hidden_size": 8},
        "baseline": training(2),
        "stages": stages,
        "export": {"rows": 8},
    }
    run = TinyRun(folder, config)
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_every_folder_of_the_run_has_the_teacher_s_ids(run):
    teacher, final = run.folder / "teacher", run.root / "stages" / "4-task_specific" / "final"
    fingerprints = {read_tokenizer(folder).fingerprint for folder in (teacher, final, run.root / "bundle")}
    assert len(fingerprints) == 1
    assert json.loads((final / "config.json").read_text())["type_vocab_size"] == 1


def test_the_bundle_answers_pairs_with_the_ids_of_transformers(run):
    predictor = Predictor(run.root / "bundle")
    theirs = Tokenizer.from_file(str(run.folder / "teacher" / "tokenizer.json"))
    (row,) = predictor.encode(["the room is good"], [" Café 不错"])[0].windows
    assert row.input_ids == theirs.encode("the room is good", " Café 不错").ids
    assert row.token_type_ids == [0] * len(row.input_ids)
    lines = "the room is good\t Café 不错\nworst\tworst\n"
    done = ernie_tiny("predict", run.root / "bundle", "--input", "-", input=lines)
    assert done.returncode == 0, done.stderr
    own = predictor.predict(["the room is good", "worst"], [" Café 不错", "worst"])
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == [answer.label for answer in own]


def test_what_stands_behind_a_bundle_reads_it_too(run, tmp_path):
    bundle = run.root / "bundle"
    done = ernie_tiny(
        *("quantize", bundle, tmp_path / "int8", "--calibrate", run.folder / "train.tsv"),
        *("--dev", run.folder / "dev.tsv", "--max-drop", "100"),
    )
    assert done.returncode == 0, done.stderr
    assert Predictor(tmp_path / "int8").tokenizer.fingerprint == read_tokenizer(bundle).fingerprint
    assert ernie_tiny("export-serving", bundle, tmp_path / "serving").returncode == 0
    code = (
        "from text.data.tokenization import read_tokenizer as read; print(read('.').encode([' a 不'], ['b']).input_ids)"
    )
    served = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "serving", capture_output=True, text=True, check=True
    )
    assert json.loads(served.stdout) == read_tokenizer(bundle).encode([" a 不"], ["b"]).input_ids
