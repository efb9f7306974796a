"""ONNX: the same answers in ONNX Runtime, any batch and length, or nothing is written."""

import numpy as np
import pytest

from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.onnx_graph import export_onnx
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.engines import open_paddle
from paddle_ernie_tiny.errors import GateError, InputError

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("paddle2onnx")


@pytest.mark.parametrize("name", ["classifier", "pair_regressor", "tagger"])
def test_a_converted_bundle_answers_alike(name, request, tmp_path):
    bundle = request.getfixturevalue(name)
    out = tmp_path / "onnx"
    parity = export_onnx(bundle.folder, out, bundle.texts, bundle.texts_b)
    assert parity["max_abs_diff"] <= 1e-4 and parity["rows"] == 48
    assert sorted(read_manifest(out).files) == ["README.md", "model.onnx", "tokenizer.json", "vocab.txt"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "Logits of ONNX Runtime differ" in card and "library_name: onnxruntime" in card and "pdmodel" not in card
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), providers=["CPUExecutionProvider"])
    for batch, length in ((1, 5), (3, 17)):
        ids = np.random.default_rng(batch).integers(5, 40, (batch, length))
        feeds = {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}
        np.testing.assert_allclose(
            session.run(None, feeds)[0], open_paddle(bundle.folder, "cpu", 1, "fp32")(*feeds.values()), atol=1e-4
        )
    predictor = Predictor(out)
    assert predictor.engine == "onnxruntime"
    with pytest.raises(InputError, match="not compared in paddle, only in onnxruntime"):
        Predictor(out, engine="paddle")


def test_logits_beyond_the_tolerance_are_refused(classifier, tmp_path):
    with pytest.raises(GateError, match="nothing was written"):
        export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts, None, 1e-12)
    assert not (tmp_path / "onnx").exists() and not list(tmp_path.glob("*.tmp"))


def test_no_rows_and_a_missing_package_are_refused(classifier, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="needs at least one row"):
        export_onnx(classifier.folder, tmp_path / "onnx", [], None)
    monkeypatch.setattr("paddle_ernie_tiny.engines.find_spec", lambda name: None)
    with pytest.raises(InputError, match="'paddle2onnx' is not installed"):
        export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts, None)
