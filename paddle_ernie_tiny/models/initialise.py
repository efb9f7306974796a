"""What a student starts from: random weights, the teacher's layers or embeddings, or a model that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ..config import StudentSettings
from ..data.tokenization import WordPieceTokenizer
from ..errors import InputError
from ..kinds import Kind
from .build import build_student, load_classifier, read_model_config
from .layer_map import layer_map
from .weights import read_weights

_SIZES = ("hidden_size", "num_attention_heads", "intermediate_size")
_EMBEDDINGS = re.compile(r"embeddings\.\w+_embeddings\.weight")


def initial_student(settings: StudentSettings, teacher_folder: Path, labels: list[str], kind: Kind, seed: int) -> Any:
    """A student classifier before any training; what is not taken from elsewhere is random, by the seed.

    Raises InputError as `check_initialisation` does.
    """
    teacher = read_model_config(teacher_folder)
    check_initialisation(settings, teacher)
    paddle.seed(seed)
    start = settings.init
    if start.folder is not None:
        check_start_folder(settings, teacher_folder)
        dropout = settings.model_dump(include={"hidden_dropout_prob", "attention_probs_dropout_prob"})
        return load_classifier(Path(start.folder), labels, kind, dropout)
    student = build_student(teacher_folder, settings.shape, labels, kind)
    if start.method != "random":
        prefix = f"{student.base_model_prefix}."
        weights = {name.removeprefix(prefix): value for name, value in read_weights(teacher_folder).items()}
        if start.method == "teacher_embeddings":
            taken = embeddings_by_svd(weights, settings.hidden_size)
        else:
            layers = layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"])
            taken = _chosen_layers(weights, layers)
        own = student.state_dict()
        taken = {prefix + name: value for name, value in taken.items() if prefix + name in own}
        student.set_state_dict({**own, **taken})
    return student


def _chosen_layers(weights: dict, layers: dict[int, int]) -> dict:
    """Embeddings, pooler, and the teacher's layer g(m) as layer m, of an encoder's weights by name."""
    taken = {name: value for name, value in weights.items() if name.startswith(("embeddings.", "pooler."))}
    for m, g in layers.items():
        own, theirs = f"encoder.layers.{m - 1}.", f"encoder.layers.{g - 1}."
        found = {own + name.removeprefix(theirs): name for name in weights if name.startswith(theirs)}
        taken |= {name: weights[given] for name, given in found.items()}
    return taken


def embeddings_by_svd(weights: dict, width: int) -> dict:
    """The best approximation of the teacher's word embeddings at a smaller width, E V_k = U_k S_k (Eckart-Young).

    Position and segment embeddings are turned into the same coordinates. Each table [rows, hidden_teacher]
    becomes [rows, width]; inner products of words change as little as they can.
    """
    tables = {name: value for name, value in weights.items() if _EMBEDDINGS.fullmatch(name)}
    words = tables["embeddings.word_embeddings.weight"].astype(np.float64)
    # the right singular vectors of E are the eigenvectors of the small matrix E^T E, in rising order
    basis = np.linalg.eigh(words.T @ words)[1][:, ::-1][:, :width]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(width)])  # a sign that is always the same
    return {name: (value.astype(np.float64) @ basis).astype(np.float32) for name, value in tables.items()}


def check_initialisation(settings: StudentSettings, teacher: dict) -> None:
    """Raises InputError where the student cannot start from this teacher (its configuration as a mapping)."""
    start = settings.init
    if start.method == "teacher_embeddings" and settings.hidden_size > teacher["hidden_size"]:
        raise InputError(
            f"the student is {settings.hidden_size} wide, the teacher's embeddings only {teacher['hidden_size']}",
            "student.init.method",
            "use a narrower student, or method: random",
        )
    if start.method == "teacher_layers":
        layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"], "student.init.layers")
        for size in _SIZES:
            if getattr(settings, size) != teacher[size]:
                raise InputError(
                    f"a layer of the teacher does not fit: {size} is {teacher[size]}, the student's "
                    f"{getattr(settings, size)}",
                    f"student.{size}",
                    "give the student the teacher's sizes, or use method: teacher_embeddings",
                )


def check_start_folder(settings: StudentSettings, teacher_folder: Path) -> None:
    """Raises InputError where the model in `init.folder` has other sizes, or another vocabulary than the teacher."""
    assert settings.init.folder is not None, "the schema asks for it where it is used"
    folder = Path(settings.init.folder)
    if not folder.is_dir():
        raise InputError("no such model folder", str(folder), "check student.init.folder")
    values = read_model_config(folder)
    for size in ("num_hidden_layers", *_SIZES):
        if values[size] != getattr(settings, size):
            raise InputError(
                f"{size} is {values[size]} here, and {getattr(settings, size)} in the configuration",
                str(folder),
                f"set student.{size}={values[size]}",
            )
    tokenizers = [WordPieceTokenizer.from_folder(path) for path in (folder, teacher_folder)]
    if tokenizers[0].fingerprint != tokenizers[1].fingerprint:
        raise InputError(
            f"its vocabulary ({tokenizers[0].vocab_size} tokens) is not the teacher's ({tokenizers[1].vocab_size})",
            str(folder),
            "teacher and student must share the tokenizer: start from a model with the teacher's vocabulary",
        )
