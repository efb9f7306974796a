"""Whole runs whose student reads other tokens than its teacher: a published small model by name, and a tagger."""

import hashlib
import json
import shutil
import signal
import subprocess
import time

import numpy as np
import paddle
import pytest
import yaml

from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.models.build import build_masked_lm
from paddle_ernie_tiny.models.weights import save_model

from .conftest import TINY, command, ernie_tiny, training

NAME, WORDS = "uer/chinese-roberta-tiny", ["play", "red", "blue", "going", "sun", "light", "a"]
LETTERS = sorted(set("".join(WORDS)))
STAGE = "stages/1-task_specific"


def letters_folder(folder):
    """A small model whose tokens are letters."""
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS[::-1], *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    save_model(build_masked_lm(tokenizer.vocab_size, ModelShape(**{**TINY, "hidden_size": 8})), tokenizer, folder)
    return folder


def stand_in(home):
    """What PaddleNLP's download of NAME leaves in its cache: weights and vocabulary, no configuration."""
    from paddlenlp.transformers import BertConfig, BertModel

    folder = home / "models" / NAME
    folder.mkdir(parents=True)
    paddle.seed(4)
    model = BertModel(BertConfig(**BertModel.pretrained_init_configuration[NAME]))
    weights = {f"bert.{name}": value for name, value in model.state_dict().items()}
    paddle.save(weights, str(folder / "model_state.pdparams"))
    tokens = [*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    (folder / "chinese_roberta_vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")


def write_run(folder, kind, start, **more):
    """Data of seven words, a teacher whose tokens are these words, and a student that starts from `start`."""
    tokenizer, rng = WordPieceTokenizer([*SPECIAL_TOKENS, *WORDS]), np.random.default_rng(0)
    paddle.seed(3)
    save_model(build_masked_lm(tokenizer.vocab_size, ModelShape(**TINY)), tokenizer, folder / "teacher")
    for split, count in (("train", 80), ("dev", 30), ("test", 40)):
        rows = [[str(word) for word in rng.choice(WORDS, size=rng.integers(2, 7))] for _ in range(count)]
        if kind == "classification":
            lines = [f"{' '.join(row)}\t{'yes' if 'red' in row else 'no'}\n" for row in rows]
        else:
            lines = ["".join(f"{w} {'B-C' if w in ('red', 'blue') else 'O'}\n" for w in row) + "\n" for row in rows]
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    config = {
        "output_dir": str(folder / "run"),
        "device": "cpu",
        "task": {"name": "red", "kind": kind, "labels": ["no", "yes"], "max_length_tokens": 16},
        "data": {split: str(folder / f"{split}.tsv") for split in ("train", "dev", "test")},
        "teacher": {"model": str(folder / "teacher"), "finetune": training(30), "check_above_chance": False},
        "student": {"init": {"folder": str(start)}, "hidden_dropout_prob": 0.0},
        "baseline": training(5),
        "objective": {name: {"weight": 0} for name in ("attention", "hidden", "embedding")},
        "stages": [{"stage": "task_specific", "training": training(100, save_steps=10), "teacher_signals": "cached"}],
        "export": {"rows": 20},
        **more,
    }
    if kind != "classification":
        config["task"]["labels"] = ["O", "B-C"]
        config["data"] |= {"format": "conll"}
    (folder / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """(folder of a finished run whose student has a published name, what was printed)"""
    folder = tmp_path_factory.mktemp("named")
    stand_in(folder / "home")
    write_run(folder, "classification", NAME, augmentation={"copies_per_row": 1, "language": "en"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPNLP_HOME", str(folder / "home"))
        done = ernie_tiny("run", folder / "run.yaml")
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder, done.stdout


def sha256(folder):
    return hashlib.sha256((folder / "run" / STAGE / "final" / "model.safetensors").read_bytes()).hexdigest()


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_sizes_vocabulary_and_report_are_of_the_published_model(named):
    folder, printed = named
    config = read(folder / "run" / STAGE / "final" / "config.json")
    assert (config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]) == (2, 128, 21128)
    resolved = yaml.safe_load((folder / "run" / "config.resolved.yaml").read_text(encoding="utf-8"))["config"]
    assert (resolved["student"]["num_hidden_layers"], resolved["student"]["init"]["folder"]) == (2, NAME)
    tokenizers = read(folder / "run" / "report.json")["tokenizers"]
    own = WordPieceTokenizer.from_folder(folder / "run" / "bundle")
    assert tokenizers["student"] == {"name": NAME, "tokens": own.vocab_size, "fingerprint": own.fingerprint}
    assert tokenizers["teacher"]["tokens"] == len(SPECIAL_TOKENS) + len(WORDS)
    assert f"Tokenizer of the student: {NAME}" in (folder / "run" / "report.md").read_text(encoding="utf-8")
    assert "longer than 16 tokens of the student" in printed and "longer than 16 tokens of the teacher" in printed


def test_the_bundle_answers_what_the_run_measured(named):
    folder, _ = named
    rows = [line.split("\t") for line in (folder / "test.tsv").read_text(encoding="utf-8").splitlines()]
    (folder / "texts.txt").write_text("".join(f"{text}\n" for text, _ in rows), encoding="utf-8")
    done = ernie_tiny("predict", folder / "run" / "bundle", "--input", folder / "texts.txt")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    with np.load(folder / "run" / STAGE / "predictions.npz") as kept:
        assert answers == [("no", "yes")[best] for best in kept["logits"].argmax(-1)]
    right = np.mean([answer == label for answer, (_, label) in zip(answers, rows, strict=True)])
    assert right == pytest.approx(read(folder / "run" / "report.json")["student"]["score"])


def test_a_killed_run_ends_with_the_same_weights(named, tmp_path):
    folder, _ = named
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "data" / "signals")
    again = ["run", folder / "run.yaml", f"output_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command(*again, "--from-stage", "task_specific"), stdout=subprocess.DEVNULL)
    end, checkpoint = time.time() + 240, tmp_path / "run" / STAGE / "checkpoint-30" / "complete"
    while not checkpoint.is_file():  # it is gone from the finished run
        assert process.poll() is None and time.time() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = ernie_tiny(*again, "--until", "task_specific")
    assert done.returncode == 0 and "resuming at step" in done.stdout + done.stderr, done.stdout + done.stderr
    assert "baseline: already done" in done.stdout and sha256(tmp_path) == sha256(folder)


def test_without_the_network_the_remedy_is_told(named, tmp_path, monkeypatch):
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    done = ernie_tiny("validate", named[0] / "run.yaml", "student.init.folder=ernie-3.0-nano-zh")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    text = " ".join(done.stderr.split())
    assert "PaddleNLP could not fetch the model" in text and "ernie-tiny validate" in text
    assert "paddle_ernie_tiny/ernie-3.0-nano-zh" in text
    done = ernie_tiny("validate", named[0] / "run.yaml", "student.init.folder=ernie-3.0-nano-hz")
    assert done.returncode == 2 and "near: ernie-3.0-nano-zh" in " ".join(done.stderr.split()), done.stderr


def test_a_tagger_whose_student_has_more_tokens_per_word(tmp_path):
    """The soft label is between the same words, in the same windows, and fidelity counts them all."""
    write_run(tmp_path, "token_classification", letters_folder(tmp_path / "letters"))
    done = ernie_tiny("run", tmp_path / "run.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    answers = []  # of teacher and student: the label of each (row, place of the word) in rows unseen in training
    for step in ("teacher/finetuned", STAGE):
        with np.load(tmp_path / "run" / step / "predictions.npz") as kept:
            seen: dict[int, int] = {}
            places = [(row, seen.update({row: seen.get(row, -1) + 1}) or seen[row]) for row in kept["rows"].tolist()]
            labels = zip(places, kept["logits"].argmax(-1).tolist(), kept["unseen"], strict=True)
            answers.append({place: label for place, label, unseen in labels if unseen})
    teacher, student = answers
    assert student.keys() == teacher.keys(), "letters take more of the 16 tokens than words, but none is cut off"
    fidelity = read(tmp_path / "run" / "report.json")["fidelity"]["student"]
    assert fidelity["rows"] == len(student)
    assert fidelity["agreement"] == pytest.approx(np.mean([teacher[place] == student[place] for place in student]))
    done = ernie_tiny("predict", tmp_path / "run" / "bundle", "a red sun")
    assert done.returncode == 0 and "entities" in done.stdout, done.stderr
