"""Inference engines behind one small interface: ids in, logits out, on the CPU or the GPU.

Every call copies its input in and its output out, so a GPU has finished when it returns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import InputError

if TYPE_CHECKING:
    import numpy as np

MODEL_STEM, ONNX_FILE = "model", "model.onnx"  # files of a bundle: Paddle's graph and weights, and the ONNX graph
PADDLE_FILES = tuple(f"{MODEL_STEM}.{end}" for end in ("pdmodel", "pdiparams"))
_SHAPES = 64  # that oneDNN stays prepared for; Paddle's own 10 are fewer than the lengths of texts


class Engine(Protocol):
    """A model that is ready to run, for one thread at a time."""

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        """One forward pass: int64 [batch, length] twice to logits [batch, (length,) labels], float32."""

    def clone(self) -> Engine:
        """Another engine on the same weights, for another thread."""


class PaddleEngine(Engine):
    """Paddle Inference on an exported graph.

    Clones share weights, and Paddle frees those when the first of them is destroyed: a family ends together, so the
    buffers of each stay until all are gone.
    """

    def __init__(self, predictor: Any, family: list[Any] | None = None):
        self._predictor = predictor
        self._family = [predictor] if family is None else family
        self._inputs = {name: predictor.get_input_handle(name) for name in predictor.get_input_names()}
        self.output_name: str = predictor.get_output_names()[0]
        self._output = predictor.get_output_handle(self.output_name)

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        from numpy import ascontiguousarray  # here, so that `--help` can list engines without NumPy

        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        for name, handle in self._inputs.items():
            handle.copy_from_cpu(ascontiguousarray(feeds[name]))
        self._predictor.run()
        return self._output.copy_to_cpu()

    def clone(self) -> PaddleEngine:
        twin = self._predictor.clone()
        self._family.append(twin)
        return PaddleEngine(twin, self._family)


def open_paddle(folder: Path, device: str, threads: int, precision: str) -> PaddleEngine:
    """Paddle Inference with oneDNN (CPU), or on a GPU. Raises InputError for a GPU where this Paddle has none."""
    from .machine import import_paddle

    import_paddle()
    from paddle import inference

    return PaddleEngine(inference.create_predictor(paddle_config(folder, device, threads, precision)))


def open_paddle_tensorrt(folder: Path, device: str, threads: int, precision: str) -> PaddleEngine:
    """Paddle Inference with its TensorRT subgraphs in half precision; needs a GPU and a Paddle built with TensorRT."""
    from .machine import import_paddle

    import_paddle()
    from paddle import inference

    if device != "gpu":
        raise InputError("TensorRT runs on a GPU", "--engine paddle-tensorrt", "add --device gpu")
    config = paddle_config(folder, device, threads, "fp32")
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
    return PaddleEngine(inference.create_predictor(config))


def paddle_config(folder: Path, device: str, threads: int, precision: str) -> Any:
    """Paddle Inference's settings for a bundle. Raises InputError for a GPU where this Paddle has none."""
    import paddle
    from paddle import inference

    stem = folder / MODEL_STEM
    if not Path(f"{stem}.pdmodel").is_file():
        raise InputError("no model.pdmodel in this bundle", str(folder), "give the bundle that ONNX was made from")
    config = inference.Config(f"{stem}.pdmodel", f"{stem}.pdiparams")
    config.disable_glog_info()
    # Paddle 3 looks for PIR programs first; this format wants the old passes (they hold the oneDNN fusions).
    if hasattr(config, "enable_new_ir"):
        config.enable_new_ir(False)
    config.enable_memory_optim()
    if device == "gpu":
        if not paddle.is_compiled_with_cuda():
            raise InputError("this Paddle has no GPU", "device gpu", "install a GPU build of Paddle, or use cpu")
        half = inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32
        config.enable_use_gpu(256, 0, half)
        return config
    use_onednn(config, _SHAPES, threads)
    if precision == "int8":
        config.enable_mkldnn_int8({"fc"})  # what was calibrated: other kinds lose accuracy, or speed
    elif precision == "bf16":
        config.enable_mkldnn_bfloat16()
        config.set_bfloat16_op({"fc"})  # with attention's products in bf16 too, Paddle's fused_matmul fails
    return config


def use_onednn(config: Any, shapes: int, threads: int) -> None:
    """Has Paddle Inference compute on the CPU with oneDNN, which stays prepared for so many shapes of a batch."""
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_mkldnn_cache_capacity(shapes)
    config.set_cpu_math_library_num_threads(threads)


def import_library(name: str) -> Any:
    """The package of an engine. Raises InputError, which names it, where it is there but cannot be loaded."""
    try:
        return import_module(name)
    except Exception as error:  # a broken library may raise anything
        reason = str(error).strip().partition("\n")[0][:200]
        remedy = f"install {name} again, or name an engine that works"
        raise InputError(f"the package {name!r} cannot be loaded: {reason}", f"engine {name}", remedy) from error


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime with all of its graph optimisations, on `model.onnx`; threads may share it."""

    def __init__(self, folder: Path, device: str, threads: int, precision: str = "fp32"):
        onnxruntime = import_library("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        provider = "CUDAExecutionProvider" if device == "gpu" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise InputError(f"this onnxruntime has no {provider}", "--engine onnxruntime", "install onnxruntime-gpu")
        self._session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), options, providers=[provider])
        self.input_names = [entry.name for entry in self._session.get_inputs()]  # their order is the converter's

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        feeds = {"input_ids": input_ids, "token_type_ids": token_type_ids}
        return self._session.run(None, {name: feeds[name] for name in self.input_names})[0]

    def clone(self) -> OnnxRuntimeEngine:
        return self


class OpenVinoEngine(Engine):
    """OpenVINO, tuned for latency, in float32 unless bf16 is asked for, which on some CPUs is its own default."""

    def __init__(self, folder: Path, device: str, threads: int, precision: str = "fp32"):
        openvino = import_library("openvino")
        if device == "gpu":
            raise InputError("OpenVINO runs on the CPU only here", "--engine openvino", "leave out --device gpu")
        hint = "bf16" if precision == "bf16" else "f32"
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        self._model = openvino.compile_model(str(folder / ONNX_FILE), "CPU", settings)
        self._request = self._model.create_infer_request()

    def __call__(self, input_ids: np.ndarray, token_type_ids: np.ndarray) -> np.ndarray:
        found = self._request.infer({"input_ids": input_ids, "token_type_ids": token_type_ids}, share_inputs=True)
        return found[0].copy()

    def clone(self) -> OpenVinoEngine:
        twin = copy.copy(self)
        twin._request = self._model.create_infer_request()
        return twin


@dataclass(frozen=True)
class EngineRow:
    """One row of `ENGINES`. open: (folder, device, threads, precision) -> engine; library: the package that runs it."""

    name: str
    title: str
    library: str
    open: Callable[[Path, str, int, str], Engine]
    extra: str = "serving"  # of this package, which installs it
    reads_onnx: bool = False  # does it run `model.onnx`, not Paddle's own format?
    needs_gpu: bool = False
    has_bf16: bool = False  # on a CPU

    @property
    def installed(self) -> bool:
        """Is its library there?"""
        return find_spec(self.library) is not None

    def require_packages(self, where: str, extra: str, convert: bool = True) -> None:
        """Raises InputError, naming the option or verb `where`, if a package is missing; `extra` installs them.

        convert: is the bundle's graph to be converted for it, too?
        """
        require_installed((*(CONVERTER if self.reads_onnx and convert else ()), self.library), self.name, where, extra)

    def check_precision(self, precision: str, device: str) -> None:
        """Raises InputError for bf16 on a CPU where the engine or the CPU has none, and for model.onnx in fp16."""
        if precision == "fp16" and self.reads_onnx:
            raise InputError(f"{self.name} has no fp16", "precision fp16", "use --engine paddle on a GPU")
        if precision != "bf16" or device != "cpu":
            return
        if not self.has_bf16:
            able = " or ".join(name for name, row in ENGINES.items() if row.has_bf16)
            raise InputError(f"{self.name} has no bf16 on a CPU", "precision bf16", f"use --engine {able}")
        from .machine import has_bf16  # here, so that `--help` can list engines without what that imports

        if not has_bf16():
            what = "this CPU has no instructions for bfloat16 (AVX512_BF16 or AMX)"
            raise InputError(what, "precision bf16", "serve the fp32 bundle, or quantize the bundle to int8")


def require_installed(packages: Iterable[str], who: str, where: str, extra: str) -> None:
    """Raises InputError, naming the option or verb `where`, if a package that `who` needs is missing."""
    for package in packages:
        if find_spec(package) is None:
            what = f"the package {package!r} is not installed; {who} needs it"
            raise InputError(what, where, f"pip install 'paddle-ernie-tiny[{extra}]'")


CONVERTER, QDQ_PACKAGES = ("paddle2onnx",), ("onnx", "onnxruntime")  # to make model.onnx, and int8 of it
ENGINES: dict[str, EngineRow] = {
    row.name: row
    for row in (
        EngineRow("paddle", "Paddle Inference", "paddle", open_paddle, has_bf16=True),
        EngineRow("onnxruntime", "ONNX Runtime", "onnxruntime", OnnxRuntimeEngine, "serving-onnx", reads_onnx=True),
        EngineRow(
            "openvino", "OpenVINO", "openvino", OpenVinoEngine, "serving-openvino", reads_onnx=True, has_bf16=True
        ),
        EngineRow("paddle-tensorrt", "Paddle Inference with TensorRT", "paddle", open_paddle_tensorrt, needs_gpu=True),
    )
}
NAMES = ", ".join(ENGINES)
ON_CPU = tuple(name for name, row in ENGINES.items() if not row.needs_gpu)
IN_ONNX = tuple(name for name, row in ENGINES.items() if row.reads_onnx)
