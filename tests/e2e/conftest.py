"""One finished miniature run that the whole-run tests share, and a way to call the command line."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

TINY = {
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def training(steps, **more):
    return {
        "max_steps": steps,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 16,
        "logging_steps": 5,
        **more,
    }


def tiny_config(folder: Path) -> dict:
    """A whole run in seconds: a teacher of 2 layers that is pretrained for a few steps, a student of one."""
    return {
        "output_dir": str(folder / "run"),
        "seed": 1,
        "device": "cpu",
        "task": {"name": "tiny", "labels": ["negative", "positive"], "max_length_tokens": 32},
        "data": {
            "train": str(folder / "train.tsv"),
            "dev": str(folder / "dev.tsv"),
            "test": str(folder / "test.tsv"),
            "columns": {"text": "text", "label": "label"},
        },
        "general_corpus": {"path": str(folder / "general"), "max_length_tokens": 32, "held_out_rows": 20},
        "teacher": {
            "pretrain": {"shape": TINY, "training": training(10), "vocab_size": 800},
            "finetune": training(10),
            "check_above_chance": False,
        },
        "student": {**TINY, "num_hidden_layers": 1, "hidden_size": 8},
        "baseline": training(5),
        "stages": [
            {"stage": name, "training": training(10)}
            for name in ("general", "general_enhanced", "task_adaptive", "task_specific")
        ],
        "export": {"rows": 8},
    }


def write_data(folder: Path, demo: Path) -> None:
    """A few rows of the embedded demo."""
    for split, rows in (("train", 120), ("dev", 40), ("test", 60)):
        lines = (demo / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[: rows + 1]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "general").mkdir()
    lines = next((demo / "general").glob("*.txt")).read_text(encoding="utf-8").splitlines()[:600]
    (folder / "general" / "part.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(*arguments, blocked=()) -> list[str]:
    """The command line as a list; `blocked` modules cannot be imported in that process."""
    block = "".join(f"sys.modules[{name!r}] = None; " for name in blocked)
    code = f"import sys; {block}from paddle_ernie_tiny.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def ernie_tiny(*arguments, blocked=(), **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        command(*arguments, blocked=blocked),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=600,
        **options,
    )


@dataclass
class TinyRun:
    folder: Path
    config: dict

    @property
    def root(self) -> Path:
        return Path(self.config["output_dir"])

    @property
    def file(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def report(self) -> dict:
        return json.loads((self.root / "report.json").read_text(encoding="utf-8"))

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.config, allow_unicode=True), encoding="utf-8")

    def copy(self, target: Path) -> "TinyRun":
        """The same run in another place, so that a test may change it."""
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        copied = TinyRun(
            target,
            yaml.safe_load(self.file.read_text(encoding="utf-8").replace(str(self.folder), str(target))),
        )
        copied.write()
        return copied


@pytest.fixture(scope="session")
def unstarted(tmp_path_factory, project_root) -> TinyRun:
    """Data and configuration of a miniature run that has not begun."""
    folder = tmp_path_factory.mktemp("tiny")
    write_data(folder, project_root / "examples" / "data" / "demo")
    run = TinyRun(folder, tiny_config(folder))
    run.write()
    return run


@pytest.fixture(scope="session")
def finished(unstarted, tmp_path_factory) -> TinyRun:
    """The same run, finished."""
    run = unstarted.copy(tmp_path_factory.mktemp("finished"))
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


NAMES, PLACES = ["王小明", "李华", "张伟", "赵云"], ["北京", "上海", "大理", "哈尔滨"]
FRAMES = ["{p}昨天去了{l}", "我在{l}见到{p}", "{l}的冬天很冷", "{p}说{l}不错", "今天没有人来"]


def tagged_sentence(rng):
    """(characters, BIO tags) of a sentence about people and places."""
    words, tags = [], []
    frame = FRAMES[rng.integers(len(FRAMES))]
    while frame:
        kind = {"{p}": "PER", "{l}": "LOC"}.get(frame[:3])
        text = str(rng.choice(NAMES if kind == "PER" else PLACES)) if kind else frame[0]
        words += text
        tags += [f"B-{kind}"] + [f"I-{kind}"] * (len(text) - 1) if kind else ["O"]
        frame = frame[3 if kind else 1 :]
    return words, tags


@pytest.fixture(scope="session")
def tagger(unstarted, tmp_path_factory) -> TinyRun:
    """A finished run on named entities."""
    run = unstarted.copy(tmp_path_factory.mktemp("tagger"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 90), ("dev", 30), ("test", 40)):
        sentences = [tagged_sentence(rng) for _ in range(count)]
        blocks = ["".join(f"{w} {t}\n" for w, t in zip(*sentence, strict=True)) for sentence in sentences]
        (run.folder / f"{split}.bio").write_text("\n".join(blocks), encoding="utf-8")
    # room for seven of up to 13 characters: most sentences are two windows, or three
    run.config["task"] = {"name": "people-and-places", "kind": "token_classification", "max_length_tokens": 9}
    run.config["stages"][-1]["teacher_signals"] = "cached"  # of windows
    run.config["data"] = {split: str(run.folder / f"{split}.bio") for split in ("train", "dev", "test")}
    run.config["teacher"]["finetune"]["max_steps"] = 40
    run.config["student"]["init"] = {"method": "teacher_narrowed", "layers": "top"}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture(scope="session")
def regressor(unstarted, tmp_path_factory) -> TinyRun:
    """A finished run on pairs with scores from 0 to 5."""
    run = unstarted.copy(tmp_path_factory.mktemp("regressor"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 90), ("dev", 30), ("test", 40)):
        lines = ["text_a\ttext_b\tscore"]
        for _ in range(count):
            first, second = ("".join(tagged_sentence(rng)[0]) for _ in range(2))
            shared = len(set(first) & set(second)) / len(set(first) | set(second))
            lines.append(f"{first}\t{second}\t{5 * shared:.2f}")
        (run.folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run.config["task"] = {"name": "overlap", "kind": "regression", "max_length_tokens": 16, "long_text": "windows"}
    run.config["data"]["columns"] = {"text": "text_a", "text_b": "text_b", "label": "score"}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run
