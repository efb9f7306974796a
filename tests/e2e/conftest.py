"""One finished miniature run that the whole-run tests share, and a way to call the command line."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
