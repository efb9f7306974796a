"""ONNX from a bundle: converted by paddle2onnx, kept only if ONNX Runtime answers alike."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..defaults import EXPORT_TOLERANCE
from ..errors import ErnieTinyError, InputError
from ..files import new_folder
from ..processes import in_child
from .bundle import MANIFEST, MODEL_STEM, ONNX_FILE, read_manifest, write_manifest
from .engines import OnnxRuntimeEngine
from .export import parity_of, require_parity
from .predictor import Predictor
from .row_files import read_texts


def export_onnx(
    bundle: str | os.PathLike,
    out: str | os.PathLike,
    texts: list[Any],
    texts_b: list[str] | None = None,
    tolerance: float = EXPORT_TOLERANCE,
) -> dict[str, Any]:
    """Writes a folder with model.onnx, tokenizer and manifest, and returns its parity figures.

    `texts` are real rows, as `Kind.tokenize` takes them, on which both engines are compared. Batch and length are
    dynamic. Feed inputs by name: their order is the converter's. Raises GateError when ONNX Runtime's logits differ
    from Paddle Inference's by more than the tolerance, InputError for an int8 bundle or if a package is missing.
    """
    bundle, out = Path(bundle), Path(out)
    manifest = read_manifest(bundle)
    if manifest.precision != "fp32":
        raise InputError(f"the bundle is {manifest.precision}", str(bundle), "give the fp32 bundle")
    if not texts:
        raise InputError("the parity gate needs at least one row", "onnx", "give real texts of the task")
    missing = [name for name in ("paddle2onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(f"the package {missing[0]!r} is not installed", "onnx", "install the toolkit's onnx extra")
    if out.resolve() == bundle.resolve():
        raise InputError("the ONNX folder would replace the bundle", str(out), "choose another folder")
    with new_folder(out, marker=MANIFEST) as folder:
        parity = in_child("onnx", _write_folder, bundle, folder, texts, texts_b, tolerance)
        require_parity(parity, out, "ONNX Runtime and Paddle Inference", "written")
    return parity


def onnx(
    bundle: str | os.PathLike, out: str | os.PathLike, rows: str | os.PathLike, tolerance: float = EXPORT_TOLERANCE
) -> dict[str, Any]:
    """As `export_onnx`, with rows from a text file: one text per line, a tab between the texts of a pair."""
    texts, texts_b = read_texts(Path(rows))
    manifest = read_manifest(bundle)
    split = [manifest.kind.split(text, manifest.unit) for text in texts]
    return export_onnx(bundle, out, split, texts_b, tolerance)


def convert(bundle: Path, target: Path) -> None:
    """Writes the bundle's graph as an ONNX file, batch and length dynamic. Call it in a child process: paddle2onnx
    changes Paddle's global state."""
    import paddle2onnx

    stem = bundle / MODEL_STEM
    # its default optimize_tool, polygraphy, installs packages while it runs
    paddle2onnx.export(f"{stem}.pdmodel", f"{stem}.pdiparams", str(target), opset_version=17, optimize_tool="None")


def _write_folder(
    bundle: Path, folder: Path, texts: list[Any], texts_b: list[str] | None, tolerance: float
) -> dict[str, Any]:
    """In the child process: writes the folder's files, and compares both engines."""
    import onnxruntime
    import paddle

    convert(bundle, folder / ONNX_FILE)
    engine, served = OnnxRuntimeEngine(folder, "cpu", 1), Predictor(bundle)
    manifest, converted = served.manifest, Predictor(bundle, engine=engine)
    expected = sorted(entry["name"] for entry in manifest.inputs)
    if sorted(engine.input_names) != expected:
        raise ErnieTinyError(f"the converted graph takes {engine.input_names}, the bundle {expected}", str(bundle))
    own, other = (predictor.outputs(texts, texts_b, batch_size=8) for predictor in (served, converted))
    for name in manifest.files:
        if not name.startswith(f"{MODEL_STEM}."):
            shutil.copy2(bundle / name, folder / name)
    manifest.parity = parity_of(own, other, tolerance)
    manifest.versions |= {
        "paddlepaddle": paddle.__version__,
        "paddle2onnx": metadata.version("paddle2onnx"),
        "onnxruntime": onnxruntime.__version__,
    }
    write_manifest(folder, manifest)
    return manifest.parity
