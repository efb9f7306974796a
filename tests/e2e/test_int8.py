"""A run that also makes an int8 bundle: one more step at its end, in the report, gated."""

import json

import pytest

from paddle_ernie_tiny.pipeline.verify import verify

from .conftest import ernie_tiny, training


def test_int8_is_added_to_a_finished_run_and_a_part_that_is_not_there_is_refused(finished, tmp_path):
    run = finished.copy(tmp_path / "run")
    run.config["export"]["int8"] = {"calibration_rows": 16, "max_drop_points": 100.0}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "export: already done" in done.stdout and "quantize: done" in done.stdout
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))["int8"]
    manifest = json.loads((run.root / "bundle-int8" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["precision"] == "int8" and manifest["quantization"]["calibration_rows"] == 16
    assert report["rows"] == 40 and report["metric_int8"] == manifest["parity"]["metric_int8"]
    assert "bundle-int8" in (run.root / "report.md").read_text(encoding="utf-8")
    cards = {name: (run.root / name / "README.md").read_text(encoding="utf-8") for name in ("bundle", "bundle-int8")}
    assert "In int8 (dev split, 40 rows)" in cards["bundle"] and "split: test" in cards["bundle"]
    assert f"value: {report['metric_int8']}\n" in cards["bundle-int8"] and "split: dev" in cards["bundle-int8"]
    assert "README.md" in manifest["files"] and not verify(run.root, lambda line: None)
    evaluated = ernie_tiny("evaluate", run.root / "bundle-int8", run.folder / "dev.tsv")
    assert json.loads(evaluated.stdout)["accuracy"] == manifest["parity"]["metric_int8"]

    # as it passes the gate, there is nothing to train for
    run.config["export"]["int8"]["quantization_aware"] = {"training": training(5)}
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quantization_aware: done" in done.stdout and "quantisation-aware training" not in done.stdout
    untrained = run.report
    assert untrained["int8"] == report and "quantization_aware" not in [c["name"] for c in untrained["training"]]
    assert not verify(run.root, lambda line: None)

    run.config["export"]["int8"] = {"keep_fp32": ["encoder.layers.1.attention"]}
    run.write()
    refused = ernie_tiny("run", run.file)
    assert refused.returncode == 2 and "in a student of 1 layers" in refused.stderr


def test_int8_is_made_for_every_engine_of_the_export(finished, tmp_path):
    for package in ("paddle2onnx", "onnxruntime"):
        pytest.importorskip(package)
    run = finished.copy(tmp_path / "run")
    run.config["export"] |= {
        "engines": ["paddle", "onnxruntime"],
        "int8": {"calibration_rows": 16, "max_drop_points": 100.0},
    }
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    int8 = json.loads((run.root / "report.json").read_text(encoding="utf-8"))["int8"]
    manifest = json.loads((run.root / "bundle-int8" / "manifest.json").read_text(encoding="utf-8"))
    assert list(int8["engines"]) == ["paddle", "onnxruntime"] and int8["engines"]["paddle"] == manifest["parity"]
    assert int8["engines"]["onnxruntime"] == manifest["engines"]["onnxruntime"]
    page = (run.root / "report.md").read_text(encoding="utf-8")
    assert " in paddle, " in page and " in onnxruntime, against " in page
    for engine in ("paddle", "onnxruntime"):
        evaluated = ernie_tiny("evaluate", run.root / "bundle-int8", run.folder / "dev.tsv", "--engine", engine)
        assert json.loads(evaluated.stdout)["accuracy"] == int8["engines"][engine]["metric_int8"]
    assert not verify(run.root, lambda line: None)
