"""Every configuration in configs/ runs for a few steps on a miniature of its data, by PaddleNLP's own builder."""

import json

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.config.load import TASKS

from ..miniatures import EN, ZH, install
from .conftest import TINY, training

STAGES = ("general", "general_enhanced", "task_adaptive", "task_specific")


def few_steps(tmp_path, words, gate="check_above_chance: false, ") -> list[str]:
    """Overrides: two steps of everything, a tiny teacher that is pre-trained on a corpus of these words.

    gate: "" leaves the check of the teacher as the configuration has it.
    """
    lines = [" ".join(words[i:] + words[:i]) for i in range(len(words))] * 6
    (tmp_path / "corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    steps = json.dumps(training(2, warmup_ratio=0.0))
    return [
        f"output_dir={tmp_path / 'run'}",
        "device=cpu",
        f"general_corpus={{path: {tmp_path / 'corpus.txt'}, max_length_tokens: 16, held_out_rows: 4}}",
        f"teacher={{{gate}pretrain: {{shape: {json.dumps(TINY)}, training: {steps}, vocab_size: 120}}, "
        f"finetune: {steps}}}",
        f"student={json.dumps({**TINY, 'num_hidden_layers': 1, 'hidden_size': 8})}",
        f"baseline={steps}",
        *(f"stages.{stage}.training={steps}" for stage in STAGES),
        "export.rows=4",
    ]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_few_steps_of_every_configuration(name, project_root, tmp_path, monkeypatch):
    pytest.importorskip("paddlenlp.datasets", reason="needs PaddleNLP")
    install(name, monkeypatch, tmp_path / "home")
    words = EN if TASKS[name].language == "en" else ZH
    from paddle_ernie_tiny.pipeline.run import run

    # WNLI's own says that no teacher is above chance there: its check is as shipped
    steps = few_steps(tmp_path, words, *([""] if name == "wnli" else []))
    file = run(load_config(project_root / "configs" / f"{name}.yaml", steps))
    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["task"], report["metric"]) == (name, TASKS[name].task["metric"])
    assert [stage["steps"] for stage in report["stages"]] == [2, 2, 2, 2]
    assert report["student"]["score"] is not None
    assert set(report["student"]["more_tests"]) == set(TASKS[name].data.get("more_tests", {}))


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("reviews", ["差评", "中评", "好评"]),
        ("few_labels", ["差评", "中评", "好评"]),
        ("people", ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]),
        ("questions", ["score"]),
        ("passages", ["start", "end"]),
    ],
)
def test_a_task_of_one_s_own_takes_eight_lines(name, labels, project_root, tmp_path, monkeypatch):
    monkeypatch.chdir(project_root)
    file = project_root / "examples" / "own_task" / f"{name}.yaml"
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 8
    from paddle_ernie_tiny.pipeline.run import run

    # with the teacher's check as shipped: eight rows are too few to stop anybody, and the report says so
    report = json.loads(run(load_config(file, few_steps(tmp_path, ZH, gate=""))).read_text(encoding="utf-8"))
    assert report["labels"] == labels and report["student"]["rows"] >= 8
    assert report["gate"] and report["teacher"]["chance"]["verdict"] in ("unknown", "above", "constant")
    assert [found["where"] for found in report["preflight"] if found["check"] == "gate"] == ["data.dev"]
