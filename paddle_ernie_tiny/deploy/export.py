"""Exports a checkpoint to a bundle: static graph, tokenizer, manifest, only if both graphs agree.

The graph is made in a process of its own: `.pdmodel` needs `FLAGS_enable_pir_api=0` before Paddle is imported, and what
is compared should be what a fresh process sees.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data.rows import EncodedRows
from ..defaults import EXPORT_TOLERANCE, MAX_LENGTH_TOKENS
from ..errors import GateError, InputError
from ..extensions import kind_named
from ..files import new_folder
from ..kinds import KINDS
from ..kinds.metrics import metrics_of
from ..processes import in_child
from .bundle import MANIFEST, MODEL_STEM, Manifest, write_manifest
from .row_files import read_texts

OLD_FORMAT = {"FLAGS_enable_pir_api": "0"}  # Paddle then writes model.pdmodel, which Serving and CPU int8 need

# what of a PaddleNLP configuration decides how much a forward pass computes
_SIZE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")


@dataclass
class ExportRequest:
    """What to export. `texts` are real evaluation rows, as `Kind.tokenize` takes them, on which graphs are compared."""

    checkpoint: str
    out: str
    task: str
    labels: list[str]
    metric: str
    kind: str
    texts: list[Any]
    texts_b: list[str] | None = None
    unit: str | None = None  # what a tagger labels in raw text
    max_length_tokens: int = MAX_LENGTH_TOKENS
    tolerance: float = EXPORT_TOLERANCE
    table: dict[str, Any] = field(default_factory=dict)  # the layout of the training data
    graph: str = "served"  # graph.py; "plain": the model as it is written, for comparison


def export_bundle(request: ExportRequest) -> dict[str, Any]:
    """Writes the bundle atomically and returns its parity figures.

    Raises GateError when the static graph's logits differ from the dynamic one's by more than the
    tolerance; `request.out` is then left as it was. Raises ErnieTinyError when the child process fails.
    """
    if not request.texts:
        raise InputError("the parity gate needs at least one row", "export", "give real texts of the task")
    out = Path(request.out)
    with new_folder(out, marker=MANIFEST) as folder:
        parity = in_child("export", _write_bundle, request, folder, environment=OLD_FORMAT)
        require_parity(parity, out, "static and dynamic graph", "exported")
    return parity


def parity_of(one: list[np.ndarray], other: list[np.ndarray], tolerance: float) -> dict[str, Any]:
    """How far two graphs' outputs are apart: each row's logits [answers, labels] of both."""
    first, second = np.concatenate(one), np.concatenate(other)
    return {
        "rows": len(one),
        "max_abs_diff": float(np.abs(first - second).max()),
        # a regressor has one output: its argmax is always the same
        "label_agreement": float((first.argmax(-1) == second.argmax(-1)).mean()),
        "tolerance": tolerance,
    }


def require_parity(parity: dict[str, Any], out: Path, compared: str, verb: str) -> None:
    """Raises GateError if logits differ by more than the tolerance, or are not numbers."""
    if parity["max_abs_diff"] <= parity["tolerance"]:
        return
    raise GateError(
        f"logits of {compared} differ by up to {parity['max_abs_diff']:.3g} on {parity['rows']} rows, "
        f"the tolerance is {parity['tolerance']:g}; nothing was {verb}",
        str(out),
        f"raise the tolerance only if the labels agree: label agreement is {parity['label_agreement']:.4f}",
    )


def export(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    rows: str | os.PathLike,
    tolerance: float = EXPORT_TOLERANCE,
    max_length_tokens: int = MAX_LENGTH_TOKENS,
    task: str = "classification",
) -> dict[str, Any]:
    """Exports a folder of a fine-tuned model, such as a stage's `final/`, to the bundle `out`.

    Labels and kind of task come from its configuration; `rows` is a text file with one row per line (a tab between
    the texts of a pair). Returns the parity figures. Raises InputError, and GateError as `export_bundle` does.
    """
    from ..models.build import read_model_config

    folder = Path(checkpoint)
    if not folder.is_dir():
        raise InputError("no such folder", str(folder), "give the final/ folder of a stage")
    config = read_model_config(folder)
    names = config.get("id2label")
    if not names:
        raise InputError("config.json names no labels", str(folder), "give a fine-tuned classifier")
    labels = [names[key] for key in sorted(names, key=int)]
    head = (config.get("architectures") or [""])[0]
    fitting = [kind for kind in KINDS.values() if kind.head in head and kind.has_labels == (len(labels) > 1)]
    if not fitting:
        heads = ", ".join(dict.fromkeys(kind.head for kind in KINDS.values()))
        what = f"a model of class {head or 'unknown'} with {len(labels)} labels is no classifier that is exported"
        raise InputError(what, str(folder), f"give a model that is fine-tuned and of a class ...{heads}")
    kind = fitting[0]
    texts, texts_b = read_texts(Path(rows))
    unit = kind.unit(texts)
    pair = texts_b is not None
    return export_bundle(
        ExportRequest(
            checkpoint=str(folder),
            out=str(out),
            task=task,
            labels=labels,
            metric=metrics_of(kind.name)[0],
            kind=kind.name,
            unit=unit,
            max_length_tokens=max_length_tokens,
            texts=[kind.split(text, unit) for text in texts],
            texts_b=texts_b,
            tolerance=tolerance,
            table={"format": "auto", "header": "auto", "text": 0, "text_b": 1 if pair else None, "label": 1 + pair},
        )
    )


def _write_bundle(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """In the child process: writes the bundle's files into `folder`, and compares what it answers with the model."""
    import paddle

    from ..models.build import count_parameters, load_classifier, load_tokenizer
    from ..training.inference import predict_outputs
    from .graph import answer_from_first_token, served_layer
    from .predictor import Predictor

    paddle.set_device("cpu")
    checkpoint, kind = Path(request.checkpoint), kind_named(request.kind, "export")
    tokenizer = load_tokenizer(checkpoint)
    model = load_classifier(checkpoint, request.labels, kind)
    model.eval()
    parameters = count_parameters(model)
    encoded, places = kind.tokenize(tokenizer, request.texts, request.texts_b, request.max_length_tokens)
    rows = EncodedRows(encoded.input_ids, encoded.token_type_ids, places=places)
    dynamic = predict_outputs(model, kind, rows, tokenizer.pad_id)
    graph = "plain" if kind.by_token else request.graph  # a tagger needs every token
    if graph == "served":
        answer_from_first_token(model)
    inputs = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    static = paddle.jit.to_static(served_layer(model, tokenizer.pad_id), input_spec=inputs, full_graph=True)
    paddle.jit.save(static, str(folder / MODEL_STEM))
    (folder / f"{MODEL_STEM}.pdiparams.info").unlink()  # a pickle that only Paddle's Python loader reads
    strip_call_stacks(folder / f"{MODEL_STEM}.pdmodel")
    tokenizer.save(folder)
    output = {"name": "logits", "dtype": "float32", "shape": [-1] * (1 + kind.by_token) + [len(request.labels)]}
    manifest = Manifest(
        task=request.task,
        task_type=f"pair_{kind.name}" if request.texts_b is not None else kind.name,
        unit=request.unit,
        labels=request.labels,
        max_length_tokens=request.max_length_tokens,
        metric=request.metric,
        precision="fp32",
        parameters=parameters,
        architecture={**{name: int(getattr(model.config, name)) for name in _SIZE}, "graph": graph},
        inputs=[{"name": spec.name, "dtype": "int64", "shape": [-1, -1]} for spec in inputs],
        outputs=[output],
        parity={},
        table=request.table,
        versions={"paddle_ernie_tiny": __version__, "paddlepaddle": paddle.__version__},
    )
    write_manifest(folder, manifest)
    served = Predictor(folder).outputs(request.texts, request.texts_b)
    manifest.parity = parity_of(served, dynamic, request.tolerance)
    write_manifest(folder, manifest)
    return manifest.parity


def strip_call_stacks(program_file: Path) -> None:
    """Takes out of a `.pdmodel` the Python call stacks of its operators, which name paths of this machine."""
    from paddle.base.proto import framework_pb2

    program = framework_pb2.ProgramDesc()
    program.ParseFromString(program_file.read_bytes())
    for block in program.blocks:
        for operator in block.ops:
            kept = [attribute for attribute in operator.attrs if attribute.name != "op_callstack"]
            del operator.attrs[:]
            operator.attrs.extend(kept)
    program_file.write_bytes(program.SerializeToString())
