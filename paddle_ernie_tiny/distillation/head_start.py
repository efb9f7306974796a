"""The student's head made from the teacher's, so that the last stage does not begin with a random one.

The idea of reusing the teacher's classifier behind a learned projection is that of SimKD (arXiv 2203.14001).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from paddle import Tensor

from ..errors import InputError
from ..kinds import Kind
from ..models.architectures import FAMILIES
from .objective import Objective
from .students import DistilledStudent

_LEAVE_OUT = "leave head out"
_POOLER = "pooler"


def check_head_start(
    where: str, before: Objective | None, student: Mapping[str, Any], teacher: Mapping[str, Any], own_model: bool
) -> None:
    """Raises InputError, naming `where`, for models and stages of which `head_from_teacher` cannot make a head.

    before: the objective of the stage before, None: there is none. student, teacher: their configurations.
    own_model: does the student start from a model that may be of another family (`model_type`) than the teacher?
    """
    if not student["num_hidden_layers"]:
        what = "the student has no layers: its head reads the mean of its embeddings, which no projection has learnt"
        raise InputError(what, where, _LEAVE_OUT)
    last, wanted, width = student["num_hidden_layers"], teacher["num_hidden_layers"], student["hidden_size"]
    if before is None or last not in before.needs("student").hidden:
        what = "head: teacher needs the projection of the last hidden states, and the stage before trains none"
        remedy = f"give objective.hidden a weight in a stage that comes right before, or {_LEAVE_OUT}"
        raise InputError(what, where, remedy)
    if before.layers[last] != wanted:
        what = f"in the stage before, the student's last layer learns from the teacher's layer {before.layers[last]}; "
        what += f"the teacher's head reads layer {wanted}"
        raise InputError(what, where, f"let the layer_map end with {wanted}, or {_LEAVE_OUT}")
    kind = before.kind
    if kind.is_bare(width):
        what = f"the student has no head: its vectors are {width} wide, as its hidden states"
        raise InputError(what, where, _LEAVE_OUT)
    if kind.by_token or _POOLER in kind.unread:
        return
    if width > teacher["hidden_size"]:
        what = (
            f"the student is wider than the teacher ({width}, {teacher['hidden_size']}), whose pooler has too few units"
        )
        raise InputError(what, where, _LEAVE_OUT)
    families = [model["model_type"] for model in (student, teacher)] if own_model else []
    if len({FAMILIES[family].pooler or family for family in families}) > 1:
        what = f"the head of a model of type {families[0]} computes another function than that of {families[1]}"
        raise InputError(what, where, _LEAVE_OUT)


def head_from_teacher(student: DistilledStudent, teacher: Any, projections: Mapping[str, np.ndarray]) -> None:
    """Gives the student a head that answers to its state h as the teacher's head does to h W.

    W [hidden_student, hidden_teacher] is the projection of the last layer that the stage before has learned, among its
    `projections` by name; where that has none, the widths are equal, and W is the identity. A head of one layer C
    becomes W C. One with a layer P before it, f(h W P + b) C, has as many units behind P as the teacher is wide; the
    student takes those of them, as many as it is wide, that move the answer most: with the largest weights in C, of a
    softmax over labels without what is common to all labels. Raises InputError for heads of different layers.
    """
    kind, size = student.objective.kind, teacher.config.hidden_size
    identity, last = np.eye(size, dtype=np.float32), student.config.num_hidden_layers
    projection = projections.get(f"{last}.weight", projections.get("shared.weight", identity))
    own, theirs = _head(student.classifier, kind), {name: _arrays(*of) for name, of in _head(teacher, kind).items()}
    if not theirs:  # an encoder alone, whose pooled states are its vectors
        theirs = {"classifier": (identity, np.zeros(size, np.float32))}
    if list(own) != list(theirs) or len(own) > 2:
        what = f"heads of the layers {', '.join(own)} cannot be made from the teacher's {', '.join(theirs)}"
        raise InputError(what, "stages.task_specific.head", _LEAVE_OUT)
    *inner, (weight, bias) = theirs.values()
    new = [(projection @ weight, bias)]
    for dense, shift in inner:
        units = _units(weight, kind, student.config.hidden_size)
        new = [((projection @ dense)[:, units], shift[units]), (weight[units], bias)]
    for layer, values in zip(own.values(), new, strict=True):
        for parameter, value in zip(layer, values, strict=True):
            parameter.set_value(value)


def _units(weight: np.ndarray, kind: Kind, count: int) -> np.ndarray:
    """The units that move the answer most, in their order: of weights [units, labels]."""
    if kind.one_label:  # what a unit adds to every label alike, softmax does not see
        weight = weight - weight.mean(axis=1, keepdims=True)
    return np.sort(np.argsort(-np.square(weight).sum(axis=1), kind="stable")[:count])


def _head(model: Any, kind: Kind) -> dict[str, tuple[Tensor, Tensor]]:
    """Weight [in, out] and bias of the layers behind the encoder that the kind reads, by name, the last one last."""
    state, prefix = model.state_dict(), f"{model.base_model_prefix}."
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    read = [name for name in names if "classifier" in name or (_POOLER in name and _POOLER not in kind.unread)]
    return {name.removeprefix(prefix): (state[f"{name}.weight"], state[f"{name}.bias"]) for name in read}


def _arrays(*parameters: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(parameter.astype("float32").numpy() for parameter in parameters)
