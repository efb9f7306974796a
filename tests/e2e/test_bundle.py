"""A bundle answers alone: without PaddleNLP, verified, with clear refusals."""

import json
import os
import shutil
import time

import numpy as np
import pytest

from tests.serving import serving

from .conftest import ernie_tiny

# What the `serving` extra leaves out (setup.py: TRAINING and BOUNDS).
NO_TRAINING = "paddlenlp datasets visualdl jieba jinja2 matplotlib yaml safetensors tqdm pandas pyarrow aiohttp".split()


@pytest.fixture
def bundle(finished, tmp_path):
    return shutil.copytree(finished.root / "bundle", tmp_path / "bundle")


def test_predict_one_text_without_paddlenlp(bundle):
    done = ernie_tiny("predict", bundle, "房间很宽敞", blocked=NO_TRAINING)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["label"] in ("negative", "positive")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["probability"] == max(answer["probabilities"].values())


def test_training_without_its_packages_says_what_to_install(finished):
    done = ernie_tiny("run", finished.file, blocked=NO_TRAINING)
    assert done.returncode == 2 and "cpu or gpu extra" in done.stderr and "Traceback" not in done.stderr


def test_predict_a_file_in_order(bundle, tmp_path):
    texts = ["房间很宽敞", "服务不好，但是早餐非常丰富，房间也还算整洁", "一般"] * 30
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = ernie_tiny("predict", bundle, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == texts
    for row, twin in zip(rows[:3], rows[3:6], strict=True):
        assert row["label"] == twin["label"]
        assert row["probability"] == pytest.approx(twin["probability"], abs=1e-5)


def test_predict_reads_labelled_files_and_standard_input(finished, bundle, tmp_path):
    lines = (finished.folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1:4]
    texts = [line.split("\t")[0] for line in lines]
    answers = []
    for source, given in ((finished.folder / "test.tsv", None), ("-", "\n".join(texts))):
        done = ernie_tiny("predict", bundle, "--input", source, input=given)
        assert done.returncode == 0, done.stderr
        answers.append([json.loads(line) for line in done.stdout.splitlines()][:3])
    assert [answer["text"] for answer in answers[0]] == [answer["text"] for answer in answers[1]] == texts
    assert [answer["label"] for answer in answers[0]] == [answer["label"] for answer in answers[1]]


def test_evaluate_equals_the_report(finished, bundle):
    done = ernie_tiny("evaluate", bundle, finished.folder / "test.tsv", blocked=NO_TRAINING)
    assert done.returncode == 0, done.stderr
    report = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    found, student = json.loads(done.stdout), report["student"]
    assert found["accuracy"] == pytest.approx(student["score"]) and found["breakdown"] == student["breakdown"]
    assert found["interval"] == pytest.approx(student["interval"])
    assert "precision" in done.stderr and "gold / answer" in done.stderr


def test_static_logits_equal_those_of_training(finished, bundle):
    from paddle_ernie_tiny.deploy.predictor import Predictor

    lines = (finished.folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    logits = Predictor(bundle).logits([line.split("\t")[0] for line in lines])
    with np.load(finished.root / "stages" / "4-task_specific" / "predictions.npz") as recorded:
        np.testing.assert_allclose(logits, recorded["logits"], atol=1e-4)


@pytest.mark.parametrize("name", ["model.pdiparams", "tokenizer.json", "vocab.txt", "model.pdmodel"])
def test_an_altered_file_is_refused(bundle, name):
    with open(bundle / name, "ab") as file:
        file.write(b"x")
    done = ernie_tiny("predict", bundle, "好")
    assert done.returncode == 2 and name in done.stderr and "altered after export" in done.stderr


def test_a_missing_file_and_a_folder_that_is_no_bundle_are_refused(bundle, tmp_path):
    (bundle / "vocab.txt").unlink()
    done = ernie_tiny("predict", bundle, "好")
    assert done.returncode == 2 and "a file of the bundle is missing" in done.stderr
    done = ernie_tiny("predict", tmp_path, "好")
    assert done.returncode == 2 and "not a bundle" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a text or --input FILE"),
        (["好", "坏"], "this bundle takes one text per row"),
        (["  "], "the text is empty"),
        (["--input", "no-such-file"], "no such file"),
    ],
)
def test_wrong_use_exits_2_without_a_traceback(bundle, arguments, message):
    done = ernie_tiny("predict", bundle, *arguments)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_failed_prediction_leaves_the_output_file_alone(bundle, tmp_path):
    (tmp_path / "in.txt").write_bytes("好\n".encode() + b"\xff\n")
    (tmp_path / "out.jsonl").write_text("kept")
    done = ernie_tiny("predict", bundle, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "in.txt:" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == "kept"


def test_export_of_a_checkpoint_and_its_gate(finished, tmp_path):
    final = finished.root / "stages" / "4-task_specific" / "final"
    (tmp_path / "rows.txt").write_text("房间很宽敞\n服务不好\n", encoding="utf-8")
    out = tmp_path / "bundle"
    done = ernie_tiny("export", final, out, "--input", tmp_path / "rows.txt")
    assert done.returncode == 0, done.stderr
    before = (out / "manifest.json").read_bytes()
    refused = ernie_tiny("export", final, out, "--input", tmp_path / "rows.txt", "--tolerance", "1e-12")
    assert refused.returncode == 1 and "nothing was exported" in refused.stderr
    assert (out / "manifest.json").read_bytes() == before, "an older bundle stays as it was"
    assert not list(tmp_path.glob("*.tmp"))


def test_serve_a_runs_bundle_and_answer_within_six_seconds(finished, tmp_path):
    """From the command to the first answer; the bar holds on two free cores, other work may slow it here."""
    start = time.monotonic()
    with serving(tmp_path, finished.root / "bundle", blocked=NO_TRAINING) as server:
        reply = server.ask(body={"texts": ["房间很宽敞", "服务不好"]})
        seconds = time.monotonic() - start
        assert reply.status == 200 and reply.json()["model"] == "run", "the run's folder names the model"
        assert [row["text"] for row in reply.json()["results"]] == ["房间很宽敞", "服务不好"]
        assert server.stop() == 0
    assert seconds < 6 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
