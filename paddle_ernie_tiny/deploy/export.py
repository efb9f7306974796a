"""Exports a checkpoint to a bundle: static graph, tokenizer, manifest, behind a parity gate.

The graph is written by a child process: `.pdmodel` needs `FLAGS_enable_pir_api=0` in the environment before
Paddle is imported, and the comparison should see what a fresh process sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ErnieTinyError, GateError, InputError
from .bundle import MANIFEST, publish


@dataclass
class ExportRequest:
    """What the child process needs; texts are real evaluation rows for the parity gate."""

    checkpoint: str
    out: str
    task: str
    labels: list[str]
    metric: str
    kind: str
    unit: str | None  # what a tagger labels in raw text
    max_length_tokens: int
    texts: list[str] | list[list[str]]  # rows of words for token classification
    texts_b: list[str] | None
    tolerance: float
    table: dict
    graph: str = "served"  # graph.py; "plain": the model as it is written, for comparison


def export_bundle(request: ExportRequest) -> dict:
    """Writes the bundle atomically and returns its parity figures.

    Raises GateError when the static graph's logits differ from the dynamic one's by more than the
    tolerance; `request.out` is then left as it was. Raises ErnieTinyError when the child process fails.
    """
    if not request.texts:
        raise InputError("the parity gate needs at least one row", "export", "give real texts of the task")
    out = Path(request.out)
    if out.exists() and not (out / MANIFEST).is_file() and any(out.iterdir()):
        raise InputError("the folder is not empty and not a bundle", str(out), "choose another folder")
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    command = [sys.executable, "-m", "paddle_ernie_tiny.deploy.export_worker", str(temporary)]
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}
    child = subprocess.run(
        command,
        input=json.dumps(asdict(request)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    log = out.with_name(out.name + ".export.log")
    log.write_text(child.stdout + child.stderr, encoding="utf-8")
    result_file = temporary / "result.json"
    if child.returncode != 0 or not result_file.is_file():
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        shutil.rmtree(temporary)
        raise ErnieTinyError(f"the export process failed: {last}", str(log), "the log holds the whole output")
    parity = json.loads(result_file.read_text(encoding="utf-8"))
    result_file.unlink()
    if not parity["max_abs_diff"] <= request.tolerance:  # also catches NaN
        shutil.rmtree(temporary)
        raise GateError(
            f"static and dynamic logits differ by up to {parity['max_abs_diff']:.3g} on {parity['rows']} rows, "
            f"the tolerance is {request.tolerance:g}; nothing was exported",
            str(out),
            f"raise export.tolerance only if the labels agree: label agreement is {parity['label_agreement']:.4f}",
        )
    log.unlink()
    publish(temporary, out)
    return parity
