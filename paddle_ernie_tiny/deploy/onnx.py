"""ONNX from a bundle: converted by paddle2onnx, kept only if ONNX Runtime answers alike."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..defaults import EXPORT_TOLERANCE
from ..errors import ErnieTinyError, InputError
from ..files import new_folder
from ..processes import in_child
from .bundle import MANIFEST, MODEL_STEM, ONNX_FILE, read_manifest, write_manifest
from .engines import open_onnxruntime
from .export import parity_of, require_parity
from .predictor import Predictor
from .row_files import read_texts


@dataclass
class OnnxRequest:
    """What to convert. `texts` are real rows, as `Kind.tokenize` takes them, on which both engines are compared."""

    bundle: str
    out: str
    texts: list[Any]
    texts_b: list[str] | None = None
    tolerance: float = EXPORT_TOLERANCE


def export_onnx(request: OnnxRequest) -> dict[str, Any]:
    """Writes a folder with model.onnx, tokenizer and manifest, and returns its parity figures.

    Batch and length are dynamic. Feed inputs by name: their order is the converter's. Raises GateError when ONNX
    Runtime's logits differ from Paddle Inference's by more than the tolerance, InputError for an int8 bundle or
    if a package is missing.
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
    with new_folder(out, marker=MANIFEST) as folder:
        parity = in_child("onnx", _write_folder, request, folder)
        require_parity(parity, out, "ONNX Runtime and Paddle Inference")
    return parity


def onnx(
    bundle: str | os.PathLike, out: str | os.PathLike, rows: str | os.PathLike, tolerance: float = EXPORT_TOLERANCE
) -> dict[str, Any]:
    """As `export_onnx`, with rows from a text file: one text per line, a tab between the texts of a pair."""
    texts, texts_b = read_texts(Path(rows))
    manifest = read_manifest(bundle)
    split = [manifest.kind.split(text, manifest.unit) for text in texts]
    return export_onnx(OnnxRequest(str(bundle), str(out), split, texts_b, tolerance))


def convert(bundle: Path, target: Path) -> None:
    """Writes the bundle's graph as an ONNX file, batch and length dynamic. Call it in a child process: paddle2onnx
    changes Paddle's global state."""
    import paddle2onnx

    stem = bundle / MODEL_STEM
    # its default optimize_tool, polygraphy, installs packages while it runs
    paddle2onnx.export(f"{stem}.pdmodel", f"{stem}.pdiparams", str(target), opset_version=17, optimize_tool="None")


def _write_folder(request: OnnxRequest, folder: Path) -> dict[str, Any]:
    """In the child process: writes the folder's files, and compares both engines."""
    import onnxruntime
    import paddle

    bundle = Path(request.bundle)
    served = Predictor(bundle)
    convert(bundle, folder / ONNX_FILE)
    names = sorted(entry.name for entry in onnxruntime.InferenceSession(str(folder / ONNX_FILE)).get_inputs())
    expected = sorted(entry["name"] for entry in served.manifest.inputs)
    if names != expected:
        raise ErnieTinyError(f"the converted graph takes {names}, the bundle {expected}", str(bundle))
    converted = Predictor(bundle, engine=open_onnxruntime(folder, "cpu", 1, "fp32"))
    own, other = (p.outputs(request.texts, request.texts_b, batch_size=8) for p in (served, converted))
    manifest = served.manifest
    for name in manifest.files:
        if not name.startswith(f"{MODEL_STEM}."):
            shutil.copy2(bundle / name, folder / name)
    manifest.parity = parity_of(served.kind, own, other, request.tolerance)
    manifest.versions = {
        **manifest.versions,
        "paddlepaddle": paddle.__version__,
        "paddle2onnx": metadata.version("paddle2onnx"),
        "onnxruntime": onnxruntime.__version__,
    }
    write_manifest(folder, manifest)
    return manifest.parity
