"""Exports a checkpoint to a bundle: kept only if the answers before and after agree.

Graphs are made in a process of their own: `.pdmodel` needs `FLAGS_enable_pir_api=0` before Paddle is imported, and
what is compared should be what a fresh process sees.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data.rows import EncodedRows
from ..data.text_tokenizer import TextTokenizer
from ..data.tokenization import read_tokenizer
from ..defaults import EXPORT_TOLERANCE, MAX_LENGTH_TOKENS
from ..engines import MODEL_STEM, ON_CPU
from ..errors import InputError
from ..extensions import kind_named
from ..files import new_folder
from ..kinds import KINDS, Kind
from ..kinds.metrics import metrics_of
from ..processes import in_child
from .bundle import MANIFEST, SIZES, Manifest, PrunedVocabulary, write_manifest
from .card import Facts, describe_bundle, facts_of
from .onnx_graph import add_onnx, require_engines
from .parity import parity_of, require_parity
from .predictor import Predictor
from .row_files import read_texts

OLD_FORMAT = {"FLAGS_enable_pir_api": "0"}  # Paddle then writes model.pdmodel, which Serving and CPU int8 need


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
    long_text: str | None = None  # one of the kind's `long_texts`; None: its first
    tolerance: float = EXPORT_TOLERANCE
    table: dict[str, Any] = field(default_factory=dict)  # the layout of the training data
    graph: str = "served"  # graph.py; "plain": the model as it is written, for comparison
    facts: Facts | None = None  # for the card: what a finished run knows of the model
    settings: dict[str, Any] = field(default_factory=dict)  # of the kind of task, with what it learnt from dev
    engines: Sequence[str] = ("paddle",)  # what the bundle is to run in; with others it also holds model.onnx
    whole: str | None = None  # of a copy with a pruned vocabulary: the model that it was made from
    as_before: list[bool] = field(default_factory=list)  # of such a copy: which rows have to be answered as by `whole`
    vocabulary: PrunedVocabulary | None = None  # of such a copy

    @property
    def kind_of_task(self) -> Kind:
        """The kind with its settings. Raises InputError for one that is not known here."""
        return kind_named(self.kind, "export", self.settings)

    @property
    def reading(self) -> str:
        """What becomes of a text that is too long."""
        return self.long_text or self.kind_of_task.long_texts[0]


def export_bundle(request: ExportRequest) -> dict[str, Any]:
    """Writes the bundle atomically and returns its parity figures.

    Raises GateError when the static graph's logits differ from the dynamic one's by more than the tolerance, or those
    of another engine from Paddle Inference's; `request.out` is then left as it was. Raises InputError for engines that
    are not installed, ErnieTinyError when the child process fails.
    """
    if not request.texts:
        raise InputError("the parity gate needs at least one row", "export", "give real texts of the task")
    possible = request.kind_of_task.long_texts
    if request.long_text not in (None, *possible):
        raise InputError(f"long_text is {request.long_text!r}", "export", f"use {', '.join(possible)}")
    if not request.engines:
        raise InputError("no engine is named", "export, engines", f"use {', '.join(ON_CPU)}")
    out, others = Path(request.out), require_engines(request.engines, "export, engines")
    with new_folder(out, marker=MANIFEST) as folder:
        parity = in_child("export", _write_bundle, request, folder, environment=OLD_FORMAT)
        require_parity(parity, out, "static and dynamic graph", "exported")
        if others:
            add_onnx(folder, others, request.texts, request.texts_b, request.tolerance, out)
    return parity


def export(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike,
    rows: str | os.PathLike,
    tolerance: float = EXPORT_TOLERANCE,
    max_length_tokens: int = MAX_LENGTH_TOKENS,
    task: str = "classification",
    labels: list[str] | None = None,
    text: str | None = None,
    text_b: str | None = None,
    long_text: str | None = None,
    engines: Sequence[str] = ("paddle",),
) -> dict[str, Any]:
    """Exports a folder of a fine-tuned model, such as a stage's `final/`, to the bundle `out`.

    Labels and kind of task come from its configuration; `labels` names those that have no names there, in id order.
    `rows` is a text file with one row per line (a tab between the texts of a pair), or any data file, whose columns
    `text` and `text_b` name. `long_text`: as `task.long_text` of its training; None: what is usual for its kind.
    `engines`: what the bundle is to run in, as `export.engines`; with others than Paddle it holds model.onnx too.
    Returns the parity figures. Raises InputError, and GateError as `export_bundle` does.
    """
    from ..models.architectures import check_room
    from ..models.build import read_model_config

    folder = Path(checkpoint)
    if not folder.is_dir():
        raise InputError("no such folder", str(folder), "give the final/ folder of a stage")
    kind, labels = classifier_in(folder, labels)
    texts, texts_b = read_texts(Path(rows), text, text_b)
    unit = kind.unit(texts)
    pair = texts_b is not None
    if kind.needs_pair and not pair:
        raise InputError(f"a row of {kind.name} is two texts", str(rows), "give both, with a tab between them")
    config, segments = read_model_config(folder), read_tokenizer(folder).segments
    check_room(config, {"--max-length": max_length_tokens}, pair, folder, segments)
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
            long_text=long_text,
            texts=[kind.split(text, unit) for text in texts],
            texts_b=texts_b,
            tolerance=tolerance,
            table={"format": "auto", "header": "auto", "text": 0, "text_b": 1 if pair else None, "label": 1 + pair},
            facts=facts_of(folder),
            engines=engines,
        )
    )


def classifier_in(folder: Path, labels: list[str] | None = None) -> tuple[Kind, list[str]]:
    """The kind of task of a fine-tuned model by its configuration, and its labels, which `labels` names if it does not.

    Raises InputError for any other model.
    """
    from ..models.architectures import kind_of_model
    from ..models.build import check_model, read_model_config

    config = read_model_config(folder)
    labels = _labels(folder, config, labels)
    head = (config.get("architectures") or [""])[0]
    kind = kind_of_model(config, head, labels)
    if kind is None:
        heads = ", ".join(dict.fromkeys(kind.head for kind in KINDS.values()))
        what = f"a model of class {head or 'unknown'} with {len(labels)} labels is no classifier that is exported"
        raise InputError(what, str(folder), f"give a model that is fine-tuned and of a class ...{heads}")
    check_model(folder, kind.head, len(labels), kind.unread)
    return kind, labels


def _labels(folder: Path, config: dict[str, Any], given: list[str] | None) -> list[str]:
    """The names of a classifier's labels. Raises InputError where they do not name each of its outputs once."""
    from ..models.architectures import check_label_names, default_labels, label_names
    from ..models.build import head_outputs

    outputs = head_outputs(folder)
    own = label_names(config, str(folder), outputs or 2)
    if given is None:
        if own:
            return own
        raise InputError("config.json names no labels", str(folder), "give a fine-tuned classifier, or --labels")
    if own and own not in (given, default_labels(len(own))):
        raise InputError(f"the model names its labels itself: {', '.join(own)}", "--labels", "leave --labels out")
    if len(given) != (outputs or len(given)):
        what = f"{len(given)} labels ({', '.join(given)}) for a model with {outputs} outputs"
        raise InputError(what, "--labels", "name each output once, in the order of the model's outputs")
    check_label_names(given, "--labels")
    return given


def _write_bundle(request: ExportRequest, folder: Path) -> dict[str, Any]:
    """In the child process: writes the bundle's files into `folder`, and compares what it answers with the model."""
    import paddle

    from ..models.build import count_parameters
    from .graph import Served, answer_from_first_token

    paddle.set_device("cpu")
    kind = request.kind_of_task
    model, tokenizer, dynamic = _dynamic(request, Path(request.checkpoint))
    if request.whole is not None:
        before = _dynamic(request, Path(request.whole))[2]
        choice = zip(request.as_before, before, dynamic, strict=True)
        dynamic = [old if same else new for same, old, new in choice]
    parameters = count_parameters(model)
    graph = request.graph if request.graph in kind.graphs else kind.graphs[0]
    if graph == "served":
        answer_from_first_token(model)
    inputs = [paddle.static.InputSpec([None, None], "int64", name) for name in ("input_ids", "token_type_ids")]
    static = paddle.jit.to_static(Served(model, tokenizer.pad_id), input_spec=inputs, full_graph=True)
    paddle.jit.save(static, str(folder / MODEL_STEM))
    (folder / f"{MODEL_STEM}.pdiparams.info").unlink()  # a pickle that only Paddle's Python loader reads
    strip_call_stacks(folder / f"{MODEL_STEM}.pdmodel")
    tokenizer.save(folder)
    output = {"name": "logits", "dtype": "float32", "shape": [-1] * (1 + kind.by_token) + [len(request.labels)]}
    manifest = Manifest(
        task=request.task,
        task_type=f"pair_{kind.name}" if kind.may_pair and request.texts_b is not None else kind.name,
        unit=request.unit,
        settings=request.settings,
        labels=request.labels,
        max_length_tokens=request.max_length_tokens,
        long_text=request.reading,
        metric=request.metric,
        precision="fp32",
        parameters=parameters,
        architecture={**{name: int(getattr(model.config, name)) for name in SIZES}, "graph": graph},
        inputs=[{"name": spec.name, "dtype": "int64", "shape": [-1, -1]} for spec in inputs],
        outputs=[output],
        parity={},
        vocabulary=request.vocabulary,
        table=request.table,
        versions={"paddle_ernie_tiny": __version__, "paddlepaddle": paddle.__version__},
    )
    write_manifest(folder, manifest)
    served = Predictor(folder).outputs(request.texts, request.texts_b)
    manifest.parity = parity_of(served, dynamic, request.tolerance, kind)
    describe_bundle(folder, manifest, request.facts)
    return manifest.parity


def _dynamic(request: ExportRequest, folder: Path) -> tuple[Any, TextTokenizer, list[np.ndarray]]:
    """A model for evaluation, its tokenizer, and what its dynamic graph answers to the request's rows."""
    from ..models.build import load_classifier, load_tokenizer
    from ..training.inference import predict_outputs

    kind, tokenizer = request.kind_of_task, load_tokenizer(folder)
    model = load_classifier(folder, request.labels, kind)
    model.eval()
    how = request.max_length_tokens, request.reading
    encoded, places = kind.tokenize(tokenizer, request.texts, request.texts_b, *how)
    rows = EncodedRows(encoded.input_ids, encoded.token_type_ids, places=places, rows=encoded.rows)
    return model, tokenizer, predict_outputs(model, kind, rows, tokenizer.pad_id)


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
