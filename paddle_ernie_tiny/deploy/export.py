"""Exports a checkpoint to a bundle: static graph, tokenizer, manifest, behind a parity gate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import GateError, InputError
from .bundle import publish
from .child import run_child


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
    temporary, parity, log = run_child("paddle_ernie_tiny.deploy.export_worker", request, out, "export")
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
