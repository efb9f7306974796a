"""A student without layers through a whole run: distilled, exported for every engine and in int8, served."""

import json

import numpy as np
import pytest

from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.models.prune import prune_vocabulary
from paddle_ernie_tiny.models.weights import read_weights
from paddle_ernie_tiny.pipeline.verify import verify

from .conftest import ernie_tiny


@pytest.fixture(scope="module")
def averaged(unstarted, tmp_path_factory):
    run = unstarted.copy(tmp_path_factory.mktemp("averaged"))
    run.config["student"]["num_hidden_layers"] = 0
    run.config["stages"] = [stage for stage in run.config["stages"] if stage["stage"] != "general_enhanced"]
    run.config["stages"][-1]["teacher_signals"] = "cached"
    run.config["export"] |= {
        "engines": ["paddle", "onnxruntime", "openvino"],
        "int8": {"calibration_rows": 16, "max_drop_points": 100.0},
    }
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def test_the_report_has_its_size_and_finite_losses_of_what_can_be_compared(averaged):
    report = averaged.report
    assert report["made"]["student"]["num_hidden_layers"] == 0
    finals = read_weights(averaged.root / "stages" / "3-task_specific" / "final")
    assert not [name for name in finals if ".encoder." in name]
    assert report["student"]["params"] == sum(value.size for value in finals.values())
    assert all(set(row) == {"stage", "embedding"} for table in report["latent"] for row in table["after"])
    assert all(np.isfinite(row["embedding"]) for table in report["latent"] for row in table["after"])
    assert "0 layers, 8 wide" in (averaged.root / "report.md").read_text(encoding="utf-8")
    assert not verify(averaged.root, lambda line: None)


def test_every_engine_and_int8_give_the_answers_of_the_model_alone_and_in_a_batch(averaged):
    texts = ["房间很宽敞", "服务不好，再也不来了", "好"]
    for bundle, engines in (("bundle", ["paddle", "onnxruntime", "openvino"]), ("bundle-int8", ["paddle", "openvino"])):
        manifest = json.loads((averaged.root / bundle / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["architecture"]["num_hidden_layers"] == 0
        for engine in engines:
            served = Predictor(averaged.root / bundle, engine=engine)
            batch, alone = served.logits(texts), np.concatenate([served.logits([text]) for text in texts])
            np.testing.assert_allclose(alone, batch, atol=1e-5)
    manifest = json.loads((averaged.root / "bundle-int8" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["quantization"]["int8"] == ["embeddings", "head"]


def test_its_vocabulary_is_pruned_and_the_answers_stay(averaged, tmp_path):
    texts = ["房间很宽敞", "服务不好"]
    final = averaged.root / "stages" / "3-task_specific" / "final"
    assert prune_vocabulary(final, tmp_path / "pruned", texts)["tokens_after"] < 800
    (tmp_path / "rows.txt").write_text("\n".join(texts), encoding="utf-8")
    done = ernie_tiny("export", tmp_path / "pruned", tmp_path / "bundle", "--input", tmp_path / "rows.txt")
    assert done.returncode == 0, done.stderr
    small, whole = (Predictor(folder).logits(texts) for folder in (tmp_path / "bundle", averaged.root / "bundle"))
    np.testing.assert_allclose(small, whole, atol=1e-5)


def test_a_stage_that_only_compares_layers_and_a_head_of_the_teacher_s_are_refused_before_any_work(averaged, tmp_path):
    run = averaged.copy(tmp_path / "run")
    run.config["output_dir"] = str(tmp_path / "new")
    run.config["objective"] = {"embedding": {"weight": 0.0}}
    run.config["stages"][-1]["head"] = "teacher"
    run.write()
    refused = ernie_tiny("validate", run.file)
    assert refused.returncode == 2
    assert (
        "attention, hidden compare layers, the student has none, so the stage general learns nothing" in refused.stderr
    )
    del run.config["objective"]
    run.write()
    refused = ernie_tiny("validate", run.file)
    assert refused.returncode == 2 and "its head reads the mean of its embeddings" in refused.stderr
