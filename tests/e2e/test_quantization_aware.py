"""A student that int8 harms is trained for it: the gate refuses without, and passes after; killed, it continues.

The student starts with an outlier in the input of two products of each layer, which their weights leave out: a constant
of 120 beside values of about 1. It costs nothing in fp32, but one scale for both leaves the others hardly any steps.
"""

import os
import shutil
import signal
import subprocess

import numpy as np
import paddle
import pytest
import yaml
from safetensors.numpy import load_file

from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.machine import has_vnni
from paddle_ernie_tiny.models.build import build_masked_lm
from paddle_ernie_tiny.models.weights import save_model
from paddle_ernie_tiny.pipeline.verify import verify
from tests.bundles import CHARACTERS, TOKENS

from .conftest import TinyRun, command, ernie_tiny, training

pytestmark = pytest.mark.skipif(not has_vnni(), reason="without VNNI oneDNN's int8 sums saturate, which is no rounding")
OUTLIER = 120.0
STEPS = 200


def save_models(folder):
    """A random model, and the same with outliers: unit 0 of each feed-forward network, and the first value."""
    paddle.seed(3)
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = build_masked_lm(len(TOKENS), ModelShape(**shape, **without), 32)
    for weight in model.parameters():
        if len(weight.shape) == 2:
            weight.set_value(paddle.randn(weight.shape) * 0.2)
    save_model(model, WordPieceTokenizer(TOKENS), folder / "plain")
    for layer in model.bert.encoder.layers:
        for source, target in ((layer.linear1, layer.linear2), (layer.self_attn.v_proj, layer.self_attn.out_proj)):
            bias, weight = source.bias.numpy(), target.weight.numpy()
            bias[0], weight[0] = OUTLIER, 0
            source.bias.set_value(bias)
            target.weight.set_value(weight)
    save_model(model, WordPieceTokenizer(TOKENS), folder / "outliers")


def write_rows(folder):
    """Which of two sets of characters has more of a text's: a, b, or neither."""
    rng = np.random.default_rng(5)
    for split, count in (("train", 1500), ("dev", 400), ("test", 100)):
        lines = ["text\tlabel"]
        for _ in range(count):
            text = "".join(rng.choice(list(CHARACTERS), rng.integers(3, 12)))
            more = sum(c in CHARACTERS[:15] for c in text) - sum(c in CHARACTERS[15:30] for c in text)
            lines.append(f"{text}\t{'a' if more > 0 else 'b' if more < 0 else 'neither'}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run up to its bundle in fp32."""
    folder = tmp_path_factory.mktemp("outliers")
    save_models(folder)
    write_rows(folder)

    def steps(count, **more):
        return training(count, per_device_train_batch_size=32, logging_steps=50, weight_decay=0.0, **more)

    config = {
        "output_dir": str(folder / "run"),
        "seed": 1,
        "device": "cpu",
        "task": {"name": "more", "labels": ["a", "b", "neither"], "max_length_tokens": 16},
        "data": {split: str(folder / f"{split}.tsv") for split in ("train", "dev", "test")},
        "teacher": {"model": str(folder / "plain"), "finetune": steps(300) | {"learning_rate": 3e-3}},
        "student": {"init": {"folder": str(folder / "outliers")}},
        "stages": [
            {
                "stage": "task_specific",
                "teacher_signals": "cached",
                "training": steps(600) | {"learning_rate": 3e-3},
            }
        ],
        "export": {
            "rows": 8,
            "int8": {
                "max_drop_points": 3.0,
                "auto": False,
                "quantization_aware": {"training": steps(STEPS, save_steps=25)},
            },
        },
    }
    run = TinyRun(folder, config)
    run.write()
    done = ernie_tiny("run", run.file, "--until", "export")
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_int8_is_refused_without_training_and_passes_after_it_through_a_kill(exported, tmp_path):
    run, whole = exported.copy(tmp_path / "killed"), exported.copy(tmp_path / "whole")
    run.config["export"]["prune_vocabulary"] = {}  # changes the bundles alone: the training is compared below
    run.write()
    with subprocess.Popen(
        command("run", run.file), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        for line in process.stdout:
            if "quantisation-aware training: dev score" in line and "at step 100" in line:
                os.killpg(process.pid, signal.SIGKILL)
                break
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quantisation-aware training: resuming at step" in done.stdout
    assert "post-training int8:" not in done.stdout, "it is tried once"

    report, manifest = run.report, yaml.safe_load((run.root / "bundle-int8" / "manifest.json").read_text())
    made = manifest["quantization"]["quantization_aware"]
    assert made["steps"] == STEPS and made["post_training"]["drop_points"] > 3.0
    assert report["int8"]["drop_points"] <= 3.0 and report["int8"]["quantization_aware"] == made
    assert report["int8"]["metric_fp32"] == made["post_training"]["metric_fp32"], "of the student before"
    assert manifest["quantization"]["method"].startswith("quantisation-aware training")
    assert manifest["quantization"]["fp32"] == []
    assert manifest["architecture"]["vocab_size"] == manifest["vocabulary"]["tokens_after"] < len(TOKENS) - 300
    assert [curve["name"] for curve in report["training"]][-1] == "quantization_aware"
    assert "Trained for int8 in 200 steps" in (run.root / "report.md").read_text(encoding="utf-8")
    card = (run.root / "bundle-int8" / "README.md").read_text(encoding="utf-8")
    assert "It was trained for int8 in 200 steps" in card
    assert not verify(run.root, lambda line: None)
    again = ernie_tiny("run", run.file)
    assert "quantization_aware: already done" in again.stdout and "quantize: already done" in again.stdout

    done = ernie_tiny("run", whole.file, "--until", "quantization_aware")
    assert done.returncode == 0, done.stdout + done.stderr
    weights = [
        load_file(str(r.root / "stages" / "quantization_aware" / "final" / "model.safetensors")) for r in (run, whole)
    ]
    assert weights[0].keys() == weights[1].keys() and not any("scale" in name for name in weights[0])
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name], err_msg=name)


def test_training_of_the_same_length_without_fake_quantisation_does_not_help(exported, tmp_path):
    """The same steps as a further stage: int8 costs as much as before."""
    run = exported.copy(tmp_path / "control")
    steps = run.config["export"]["int8"].pop("quantization_aware")["training"]
    run.config["stages"].append({**run.config["stages"][0], "training": steps})
    run.write()
    refused = ernie_tiny("run", run.file)
    assert refused.returncode != 0 and "on 400 dev rows falls from" in refused.stderr
    assert not (run.root / "bundle-int8").exists()


def test_what_cannot_be_trained_is_refused_before(exported):
    asked = "export.int8.quantization_aware.training.precision"
    refused = ernie_tiny("run", exported.file, f"{asked}=bfloat16")
    assert refused.returncode == 2 and f"set {asked}=float32" in refused.stderr


def test_a_training_that_does_not_help_is_refused_with_both_figures(exported, tmp_path):
    run = exported.copy(tmp_path / "short")
    run.config["export"]["int8"]["quantization_aware"]["training"]["max_steps"] = 2
    run.write()
    refused = ernie_tiny("run", run.file)
    assert refused.returncode != 0
    assert "without training for int8: accuracy on 400 dev rows falls from" in refused.stderr
    assert "after 2 steps of quantisation-aware training: accuracy on 400 dev rows falls from" in refused.stderr
    assert not (run.root / "bundle-int8").exists() and not (run.root / "data" / "quantize" / "fp32").exists()
    shutil.rmtree(run.root)
