"""Scores a bundle on labelled rows: what `evaluate` prints, and what the int8 gate compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.metrics import compute, mean_reciprocal_rank
from ..data.readers import TableFormat, read_examples
from ..data.tags import entity_f1
from ..data.token_files import read_token_examples
from .bundle import Manifest


@dataclass
class LabelledRows:
    """Rows as a Predictor takes them, and their gold labels: an id, a score, or the tag ids of each word."""

    texts: list[str] | list[list[str]]  # rows of words for token classification
    texts_b: list[str] | None
    gold: list


def read_labelled(
    manifest: Manifest, file: Path, text: str | None = None, text_b: str | None = None, label: str | None = None
) -> LabelledRows:
    """A labelled tsv, csv, jsonl or conll file; columns not given are those of the training data.

    Raises InputError that names file and line.
    """
    table = manifest.table
    chosen = {
        name: _column(given) if given is not None else table.get(name)
        for name, given in (("text", text), ("text_b", text_b), ("label", label))
    }
    layout = TableFormat(
        format="auto", header=table.get("header", "auto"), label_aliases=table.get("label_aliases", {}), **chosen
    )
    if manifest.task_type == "token_classification":
        tagged = read_token_examples(file, layout, manifest.labels)
        return LabelledRows([list(e.words) for e in tagged], None, [list(e.tags) for e in tagged])
    examples = read_examples(file, layout, None if manifest.task_type.endswith("regression") else manifest.labels)
    pairs = [e.text_b for e in examples] if chosen["text_b"] is not None else None
    return LabelledRows([e.text for e in examples], pairs, [e.label for e in examples])


def scores(manifest: Manifest, logits: np.ndarray | list[np.ndarray], rows: LabelledRows) -> dict[str, float]:
    """The task's metric first, then what is usually read beside it; 1 is perfect."""
    metric = manifest.metric
    if manifest.task_type == "token_classification":
        return {metric: _entity_f1(manifest.labels, logits, rows.gold)}
    if metric == "mrr":
        return {metric: mean_reciprocal_rank(logits[:, 1] - logits[:, 0], rows.gold, rows.texts)}
    result = {metric: compute(metric, logits, rows.gold)}
    for also in ("pearson", "spearman") if manifest.task_type.endswith("regression") else ("accuracy",):
        result.setdefault(also, compute(also, logits, rows.gold))
    return result


def _entity_f1(labels: list[str], logits: list[np.ndarray], gold: list[list[int]]) -> float:
    predicted = [row.argmax(-1) for row in logits]
    # words that the maximal length cut off count as O
    named = [
        [labels[tag] for tag in row] + ["O"] * (len(tags) - len(row)) for row, tags in zip(predicted, gold, strict=True)
    ]
    return entity_f1(named, [[labels[tag] for tag in tags] for tags in gold])


def _column(given: str) -> str | int:
    return int(given) if given.isdigit() else given
