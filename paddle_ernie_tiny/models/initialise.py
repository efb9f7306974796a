"""What a student starts from, and which teacher layer each of its layers learns from or is copied from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paddle

from ..config import RunConfig, StudentSettings, check_config
from ..config.student_settings import SIZES
from ..errors import InputError
from ..kinds import Kind
from .build import build_student, check_model, load_classifier, load_encoder, read_model_config, resolve_model
from .narrow import Batches, narrow_layers
from .weights import read_weights


def layer_map(
    kind: Literal["uniform", "top", "bottom"] | list[int],
    student_layers: int,
    teacher_layers: int,
    where: str = "objective.layer_map",
    of: str = "teacher",
) -> dict[int, int]:
    """Student layer m (from 1) to teacher layer g(m).

    uniform: g(m) = m * teacher_layers / student_layers (TinyBERT, arXiv 1909.10351, section 4.1), rounded to
    the nearest layer where it is not whole: 4 of 12 gives 3, 6, 9, 12. top: the teacher's last layers (9 to
    12); bottom: its first (1 to 4). Layer 0, the embeddings, always learns from layer 0 and is not listed. `of` is what
    messages call the model whose layers these are.

    Raises InputError, naming the setting `where`, for a map that is too long, out of range, or not increasing.
    """
    if isinstance(kind, str):
        if student_layers > teacher_layers:
            what = f"the student has {student_layers} layers, the {of} only {teacher_layers}"
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
        raise InputError(what, where, f"name one {of} layer for each student layer")
    for target in targets:
        if not 1 <= target <= teacher_layers:
            raise InputError(f"{of} layer {target} does not exist", where, f"use 1 to {teacher_layers}")
    if any(later < earlier for earlier, later in zip(targets, targets[1:], strict=False)):
        raise InputError(f"{targets} is not monotonic", where, f"{of} layers must not decrease")
    return {m: target for m, target in enumerate(targets, start=1)}


def start_folder(settings: StudentSettings) -> Path | None:
    """The folder of the model that the student starts from; None: it starts otherwise."""
    name = settings.init.folder
    return None if name is None else resolve_model(name, "student.init.folder")


def with_sizes(config: RunConfig) -> RunConfig:
    """The run with the sizes of the models that its students start from, where they give none.

    Raises InputErrors for models that are not found, sizes that contradict them, or settings that do not fit these.
    """
    students = {"student": config.student} if config.students is None else config.students
    if all(settings.sized for settings in students.values()):
        return config
    known: dict[str, Any] = {name: _sized(settings) for name, settings in students.items()}
    common = config.model_dump(exclude={"student", "students"})
    return check_config({**common, **(known if config.students is None else {"students": known})}, "configuration")


_MAY_BE_SMALLER = ("num_hidden_layers", "intermediate_size")  # than those of the model that a student starts from


def _sized(settings: StudentSettings) -> StudentSettings:
    folder = start_folder(settings)
    if folder is None:
        return settings
    values = read_model_config(folder)
    for size in (size for size in SIZES if size in settings.model_fields_set):
        own, most = getattr(settings, size), values[size]
        if own > most or own < most and size not in _MAY_BE_SMALLER:
            what = f"{size} is {most} here, and {own} in the configuration"
            less = " or less" if size in _MAY_BE_SMALLER else ""
            raise InputError(what, str(folder), f"set student.{size}={most}{less}, or leave it out")
    return settings.model_copy(update={size: values[size] for size in SIZES if size not in settings.model_fields_set})


def initial_student(
    settings: StudentSettings,
    teacher_folder: Path,
    labels: list[str],
    kind: Kind,
    seed: int,
    texts: Callable[[], Batches] = tuple,
) -> Any:
    """A student classifier before any training; what is not taken from elsewhere is random, by the seed.

    texts: makes the batches on which layers are narrowed. Raises InputError as `check_start` does.
    """
    teacher = read_model_config(teacher_folder)
    check_start(settings, teacher)
    paddle.seed(seed)
    start = settings.init
    folder = start_folder(settings)
    if folder is not None:
        given, settings = read_model_config(folder), _sized(settings)
        layers = layer_map(start.layers, settings.num_hidden_layers, given["num_hidden_layers"])
        prefix = f"{given['model_type']}."
        weights = {name.removeprefix(prefix): value for name, value in read_weights(folder).items()}
        weights = _strongest_units(_chosen_layers(weights, layers), settings.intermediate_size)
        return load_classifier(folder, labels, kind, settings.shape.model_dump(), new_head=True, weights=weights)
    student = build_student(teacher_folder, settings.shape, labels, kind)
    if start.method == "teacher_narrowed":
        layers = layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"])
        narrow_layers(student, load_encoder(teacher_folder), layers, texts())
    elif start.method != "random":
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
    """The other model's layer g(m) as layer m, and what is no layer, of weights by their names in an encoder."""
    taken = {name: value for name, value in weights.items() if not name.startswith("encoder.layers.")}
    for m, g in layers.items():
        own, theirs = f"encoder.layers.{m - 1}.", f"encoder.layers.{g - 1}."
        taken |= {own + name.removeprefix(theirs): value for name, value in weights.items() if name.startswith(theirs)}
    return taken


def _strongest_units(weights: dict, units: int) -> dict:
    """The weights with `units` units in each feed-forward network: those that matter most, in their order.

    What unit j adds to the states is f(x W1[:, j] + b1[j]) W2[j]. Its measure is |W1[:, j]| |W2[j]|, the product of the
    norms of its input and output weights.
    """
    reduced = dict(weights)
    for name in (name for name in weights if name.endswith(".linear1.weight")):
        layer = name.removesuffix("linear1.weight")
        inputs, outputs = weights[name], weights[f"{layer}linear2.weight"]
        measure = np.linalg.norm(inputs, axis=0) * np.linalg.norm(outputs, axis=1)
        kept = np.sort(np.argsort(-measure, kind="stable")[:units])
        bias = f"{layer}linear1.bias"
        reduced |= {name: inputs[:, kept], bias: weights[bias][kept], f"{layer}linear2.weight": outputs[kept]}
    return reduced


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


def check_start(settings: StudentSettings, teacher: dict | None) -> None:
    """Raises InputError where the student cannot start as `settings.init` says.

    teacher: its configuration as a mapping; None: not known yet.
    """
    start = settings.init
    if start.method == "teacher_embeddings" and teacher and settings.hidden_size != teacher["hidden_size"]:
        width = teacher.get("embedding_size") or teacher["hidden_size"]
        if settings.hidden_size > width:
            what = f"the student is {settings.hidden_size} wide, the teacher's embeddings only {width}"
            raise InputError(what, "student.init.method", "use a narrower student, or method: random")
    if start.method == "teacher_layers" and teacher:
        layer_map(start.layers, settings.num_hidden_layers, teacher["num_hidden_layers"], "student.init.layers")
        for size in SIZES[1:]:
            own = getattr(settings, size)
            if own != teacher[size]:
                what = f"a layer of the teacher does not fit: {size} is {teacher[size]}, the student's {own}"
                remedy = "use the teacher's size, or method: teacher_narrowed or teacher_embeddings"
                raise InputError(what, f"student.{size}", remedy)
    if start.method == "teacher_narrowed":
        _check_narrower(settings, teacher)
    folder = start_folder(settings)
    if folder is not None:
        check_model(folder)
        layers = _sized(settings).num_hidden_layers, read_model_config(folder)["num_hidden_layers"]
        layer_map(start.layers, *layers, "student.init.layers", "model")


def _check_narrower(settings: StudentSettings, teacher: dict | None) -> None:
    """Raises InputError for a student that is wider than the teacher, or has another number of heads."""
    remedy = "or use method: teacher_embeddings"
    if not teacher:
        return
    layers = settings.num_hidden_layers, teacher["num_hidden_layers"]
    layer_map(settings.init.layers, *layers, "student.init.layers")
    if teacher.get("embedding_size", teacher["hidden_size"]) != teacher["hidden_size"]:
        what = "the teacher's embeddings have another width than its layers, which teacher_narrowed does not do"
        raise InputError(what, "student.init.method", "use method: teacher_embeddings, or random")
    for size in ("hidden_size", "intermediate_size") if settings.num_hidden_layers else ("hidden_size",):
        if getattr(settings, size) > teacher[size]:
            what = f"{size} is {getattr(settings, size)}, the teacher's only {teacher[size]}"
            raise InputError(what, f"student.{size}", f"use at most {teacher[size]}, {remedy}")
    if settings.num_hidden_layers and settings.num_attention_heads != teacher["num_attention_heads"]:
        heads = teacher["num_attention_heads"]
        what = f"layers are narrowed head by head: the teacher has {heads}, the student {settings.num_attention_heads}"
        raise InputError(what, "student.num_attention_heads", f"use {heads}, {remedy}")
