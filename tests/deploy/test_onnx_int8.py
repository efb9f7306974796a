"""int8 in ONNX: the arithmetic by hand on one small graph, and bundles whose engines compute in int8."""

import json

import numpy as np
import pytest

from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.onnx_graph import export_onnx
from paddle_ernie_tiny.deploy.onnx_int8 import OnnxQuantizer
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.quantize import QuantizeRequest, quantize_bundle
from paddle_ernie_tiny.engines import IN_ONNX
from paddle_ernie_tiny.errors import ErnieTinyError, GateError, InputError
from paddle_ernie_tiny.machine import has_vnni

from .test_quantize import PARTS, relative_error

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
for package in ("paddle2onnx", *IN_ONNX):
    pytest.importorskip(package)
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

EVERY = ["paddle", *IN_ONNX]
RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(5, 4)).astype(np.float32)
TABLE[0] = 0  # as [PAD]'s
WEIGHTS = [RANDOM.normal(size=(4, 4)).astype(np.float32) for _ in range(7)]
BIAS = RANDOM.normal(size=4).astype(np.float32)


def small_graph(path):
    """The least that has the parts of one layer: an embedding, six products, a softmax, a head with a bias."""
    constants = {"table": TABLE, **{f"w{i}": w for i, w in enumerate(WEIGHTS)}, "bias": BIAS}
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(6)]
    nodes += [
        helper.make_node("Softmax", ["x6"], ["soft"]),
        helper.make_node("ReduceMean", ["soft"], ["row"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["row", "w6"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, [None, None]) for n in ("input_ids", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 4])]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, tensors))
    model.opset_import[0].version, model.ir_version = 17, 8
    onnx.save(model, path)
    return model


IDS = np.array([[1, 2, 3], [4, 0, 2]])


def rounded_weights(w, axis=0):
    """int8 with a scale for each output channel, by hand; of a table for each row."""
    scales = np.abs(w).max(axis=axis, keepdims=True) / 127
    return np.rint(w / np.where(scales == 0, 1, scales)) * scales


def by_hand(keep):
    """The graph's logits in NumPy. `keep`: parts that stay in fp32."""
    x = (TABLE if "embeddings" in keep else rounded_weights(TABLE, axis=1))[IDS]
    seen = TABLE[IDS]  # calibration sees the values of fp32
    for number, w in enumerate(WEIGHTS[:6]):
        part = f"encoder.layers.0.{'attention' if number < 4 else 'feed_forward'}"
        x = x @ w if part in keep else on_grid_of(x, seen) @ rounded_weights(w)
        seen = seen @ w
    x, seen = (np.exp(v) / np.exp(v).sum(-1, keepdims=True) for v in (x, seen))
    x, seen = x.mean(1), seen.mean(1)
    return (x @ WEIGHTS[6] if "head" in keep else on_grid_of(x, seen) @ rounded_weights(WEIGHTS[6])) + BIAS


def on_grid_of(x, seen):
    """uint8 with a zero point, over the range of what calibration saw, by hand."""
    low, high = min(seen.min(), 0), max(seen.max(), 0)
    step = (high - low) / 255
    zero = np.round(-low / step)
    return (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step


@pytest.mark.parametrize(
    "keep", [[], ["embeddings"], ["head"], ["encoder.layers.0.attention", "head"], ["encoder.layers.0.feed_forward"]]
)
def test_the_arithmetic_is_that_of_int8(tmp_path, keep):
    small_graph(tmp_path / "fp32.onnx")
    quantizer = OnnxQuantizer(tmp_path / "fp32.onnx", [(IDS, np.zeros_like(IDS))])
    assert {part: len(weights) for part, weights in quantizer.parts.items()} == {
        "embeddings": 0,
        "encoder.layers.0.attention": 4,
        "encoder.layers.0.feed_forward": 2,
        "head": 1,
    }
    quantizer.write(tmp_path, keep)
    options = onnxruntime.SessionOptions()  # every node as it is written: no kernels of int8
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input_ids": IDS, "token_type_ids": IDS})
    np.testing.assert_allclose(found, by_hand(keep), atol=1e-3)  # float32, and the bias as a whole number of int32
    fp32 = by_hand([*quantizer.parts])
    assert np.abs(found - fp32).max() > 2e-3, "int8 is not fp32"


def test_constants_are_stored_in_a_byte_each_and_once(tmp_path):
    small_graph(tmp_path / "fp32.onnx")
    OnnxQuantizer(tmp_path / "fp32.onnx", [(IDS, IDS * 0)]).write(tmp_path, ["head"])
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert stored["table_int8"].dtype == np.int8 and stored["w0_int8"].dtype == np.int8 and "w0" not in stored
    assert stored["w6"].dtype == np.float32 and "table" not in stored
    np.testing.assert_array_equal(np.abs(stored["w0_int8"]).max(axis=0), 127)
    np.testing.assert_allclose(stored["w0_scale"], np.abs(WEIGHTS[0]).max(axis=0) / 127, rtol=1e-6)
    assert stored["table_scale"].shape == (5, 1) and stored["table_scale"][0] == 1 and not stored["table_int8"][0].any()


def test_a_table_whose_row_of_padding_is_masked_is_one_table(tmp_path):
    """As the converter writes ERNIE's and RoBERTa's: the table times a column, 0 for [PAD]."""
    model = small_graph(tmp_path / "plain.onnx")
    graph = model.graph
    graph.node[0].input[0] = "masked"
    graph.node.insert(0, helper.make_node("Mul", ["full", "column"], ["masked"]))
    full, column = TABLE.copy(), np.array([[0], [1], [1], [1], [1]], np.float32)
    full[0] = 9.0
    graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in (("full", full), ("column", column)))
    onnx.save(model, tmp_path / "fp32.onnx")
    OnnxQuantizer(tmp_path / "fp32.onnx", [(IDS, IDS * 0)]).write(tmp_path, ["head"])
    written = onnx.load(tmp_path / "model.onnx").graph
    stored = {t.name: numpy_helper.to_array(t) for t in written.initializer}
    assert stored["masked_int8"].shape == (5, 4) and not stored["masked_int8"][0].any()
    assert not {"full", "column", "table"} & stored.keys() and "Mul" not in [n.op_type for n in written.node][:3]


def test_a_graph_that_is_no_encoder_is_refused(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input_ids"], ["y"])],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [None])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(ErnieTinyError, match="not the graph of an encoder: input_ids are looked up in no table"):
        OnnxQuantizer(tmp_path / "other.onnx", [])


def quantize(bundle, out, **options):
    options = {"max_drop_points": 100.0, "auto": False, **options}
    return quantize_bundle(QuantizeRequest(str(bundle.folder), str(out), bundle.rows(16), bundle.rows(), **options))


@pytest.fixture(scope="module")
def everywhere(classifier, tmp_path_factory):
    """An int8 bundle of a bundle without model.onnx, for every engine."""
    out = tmp_path_factory.mktemp("everywhere") / "bundle-int8"
    return out, quantize(classifier, out, engines=EVERY)


def test_the_bundle_holds_both_graphs_and_the_figures_of_each_engine(classifier, everywhere):
    folder, parity = everywhere
    manifest = read_manifest(folder)
    assert manifest.precision == "int8" and manifest.runs_in == EVERY
    assert {"model.pdmodel", "model.pdiparams", "model.onnx"} < manifest.files.keys()
    assert (
        not [path for path in folder.iterdir() if path.is_dir()]
        and "model.onnx" not in read_manifest(classifier.folder).files
    )
    assert manifest.figures == {"paddle": parity, **manifest.engines} and list(manifest.figures) == EVERY
    for figures in manifest.figures.values():
        assert figures["metric_fp32"] == 1.0 and figures["rows"] == 48
        assert figures["drop_points"] == pytest.approx(100 * (1 - figures["metric_int8"]))
        assert figures["max_abs_diff"] > 0
    assert manifest.quantization["int8"] == manifest.quantization["onnx"]["int8"] == PARTS
    card = (folder / "README.md").read_text(encoding="utf-8")
    for title in ("Paddle Inference", "ONNX Runtime", "OpenVINO"):
        assert f"int8 in {title}: accuracy " in card
    assert card.count("Left in fp32: nothing") == 1
    assert json.loads((folder / "manifest.json").read_text())["versions"]["quantized_with_onnx"] == onnx.__version__


@pytest.mark.parametrize("name", ["classifier", "pair_regressor", "tagger"])
def test_logits_are_close_to_fp32_in_both_engines(name, request, tmp_path):
    bundle = request.getfixturevalue(name)
    quantize(bundle, tmp_path / "int8", engines=list(IN_ONNX))
    manifest = read_manifest(tmp_path / "int8")
    assert manifest.runs_in == list(IN_ONNX) and "model.pdmodel" not in manifest.files
    fp32 = np.concatenate(Predictor(bundle.folder).outputs(bundle.texts, bundle.texts_b))
    size = np.sqrt(np.square(fp32).mean())
    for engine in IN_ONNX:
        found = np.concatenate(Predictor(tmp_path / "int8", engine=engine).outputs(bundle.texts, bundle.texts_b))
        # without VNNI the engines' kernels for uint8 x int8 may saturate
        assert 0 < np.sqrt(np.square(found - fp32).mean()) / size < (0.1 if has_vnni() else 1.0), engine


def test_the_engines_compute_in_int8(everywhere, tmp_path):
    """By what each makes of the file: a layer's six products, four of the last for the first token, the head's two."""
    import openvino

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(everywhere[0] / "model.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 6 and kinds.count("QGemm") == 4 + 2

    compiled = openvino.compile_model(str(everywhere[0] / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    kinds = [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in nodes]
    assert kinds.count(("FullyConnected", "u8")) == 6 + 4 + 2


def test_parts_that_are_kept_stay_in_fp32_in_both_graphs(classifier, everywhere, tmp_path):
    kept = ["encoder.layers.0.feed_forward", "head"]
    quantize(classifier, tmp_path / "mixed", engines=EVERY, keep_fp32=kept)
    made = read_manifest(tmp_path / "mixed").quantization
    assert made["fp32"] == made["onnx"]["fp32"] == kept
    kinds = [node.op_type for node in onnx.load(tmp_path / "mixed" / "model.onnx").graph.node]
    assert kinds.count("Gemm") == 4 and kinds.count("QuantizeLinear") < len(PARTS) * 3
    quantize(classifier, tmp_path / "table", engines=["openvino"], keep_fp32=PARTS[1:])
    assert 0 < relative_error(classifier, tmp_path / "table") < 0.02


def test_a_bundle_of_onnx_alone_is_quantised_for_its_own_engines(classifier, tmp_path):
    export_onnx(classifier.folder, tmp_path / "onnx", classifier.texts[:4])
    request = (str(tmp_path / "onnx"), str(tmp_path / "int8"), classifier.rows(16), classifier.rows(), 100.0)
    quantize_bundle(QuantizeRequest(*request))
    manifest = read_manifest(tmp_path / "int8")
    assert manifest.runs_in == ["onnxruntime"] and manifest.parity == manifest.engines["onnxruntime"]
    assert Predictor(tmp_path / "int8").engine == "onnxruntime"
    with pytest.raises(InputError, match=r"no model\.pdmodel in this bundle, which is needed for paddle"):
        quantize_bundle(QuantizeRequest(*request, engines=["paddle"]))


def test_a_fall_in_one_engine_is_refused_by_its_name(classifier, tmp_path, monkeypatch):
    from paddle_ernie_tiny.deploy import quantize as verb
    from paddle_ernie_tiny.deploy.lower_precision import Found

    figures = {"metric_fp32": 0.9, "metric_int8": 0.9, "drop_points": 0.0}
    worse = {**figures, "metric_int8": 0.88, "drop_points": 2.0}
    made = {"int8": PARTS, "fp32": [], "tried": [{}], "sensitivity": {}}
    found = Found({"onnxruntime": figures, "openvino": worse}, False, made)
    monkeypatch.setattr(verb, "in_child", lambda *_, **__: found)
    with pytest.raises(GateError) as raised:
        quantize(classifier, tmp_path / "out", engines=EVERY, max_drop_points=0.5)
    assert "falls from 0.9000 to 0.8800, 2.00 points, in openvino (allowed: 0.5)" in str(raised.value)
    assert "leave out of --engine: openvino" in str(raised.value) and "in onnxruntime" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_auto_searches_model_onnx_too(classifier, tmp_path):
    with pytest.raises(GateError, match=f"in onnxruntime.*the last of {len(PARTS)} attempts"):
        quantize(classifier, tmp_path / "refused", engines=["onnxruntime"], max_drop_points=-1.0, auto=True)
    assert not list(tmp_path.iterdir())


def test_engines_that_are_not_there_are_refused(classifier, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown engine 'tensorrt'"):
        quantize(classifier, tmp_path / "out", engines=["tensorrt"])
    monkeypatch.setattr("paddle_ernie_tiny.engines.find_spec", lambda name: None if name == "onnx" else True)
    with pytest.raises(InputError, match="'onnx' is not installed; int8 for openvino needs it"):
        quantize(classifier, tmp_path / "out", engines=["openvino"])
