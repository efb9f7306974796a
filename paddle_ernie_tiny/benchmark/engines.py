"""Inference engines behind one small interface: ids in, logits out, on the CPU or the GPU.

`paddle` is opened by the predictor's own function, so that what is measured is what is served. The others read the
same exported graph, converted to ONNX. Every call copies its input in and its output out, so a GPU has finished
when it returns.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..deploy.bundle import MODEL_STEM
from ..deploy.onnx import ONNX_FILE
from ..errors import ErnieTinyError, InputError

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def open_paddle(model: Path, device: str, threads: int, precision: str) -> Run:
    """The predictor's engine, on a bundle's graph."""
    from ..deploy.predictor import create_engine

    return paddle_run(create_engine(model / MODEL_STEM, device, threads, precision))


def open_paddle_tensorrt(model: Path, device: str, threads: int, precision: str) -> Run:
    """Paddle Inference with its TensorRT subgraphs in half precision; needs a GPU and a Paddle built with TensorRT."""
    from paddle import inference

    if device != "gpu":
        raise InputError("TensorRT runs on a GPU", "--engine paddle-tensorrt", "add --device gpu")
    config = inference.Config(f"{model / MODEL_STEM}.pdmodel", f"{model / MODEL_STEM}.pdiparams")
    config.disable_glog_info()
    config.enable_use_gpu(256, 0)
    config.enable_new_ir(False)
    config.enable_tensorrt_engine(
        workspace_size=1 << 30,
        max_batch_size=256,
        min_subgraph_size=5,
        precision_mode=inference.PrecisionType.Half,
        use_static=False,
        use_calib_mode=False,
    )
    bounds = [{"input_ids": shape, "token_type_ids": shape} for shape in ([1, 1], [256, 512], [32, 128])]
    config.set_trt_dynamic_shape_info(*bounds)
    config.enable_memory_optim()
    return paddle_run(inference.create_predictor(config))


def paddle_run(engine) -> Run:
    """A Paddle Inference predictor as ids in, logits out."""
    inputs = {name: engine.get_input_handle(name) for name in engine.get_input_names()}
    output = engine.get_output_handle(engine.get_output_names()[0])

    def run(input_ids, token_type_ids):
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        for name, handle in inputs.items():
            handle.copy_from_cpu(feeds[name])
        engine.run()
        return output.copy_to_cpu()

    return run


def open_onnxruntime(model: Path, device: str, threads: int, precision: str) -> Run:
    """ONNX Runtime with all of its graph optimisations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    provider = "CUDAExecutionProvider" if device == "gpu" else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise InputError(f"this onnxruntime has no {provider}", "--engine onnxruntime", "install onnxruntime-gpu")
    session = onnxruntime.InferenceSession(str(model / ONNX_FILE), options, providers=[provider])
    names = [entry.name for entry in session.get_inputs()]

    def run(input_ids, token_type_ids):
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        return session.run(None, {name: feeds[name] for name in names})[0]

    return run


def open_openvino(model: Path, device: str, threads: int, precision: str) -> Run:
    """OpenVINO, tuned for latency, in float32 (on CPUs with bfloat16 units its own default is lower)."""
    import openvino

    if device == "gpu":
        raise InputError("OpenVINO is measured on the CPU only", "--engine openvino", "leave it out with --device gpu")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.compile_model(str(model / ONNX_FILE), "CPU", settings).create_infer_request()

    def run(input_ids, token_type_ids):
        found = request.infer({"input_ids": input_ids, "token_type_ids": token_type_ids}, share_inputs=True)
        return found[0].copy()

    return run


ENGINES: dict[str, Callable[[Path, str, int, str], Run]] = {
    "paddle": open_paddle,
    "paddle-tensorrt": open_paddle_tensorrt,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}
_MODULES = {"onnxruntime": ("onnxruntime", "paddle2onnx"), "openvino": ("openvino", "paddle2onnx")}


def reads_onnx(engine: str) -> bool:
    return engine in _MODULES


def check_engines(names: list[str]) -> None:
    """Raises InputError for an engine that is not known or not installed."""
    for name in names:
        if name not in ENGINES:
            raise InputError(f"unknown engine {name!r}", "--engine", f"choose from {', '.join(ENGINES)}")
        missing = [module for module in _MODULES.get(name, ()) if importlib.util.find_spec(module) is None]
        if missing:
            raise InputError(
                f"{name} needs the package {missing[0]}", "--engine", "pip install 'paddle-ernie-tiny[bench]'"
            )


def convert_to_onnx(bundle: Path, out: Path) -> Path:
    """Folder `out` with the bundle's graph as ONNX, converted in a child process; kept when it is there already.

    Raises ErnieTinyError when paddle2onnx cannot convert it.
    """
    target = out / ONNX_FILE
    if target.is_file():
        return out
    out.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    code = "import sys; from pathlib import Path; from paddle_ernie_tiny.deploy.onnx import convert; "
    command = [sys.executable, "-c", code + "convert(*map(Path, sys.argv[1:]))", str(bundle), str(temporary)]
    child = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if child.returncode != 0 or not temporary.is_file():
        last = ((child.stderr + child.stdout).strip().splitlines() or ["no output"])[-1]
        raise ErnieTinyError(f"paddle2onnx did not convert the graph: {last}", str(bundle), "leave the engine out")
    temporary.replace(target)
    return out
