"""Soft labels by a model: a file of rows becomes one with the model's probabilities, for `data.columns.soft_labels`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import check_config
from ..data.formats import require_file
from ..data.raw_rows import RawRow
from ..data.rows import EncodedRows
from ..data.tables import SOFT, TableFormat
from ..data.task_files import layout_of
from ..defaults import AUTO, BATCH_SIZE, MAX_LENGTH_TOKENS
from ..deploy.bundle import MANIFEST
from ..deploy.export import classifier_in
from ..deploy.predictor import Predictor
from ..deploy.program import require_finite
from ..deploy.row_files import column_of, raw_table, say
from ..errors import InputError, Problems
from ..extensions import kind_named, load_extensions
from ..files import growing_text, require_writable, write_text
from ..kinds import Kind
from ..models.build import load_classifier, load_tokenizer, resolve_model
from ..stages import STAGES
from ..training.inference import predict_outputs
from .report import read_resolved
from .step import FINAL, RunFolder

_BLOCK = 16  # batches: rows of similar length are answered together
Answer = Callable[[list[Any], list[str] | None, int], list[np.ndarray]]  # texts, second texts, rows per batch: logits


@dataclass(frozen=True)
class Labeller:
    """A model that gives soft labels. unit: in which raw text is cut. table: how files of rows are laid out."""

    kind: Kind
    labels: list[str]
    table: TableFormat
    unit: str | None
    answer: Answer


def label(
    model: str | os.PathLike,
    file: str | os.PathLike,
    output: str | os.PathLike | None = None,
    text: str | None = None,
    text_b: str | None = None,
    label_column: str | None = None,
    max_length_tokens: int | None = None,
    batch_size: int = BATCH_SIZE,
    threads: int | str = AUTO,
) -> int:
    """Writes JSON lines: each row's text or texts, its label if it has one, and the model's `soft_labels`.

    Args:
        model: a bundle; a run's `output_dir`: its teacher; or the folder of a fine-tuned model.
        file: rows in any format that `predict` takes; "-": standard input.
        output: the file to write, whole or not at all; None: standard output.
        text, text_b, label_column: columns by name or position; default: those of the training data.
        max_length_tokens: of a model folder that belongs to no run; a bundle and a run know theirs.
        batch_size, threads: rows per forward pass; CPU threads, of a bundle.

    Returns the number of rows. Raises InputError(s), also for a kind of task whose rows have no soft labels in files.
    """
    if output is not None:
        require_writable(output, file)
    path = Path("/dev/stdin") if str(file) == "-" else Path(file)
    require_file(path)
    labeller = labeller_of(Path(model), max_length_tokens, threads)
    if labeller.kind.no_soft:
        what = f"files give no soft labels to rows of a {labeller.kind.name} task: {labeller.kind.no_soft}"
        raise InputError(what, str(model), "give the run this model as its teacher instead")
    given = {"text": text, "text_b": text_b, "label": label_column}
    columns: dict[str, Any] = {key: column_of(name) for key, name in given.items() if name is not None}
    table = replace(labeller.table, **columns)
    rows, labels = _rows_of(path, labeller, table)
    lines = []
    with tqdm(total=len(rows), desc="labelling", unit="row", disable=None, leave=False) as bar:
        for start in range(0, len(rows), _BLOCK * batch_size):
            block = rows[start : start + _BLOCK * batch_size]
            lines += _lines_of(block, labels[start : start + len(block)], labeller, table, batch_size)
            bar.update(len(block))
    if output is None:
        with growing_text(None) as write:
            write("".join(lines))
    else:
        write_text(output, "".join(lines))
    return len(rows)


def _rows_of(path: Path, labeller: Labeller, table: TableFormat) -> tuple[list[RawRow], list[Any]]:
    """The rows, and the label of each as JSON has it."""
    problems, labels, reading = Problems(), list[Any](), labeller.kind.label_cells(len(labeller.labels))
    rows = list(labeller.kind.raw_rows(path, table, labeller.labels, labeller.unit, problems))
    for row in rows:
        try:
            labels.append(reading.written(row.label))
        except InputError as error:
            problems.add(error.what, f"{path}:{row.line}", error.remedy)
    say(problems)
    problems.finish(len(labels), str(path))
    return rows, labels


def _lines_of(
    rows: list[RawRow], labels: list[Any], labeller: Labeller, table: TableFormat, batch_size: int
) -> list[str]:
    """The rows with their soft labels, as lines; fields have the names of the table's columns, if these have names."""
    pairs = [row.text_b or "" for row in rows] if table.text_b is not None else None
    texts = [labeller.kind.split(row.text, labeller.unit) for row in rows]
    outputs = labeller.answer(texts, pairs, batch_size)
    require_finite(np.concatenate(outputs), "the model")
    keys = (("text", table.text), ("text_b", table.text_b), ("label", table.label))
    names = {key: column if isinstance(column, str) else key for key, column in keys}
    lines = []
    for row, label_names, logits in zip(rows, labels, outputs, strict=True):
        given = {"text": row.text, "text_b": row.text_b, "label": label_names}
        fields = {names[key]: value for key, value in given.items() if value is not None}
        fields[SOFT] = labeller.kind.soft_values(logits[0], labeller.labels)
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    return lines


def labeller_of(model: Path, max_length_tokens: int | None = None, threads: int | str = 1) -> Labeller:
    """The model that is meant, loaded: a bundle, a run's teacher, or a model folder. Raises InputError for none."""
    if (model / MANIFEST).is_file():
        predictor = Predictor(model, threads=threads)
        manifest = predictor.manifest
        return Labeller(manifest.kind, manifest.labels, raw_table(manifest), manifest.unit, predictor.outputs)
    if not model.is_dir():
        raise InputError("no such folder", str(model), "give a bundle, the output_dir of a run, or a model folder")
    given = RunFolder(model)
    roots = [model, *model.absolute().parents[:4]]
    root = next((root for root in roots if RunFolder(root).resolved.is_file()), None)
    stage = STAGES.get(model.absolute().parent.name.partition("-")[2])
    if root is not None and stage is not None and not stage.label_terms:
        what = f"the classifier of this model is not trained: the stage {stage.name} has no label terms"
        raise InputError(what, str(model), "give the last stage's final/, the bundle, or the run for its teacher")
    if root is None:
        kind, labels = classifier_in(model)
        length, reading, table = max_length_tokens or MAX_LENGTH_TOKENS, kind.long_texts[0], TableFormat(label=1)
        return Labeller(kind, labels, table, None, _asked(model, kind, labels, length, reading))
    written = read_resolved(RunFolder(root))
    load_extensions(written["config"].get("extensions") or [])
    config, labels = check_config(written["config"], str(RunFolder(root).resolved)), written["run"]["labels"]
    task, kind = config.task, kind_named(config.task.kind, "task.kind", config.task.settings)
    if given.resolved.is_file():
        if config.teacher is None:
            raise InputError("the run has no teacher", str(model), "give its bundle/, or another run")
        shared = model / written["run"].get("shared_folder", ".")
        tuned, name = RunFolder(shared).finetuned / FINAL, config.teacher.model
        model = resolve_model(name or "") if config.teacher.finetune is None else tuned
        if not model.is_dir():
            raise InputError("the run has not fine-tuned its teacher yet", str(model), "run the same command again")
    table = layout_of(config, Problems())
    how = task.max_length_tokens, task.long_text or kind.long_texts[0]
    return Labeller(kind, labels, replace(table, soft_labels=None), None, _asked(model, kind, labels, *how))


def _asked(folder: Path, kind: Kind, labels: list[str], length: int, reading: str) -> Answer:
    """How the model in a folder is asked, in the dynamic graph."""
    tokenizer, model = load_tokenizer(folder), load_classifier(folder, labels, kind)

    def answer(texts: list[Any], pairs: list[str] | None, batch_size: int) -> list[np.ndarray]:
        encoded, places = kind.tokenize(tokenizer, texts, pairs, length, reading)
        rows = EncodedRows(encoded.input_ids, encoded.token_type_ids, places=places, rows=encoded.rows)
        return predict_outputs(model, kind, rows, tokenizer.pad_id, batch_size)

    return answer
