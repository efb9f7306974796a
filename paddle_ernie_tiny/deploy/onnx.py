"""ONNX from a bundle: converted by paddle2onnx, behind a parity gate in ONNX Runtime."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import GateError, InputError
from .bundle import MODEL_STEM, publish, read_manifest
from .child import run_child

ONNX_FILE = "model.onnx"


@dataclass
class OnnxRequest:
    """What the child process needs; texts are real rows for the parity gate."""

    bundle: str
    out: str
    texts: list[str] | list[list[str]]  # rows of words for token classification
    texts_b: list[str] | None
    tolerance: float = 1e-4


def export_onnx(request: OnnxRequest) -> dict:
    """Writes a folder with model.onnx, tokenizer and manifest, and returns its parity figures.

    Batch and length are dynamic. Feed inputs by name: their order is the converter's. Raises GateError when ONNX
    Runtime's logits differ from Paddle Inference's by more than the tolerance, InputError for an int8 bundle or
    where a package is missing.
    """
    manifest = read_manifest(request.bundle)
    if manifest.precision != "fp32":
        raise InputError(f"the bundle is {manifest.precision}", request.bundle, "give the fp32 bundle")
    if not request.texts:
        raise InputError("the parity gate needs at least one row", "onnx", "give real texts of the task")
    missing = [name for name in ("paddle2onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(f"the package {missing[0]!r} is not installed", "onnx", "install the toolkit's onnx extra")
    out = Path(request.out)
    if out.resolve() == Path(request.bundle).resolve():
        raise InputError("the ONNX folder would replace the bundle", str(out), "choose another folder")
    temporary, parity, log = run_child("paddle_ernie_tiny.deploy.onnx_worker", request, out, "onnx")
    if not parity["max_abs_diff"] <= request.tolerance:  # also catches NaN
        shutil.rmtree(temporary)
        raise GateError(
            f"logits of ONNX Runtime and Paddle Inference differ by up to {parity['max_abs_diff']:.3g} on "
            f"{parity['rows']} rows, the tolerance is {request.tolerance:g}; nothing was written",
            str(out),
            f"raise --tolerance only if the labels agree: label agreement is {parity['label_agreement']:.4f}",
        )
    log.unlink()
    publish(temporary, out)
    return parity


def convert(bundle: Path, target: Path) -> None:
    """Writes the bundle's graph as an ONNX file, batch and length dynamic. Call it in a child process: paddle2onnx
    changes Paddle's global state."""
    import paddle2onnx

    stem = bundle / MODEL_STEM
    # its default optimize_tool, polygraphy, installs packages while it runs
    paddle2onnx.export(f"{stem}.pdmodel", f"{stem}.pdiparams", str(target), opset_version=17, optimize_tool="None")
