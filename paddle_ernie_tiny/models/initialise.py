"""What a student starts from, and which teacher layer each of its layers learns from or is copied from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from ..config import StudentSettings
from ..data.tokenization import read_tokenizer
from ..errors import InputError
from ..kinds import Kind
from .build import build_student, check_model, load_classifier, read_model_config
from .weights import read_weights

_SIZES = ("hidden_size", "num_attention_heads", "intermediate_size")


def layer_map(
    kind: Literal["uniform", "top", "bottom"] | list[int],
    student_layers: int,
    teacher_layers: int,
    where: str = "objective.layer_map",
) -> dict[int, int]:
    """Student layer m (from 1) to teacher layer g(m).

    uniform: g(m) = m * teacher_layers / student_layers (TinyBERT, arXiv 1909.10351, section 4.1), rounded to
    the nearest layer where it is not whole: 4 of 12 gives 3, 6, 9, 12. top: the teacher's last layers (9 to
    12); bottom: its first (1 to 4). Layer 0, the embeddings, always learns from layer 0 and is not listed.

    Raises InputError, naming the setting `where`, for a map that is too long, out of range, or not increasing.
    """
    if isinstance(kind, str):
        if student_layers > teacher_layers:
            what = f"the student has {student_layers} layers, the teacher only {teacher_layers}"
            raise InputError(what, "student.num_hidden_layers", f"use at most {teacher_layers} layers, or a layer_map")
        first = {"top": teacher_layers - student_layers + 1, "bottom": 1}.get(kind)
        # floor(x + 1/2), not round(): Python rounds halves to even, which can skip and repeat layers
        targets = [
            (2 * m * teacher_layers + student_layers) // (2 * student_layers) if first is None else first + m - 1
            for m in range(1, student_layers + 1)
        ]
    else:
        targets = list(kind)
    if len(targets) != student_layers:
        what = f"{targets} names {len(targets)} layers, the student has {student_layers}"
        raise InputError(what, where, "name one teacher layer for each student layer")
    for target in targets:
        if not 1 <= target <= teacher_layers:
            raise InputError(f"teacher layer {target} does not exist", where, f"use 1 to {teacher_layers}")
    if any(later < earlier for earlier, later in zip(targets, targets[1:], strict=False)):
        raise InputError(f"{targets} is not monotonic", where, "teacher layers must not decrease")
    return {m: target for m, target in enumerate(targets, start=1)}


def initial_student(settings: StudentSettings, teacher_folder: Path, labels: list[str], kind: Kind, seed: int) -> Any:
    """A student classifier before any training; what is not taken from elsewhere is random, by the seed.

    Raises InputError as `check_start` does.
    """
    teacher = read_model_config(teacher_folder)
    check_start(settings, teacher, teacher_folder)
    paddle.seed(seed)
    start = settings.init
    if start.folder is not None:
        dropout = settings.model_dump(include={"hidden_dropout_prob", "attention_probs_dropout_prob"})
        return load_classifier(Path(start.folder), labels, kind, dropout, new_head=True)
    student = build_student(teacher_folder, settings.shape, labels, kind)
    if start.method != "random":
        prefix = f"{student.base_model_prefix}."
        weights = {name.removeprefix(prefix): value for name, value in read_weights(teacher_folder).items()}
        if start.method == "teacher_embeddings":
            taken = embeddings_by_svd(weights, getattr(student.config, "embedding_size", settings.hidden_size))
        else:
            layers = layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"])
            taken = _chosen_layers(weights, layers)
        own = student.state_dict()
        taken = {prefix + name: value for name, value in taken.items() if prefix + name in own}
        student.set_state_dict({**own, **taken})
    return student


def _chosen_layers(weights: dict, layers: dict[int, int]) -> dict:
    """Embeddings, pooler, and the teacher's layer g(m) as layer m, of an encoder's weights by name."""
    taken = {name: value for name, value in weights.items() if name.startswith(("embeddings", "pooler."))}
    for m, g in layers.items():
        own, theirs = f"encoder.layers.{m - 1}.", f"encoder.layers.{g - 1}."
        taken |= {own + name.removeprefix(theirs): value for name, value in weights.items() if name.startswith(theirs)}
    return taken


def embeddings_by_svd(weights: dict, width: int) -> dict:
    """The best approximation of the teacher's word embeddings at a smaller width, E V_k = U_k S_k (Eckart-Young).

    Position and segment embeddings are turned into the same coordinates. Each table [rows, hidden_teacher]
    becomes [rows, width]; inner products of words change as little as they can.
    """
    tables = {name: value for name, value in weights.items() if name.endswith("_embeddings.weight")}
    words = tables["embeddings.word_embeddings.weight"].astype(np.float64)
    # the right singular vectors of E are the eigenvectors of the small matrix E^T E, in rising order
    basis = np.linalg.eigh(words.T @ words)[1][:, ::-1][:, :width]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(width)])  # a sign that is always the same
    return {name: (value.astype(np.float64) @ basis).astype(np.float32) for name, value in tables.items()}


def check_start(settings: StudentSettings, teacher: dict | None, teacher_folder: Path | None) -> None:
    """Raises InputError where the student cannot start as `settings.init` says.

    teacher: its configuration as a mapping; teacher_folder: where its vocabulary is. What is None is not known yet.
    """
    start = settings.init
    if start.method == "teacher_embeddings" and teacher and settings.hidden_size != teacher["hidden_size"]:
        width = teacher.get("embedding_size") or teacher["hidden_size"]
        if settings.hidden_size > width:
            what = f"the student is {settings.hidden_size} wide, the teacher's embeddings only {width}"
            raise InputError(what, "student.init.method", "use a narrower student, or method: random")
    if start.method == "teacher_layers" and teacher:
        layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"], "student.init.layers")
        for size in _SIZES:
            own = getattr(settings, size)
            if own != teacher[size]:
                what = f"a layer of the teacher does not fit: {size} is {teacher[size]}, the student's {own}"
                raise InputError(what, f"student.{size}", "use the teacher's size, or method: teacher_embeddings")
    if start.folder is not None and teacher_folder is not None:
        _check_folder(settings, Path(start.folder), teacher_folder)


def _check_folder(settings: StudentSettings, folder: Path, teacher_folder: Path) -> None:
    """The model there must have the sizes of the settings, and the teacher's vocabulary."""
    if not folder.is_dir():
        raise InputError("no such model folder", str(folder), "check student.init.folder")
    check_model(folder)
    values = read_model_config(folder)
    for size in ("num_hidden_layers", *_SIZES):
        if values[size] != getattr(settings, size):
            what = f"{size} is {values[size]} here, and {getattr(settings, size)} in the configuration"
            raise InputError(what, str(folder), f"set student.{size}={values[size]}")
    own, given = (read_tokenizer(path) for path in (folder, teacher_folder))
    if own.fingerprint != given.fingerprint:
        what = f"its vocabulary ({own.vocab_size} tokens) is not the teacher's ({given.vocab_size})"
        remedy = "teacher and student must share the tokenizer: start from a model with the teacher's vocabulary"
        raise InputError(what, str(folder), remedy)
