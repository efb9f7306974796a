"""The bundle: a folder that deploys by itself, with a manifest that vouches for every file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import from_json
from typing_extensions import TypedDict

from ..data.tables import TableFormat
from ..engines import IN_ONNX, ONNX_FILE, PADDLE_FILES
from ..errors import InputError
from ..extensions import kind_named
from ..files import sha256, sync, write_text
from ..kinds import LONG_TEXTS, Kind
from ..sections import checked_fields, first_of
from ..text_rule import is_blank, refused_character

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
# what of a PaddleNLP configuration decides how much a forward pass computes
SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
_REMEDY = "copy the bundle again, or export it again"


def _name(value: str) -> str:
    if what := "it is empty" if is_blank(value) else refused_character(value):
        raise ValueError(what)
    return value


def _table(value: dict[str, Any]) -> dict[str, Any]:
    return checked_fields(TableFormat, value)


def _architecture(value: dict[str, Any]) -> dict[str, Any]:
    """Of the encoder: its sizes, and which graph was exported."""
    sizes = {key: value[key] for key in value if key != "graph"}
    fit = all(type(size) is int and size >= (key != SIZES[0]) for key, size in sizes.items())  # of layers, 0 too
    if sizes.keys() not in (set(), set(SIZES)) or not fit:
        raise ValueError(f"expected a whole number above 0 for each of {', '.join(SIZES)} (of the first, 0 too)")
    if value.get("graph", "served") not in ("served", "plain"):
        raise ValueError("graph: expected served or plain")
    return value


def _file_name(value: str) -> str:
    if value != os.path.basename(_name(value)) or value in (".", "..") or len(value.encode()) > 255:
        raise ValueError(f"{value[:80]!r} is not the name of a file in the bundle's own folder")
    return value


Name = Annotated[str, AfterValidator(_name)]
Figure = Annotated[float, Field(allow_inf_nan=False)]
Parity = dict[str, Figure | None]

_INPUTS = [{"name": name, "dtype": "int64", "shape": [-1, -1]} for name in ("input_ids", "token_type_ids")]


class PrunedSplit(TypedDict):
    """A scored split: how many of its rows have a token that is left out, and the task's metric."""

    rows: int
    rows_changed: int
    score_before: Figure
    score_after: Figure


class PrunedVocabulary(TypedDict):
    """What was left out of a pruned vocabulary, and what that changes.

    rows_as_before: rows of the parity gate that were compared with the whole model.
    """

    tokens_before: int
    tokens_after: int
    parameters_before: int
    parameters_after: int
    rows_as_before: int
    splits: Annotated[dict[Name, PrunedSplit], Field(min_length=1)]


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Manifest:
    """What a bundle holds. `files` maps each file's name to its SHA-256.

    Raises pydantic's ValidationError for fields of a wrong type, or that do not fit together.
    """

    task: Name
    task_type: Name  # the name of the kind of task, behind "pair_" if a row is two texts
    labels: Annotated[list[Name], Field(min_length=1)]  # in the logits' order; of a regression, its output's name
    max_length_tokens: Annotated[int, Field(ge=4, le=65_536)]  # [CLS], both [SEP] of a pair, and room for a token
    metric: Name
    precision: Literal["fp32", "int8", "bf16"]
    parameters: Annotated[int, Field(ge=1, lt=10**13)]
    inputs: list[dict[str, Any]]  # name, dtype, shape (-1: any)
    outputs: list[dict[str, Any]]
    # rows, max_abs_diff, label_agreement, tolerance; of int8 and bf16 against fp32, and both metrics
    parity: Parity
    # layout of the data it was trained on: defaults of `evaluate`
    table: Annotated[dict[str, Any], AfterValidator(_table)]
    versions: dict[str, str]
    format_version: Literal[1] = 1
    # the same figures of each engine that runs model.onnx; only these may, and each was compared with the bundle
    engines: dict[Literal[IN_ONNX], Parity] = field(default_factory=dict)  # type: ignore[valid-type]
    architecture: Annotated[dict[str, Any], AfterValidator(_architecture)] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None  # of int8 and bf16: how it was made, and what was left in fp32
    vocabulary: PrunedVocabulary | None = None  # null: it is whole
    unit: Annotated[str, Field(pattern="^(character|mixed|word)$")] | None = None  # of token classification
    settings: dict[str, Any] = field(default_factory=dict)  # of the kind of task, with what it learnt from dev
    long_text: Literal[LONG_TEXTS] | None = None  # type: ignore[valid-type]  # None: by an older version
    files: dict[Annotated[str, AfterValidator(_file_name)], Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = field(
        default_factory=dict
    )

    @property
    def pair(self) -> bool:
        """Is a row two texts?"""
        return self.task_type.startswith("pair_")

    @property
    def reading(self) -> str:
        """What becomes of a text that is too long; of a bundle that does not say, what is usual for its kind."""
        return self.long_text or self.kind.long_texts[0]

    @property
    def kind(self) -> Kind:
        """The kind of task with its settings. Raises InputError for one that is not known here."""
        return kind_named(self.task_type.removeprefix("pair_"), "task_type in manifest.json", self.settings)

    @property
    def runs_in(self) -> list[str]:
        """The engines that it was compared in, Paddle's own first where the bundle has a graph for it."""
        own = ["paddle"] if PADDLE_FILES[0] in self.files else []
        if ONNX_FILE not in self.files:
            return own
        return own + (list(self.engines) or ["onnxruntime"])  # an older `onnx` wrote its figures into `parity` alone

    @property
    def figures(self) -> dict[str, Parity]:
        """`parity` by engine: that of the first one, and of each other one that runs model.onnx."""
        return {**dict.fromkeys(self.runs_in[:1], self.parity), **self.engines}

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        kind = self.kind
        kind.check_labels(self.labels if kind.has_labels else None, self.metric)
        kind.check_length(self.max_length_tokens)
        if not kind.has_labels and len(set(self.labels)) != len(kind.outputs):  # no name stands for two outputs
            outputs = f"the output of a {kind.name} task is {', '.join(kind.outputs[:3])}"
            raise ValueError(f"{outputs}, but the labels are {', '.join(self.labels[:3])}")
        if self.pair and not kind.may_pair:
            raise ValueError(f"task_type: a row of {kind.name} is one text")
        if kind.needs_pair and not self.pair:
            raise ValueError(f"task_type: a row of {kind.name} is two texts")
        if (self.precision == "fp32") != (self.quantization is None):
            raise ValueError(f"precision is {self.precision}, but quantization is {self.quantization!r:.40}")
        if bool(kind.units) != (self.unit is not None):
            raise ValueError(f"unit is {self.unit!r} for a {kind.name} task")
        if self.table.get("text_b") is not None and kind.may_pair and not self.pair:
            raise ValueError(f"table names a second text, but task_type is {self.task_type}")
        if self.reading not in kind.long_texts:
            raise ValueError(f"long_text is {self.long_text} for a {kind.name} task")
        shape = [-1] * (1 + kind.by_token) + [len(self.labels)]
        found = [{**output, "name": isinstance(output.get("name"), str)} for output in self.outputs]
        if found != [{"name": True, "dtype": "float32", "shape": shape}]:
            raise ValueError(f"outputs: expected one of float32 {shape}: {len(self.labels)} labels are named")
        if self.inputs not in (_INPUTS, _INPUTS[::-1]):
            raise ValueError("inputs: expected input_ids and token_type_ids, int64 [-1, -1]")
        return self


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Hashes every file of `folder` into the manifest and writes it, once they are on the disk."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST]
    for path in files:
        sync(path)
    manifest.files = {path.name: sha256(path) for path in files}
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=2) + "\n")


def read_manifest(folder: str | os.PathLike, strangers: bool = False) -> Manifest:
    """Reads a bundle's manifest and verifies every file against it; with `strangers` other files may be there, too.

    Raises InputError when the folder is no bundle, its format is unknown, a field makes no sense, or a file is
    missing, altered or not the bundle's own.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError("no manifest.json, so this is not a bundle", str(folder), "give the bundle/ folder of a run")
    manifest = _parsed(path)
    for name, digest in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise InputError("a file of the bundle is missing", str(file), "copy the whole folder, or export again")
        if sha256(file) != digest:
            what = "the file was altered after export (its SHA-256 differs from the manifest's)"
            raise InputError(what, str(file), _REMEDY)
    for file in () if strangers else sorted(folder.iterdir()):  # hidden ones apart: nothing reads those
        if file.name not in manifest.files and file.name != MANIFEST and not file.name.startswith("."):
            raise InputError("not a file of this bundle: the manifest does not name it", str(file), "take it out")
    return manifest


def _parsed(path: Path) -> Manifest:
    try:
        values = from_json(path.read_bytes())  # strict UTF-8, a bounded depth
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        version = values.get("format_version")
        if version is not None and (type(version) is not int or version != FORMAT_VERSION):  # True == 1.0 == 1
            what = f"bundle format {str(version)[:20]} is not known (known: {FORMAT_VERSION})"
            raise InputError(what, str(path), "use the toolkit's version that wrote it, or export again")
        return Manifest(**{"format_version": None, **values})
    except (ValueError, TypeError) as error:
        what = first_of(error) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"not a readable manifest: {what[:300]}", str(path), _REMEDY) from None
