"""A bundle's graph as ONNX, in the bundle or in a folder of its own: kept only if every engine answers alike."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..defaults import EXPORT_TOLERANCE
from ..engines import ENGINES, IN_ONNX, MODEL_STEM, ON_CPU, ONNX_FILE, PADDLE_FILES
from ..errors import InputError
from ..files import new_folder
from ..machine import versions
from ..processes import in_child
from .bundle import MANIFEST, read_manifest, write_manifest
from .card import describe_bundle
from .parity import parity_of, require_parity
from .predictor import Predictor
from .row_files import read_rows

_BATCH = 8  # rows per call in the comparison


def require_known(name: str, where: str) -> None:
    """Raises InputError for an engine that no bundle is made for; `where`: the option or key that names it."""
    if name not in ON_CPU:
        raise InputError(f"unknown engine {name!r}", where, f"use {', '.join(ON_CPU)}")


def require_engines(names: Sequence[str], where: str) -> list[str]:
    """Those of the engines that run model.onnx, each once.

    Raises InputError for one that no bundle is made for, or that is not installed.
    """
    for name in names:
        require_known(name, where)
        if name in IN_ONNX:
            ENGINES[name].require_packages(where, "bench")
    return [name for name in dict.fromkeys(names) if name in IN_ONNX]


def add_onnx(
    folder: Path, engines: list[str], texts: list[Any], texts_b: list[str] | None, tolerance: float, out: Path
) -> dict[str, dict[str, Any]]:
    """Writes model.onnx into a bundle that is being made, and returns the parity figures by engine.

    texts: real rows, as `Kind.tokenize` takes them, on which each engine is compared with Paddle Inference. Raises
    GateError, which names `out`, if one differs by more than the tolerance.
    """
    in_child("onnx", convert, folder, folder / ONNX_FILE)
    manifest = read_manifest(folder, strangers=True)
    manifest.engines = {name: {} for name in engines}  # so that they open it
    write_manifest(folder, manifest)
    manifest.engines = in_child("onnx parity", _compare, folder, engines, texts, texts_b, tolerance)
    for name, parity in manifest.engines.items():
        require_parity(parity, out, f"{ENGINES[name].title} and Paddle Inference", "written")
    packages = ("paddle2onnx", *(ENGINES[name].library for name in engines))
    manifest.versions |= {name: found for name, found in versions(packages).items() if name in packages}
    describe_bundle(folder, manifest)
    return manifest.engines


def convert(bundle: Path, target: Path) -> None:
    """Writes the bundle's graph as an ONNX file, batch and length dynamic. Call it in a child process: paddle2onnx
    changes Paddle's global state."""
    import paddle2onnx

    stem = bundle / MODEL_STEM
    # its default optimize_tool, polygraphy, installs packages while it runs
    paddle2onnx.export(f"{stem}.pdmodel", f"{stem}.pdiparams", str(target), opset_version=17, optimize_tool="None")


def _compare(
    folder: Path, engines: list[str], texts: list[Any], texts_b: list[str] | None, tolerance: float
) -> dict[str, dict[str, Any]]:
    """In a child process: each engine's parity figures against Paddle Inference."""
    served = Predictor(folder, engine="paddle")
    own, found = served.outputs(texts, texts_b, _BATCH), {}
    for name in engines:
        other = Predictor(folder, engine=name).outputs(texts, texts_b, _BATCH)
        found[name] = parity_of(own, other, tolerance, served.kind)
    return found


def export_onnx(
    bundle: str | os.PathLike,
    out: str | os.PathLike,
    texts: list[Any],
    texts_b: list[str] | None = None,
    tolerance: float = EXPORT_TOLERANCE,
    engines: Sequence[str] = ("onnxruntime",),
) -> dict[str, Any]:
    """Writes a folder with model.onnx, tokenizer and manifest, and returns the parity figures of the first engine.

    `texts` are real rows, as `Kind.tokenize` takes them, on which the engines are compared with Paddle Inference. Batch
    and length are dynamic. Feed inputs by name: their order is the converter's. Raises GateError when logits differ by
    more than the tolerance, InputError for an int8 bundle or if a package is missing.
    """
    bundle, out = Path(bundle), Path(out)
    manifest = read_manifest(bundle)
    if manifest.precision != "fp32":
        raise InputError(f"the bundle is {manifest.precision}", str(bundle), "give the fp32 bundle")
    if not texts:
        raise InputError("the parity gate needs at least one row", "onnx", "give real texts of the task")
    if PADDLE_FILES[0] not in manifest.files:
        raise InputError(f"no {PADDLE_FILES[0]} in this bundle", str(bundle), "give the bundle that it was made from")
    others = require_engines(engines, "--engine")
    if not others or len(others) < len(set(engines)):
        what = f"{'paddle' if engines else 'none'} is no engine that runs ONNX"
        raise InputError(what, "--engine", f"use {' or '.join(IN_ONNX)}; for Paddle too: ernie-tiny export")
    if out.resolve() == bundle.resolve():
        raise InputError("the ONNX folder would replace the bundle", str(out), "choose another folder")
    with new_folder(out, marker=MANIFEST) as folder:
        for name in manifest.files:
            if name != ONNX_FILE:
                shutil.copy2(bundle / name, folder / name)
        manifest.engines = {}
        write_manifest(folder, manifest)
        found = add_onnx(folder, others, texts, texts_b, tolerance, out)
        manifest = read_manifest(folder)
        manifest.parity = found[others[0]]
        for name in PADDLE_FILES:
            (folder / name).unlink()
        describe_bundle(folder, manifest)
    return manifest.parity


def onnx(
    bundle: str | os.PathLike,
    out: str | os.PathLike,
    rows: str | os.PathLike,
    tolerance: float = EXPORT_TOLERANCE,
    engines: Sequence[str] = ("onnxruntime",),
) -> dict[str, Any]:
    """As `export_onnx`, with rows from a file, as `ernie-tiny predict` reads them."""
    manifest = read_manifest(bundle)
    texts, texts_b = read_rows(manifest, Path(rows))
    split = [manifest.kind.split(text, manifest.unit) for text in texts]
    return export_onnx(bundle, out, split, texts_b, tolerance, engines)
