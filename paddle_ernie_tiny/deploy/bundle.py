"""The bundle: a folder that deploys by itself, with a manifest that vouches for every file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import InputError
from ..extensions import kind_named
from ..files import sha256, write_text
from ..kinds import Kind

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


@dataclass
class Manifest:
    """What a bundle holds. `files` maps each file's name to its SHA-256."""

    task: str
    task_type: str  # the name of the kind of task, behind "pair_" if a row is two texts
    labels: list[str]  # in the order of the logits; of a regression, the name of its one output
    max_length_tokens: int
    metric: str
    precision: str  # fp32 | int8
    parameters: int
    inputs: list[dict]  # name, dtype, shape (-1: any)
    outputs: list[dict]
    parity: dict  # rows, max_abs_diff, label_agreement, tolerance; of int8 against fp32, and both metrics
    table: dict  # format, header, columns of the data it was trained on; defaults of `evaluate`
    versions: dict
    format_version: int = FORMAT_VERSION
    architecture: dict = field(default_factory=dict)  # size of the encoder, and which graph was exported of it
    quantization: dict | None = None  # of int8: how it was made, and what was left in fp32
    unit: str | None = None  # of token classification: "character" or "word", what gets a tag
    files: dict[str, str] = field(default_factory=dict)

    @property
    def pair(self) -> bool:
        """Is a row two texts?"""
        return self.task_type.startswith("pair_")

    @property
    def kind(self) -> Kind:
        """The kind of task. Raises InputError for one that is not known here."""
        return kind_named(self.task_type.removeprefix("pair_"), "task_type in manifest.json")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Hashes every file of `folder` into the manifest and writes it."""
    manifest.files = {
        path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != MANIFEST
    }
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=2) + "\n")


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads a bundle's manifest and verifies every file against it.

    Raises InputError when the folder is no bundle, its format is unknown, or a file is missing, altered or not
    the bundle's own.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError("no manifest.json, so this is not a bundle", str(folder), "give the bundle/ folder of a run")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["format_version"]
        if version != FORMAT_VERSION:
            what = f"bundle format {version} is not known (known: {FORMAT_VERSION})"
            raise InputError(what, str(path), "use the toolkit's version that wrote it, or export again")
        manifest = Manifest(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"not a readable manifest: {error}", str(path), "export the bundle again") from None
    for name, digest in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise InputError("a file of the bundle is missing", str(file), "copy the whole folder, or export again")
        if sha256(file) != digest:
            what = "the file was altered after export (its SHA-256 differs from the manifest's)"
            raise InputError(what, str(file), "copy the bundle again, or export again")
    for file in sorted(folder.iterdir()):  # hidden ones apart: nothing reads those
        if file.name not in manifest.files and file.name != MANIFEST and not file.name.startswith("."):
            raise InputError("not a file of this bundle: the manifest does not name it", str(file), "take it out")
    return manifest
