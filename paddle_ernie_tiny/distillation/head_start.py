"""The student's head made from the teacher's, so that the last stage does not begin with a random one.

The idea of reusing the teacher's classifier behind a learned projection is that of SimKD (arXiv 2203.14001).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..models.weights import to_numpy
from .students import DistilledStudent

_WHERE = "stages.task_specific.head"


def head_from_teacher(student: DistilledStudent, teacher: Any) -> None:
    """Gives the student a head that answers to its state h as the teacher's head does to h W.

    W [hidden_student, hidden_teacher] is the projection that the stages before have learned for the last layer. A
    classifier over states alone becomes W C. Behind a pooler, tanh(h W P + b) has as many units as the teacher is wide;
    the student's pooler takes those of them, as many as it is wide, whose weights in the teacher's classifier differ
    most between the labels. Raises InputError where the student's last layer does not learn from the teacher's last.
    """
    projection = _last_projection(student, teacher)
    own, theirs = (_head(model, student.objective.kind.by_token) for model in (student.classifier, teacher))
    if set(own) != set(theirs) or set(own) not in ({"classifier"}, {"classifier", "pooler.dense"}):
        what = f"heads of the layers {', '.join(own)} cannot be made from the teacher's {', '.join(theirs)}"
        raise InputError(what, _WHERE, "leave it out")
    (weight, bias), new = theirs["classifier"], dict[str, tuple[np.ndarray, np.ndarray]]()
    if "pooler.dense" in theirs:
        dense, shift = theirs["pooler.dense"]
        differ = np.square(weight - weight.mean(axis=1, keepdims=True)).sum(axis=1)
        if weight.shape[1] == 1:  # a score: there are no other labels to differ from
            differ = np.square(weight[:, 0])
        units = np.sort(np.argsort(-differ, kind="stable")[: student.config.hidden_size])
        new["pooler.dense"] = (projection @ dense)[:, units], shift[units]
        new["classifier"] = weight[units], bias
    else:
        new["classifier"] = projection @ weight, bias
    _set_head(student.classifier, new)


def _last_projection(student: DistilledStudent, teacher: Any) -> np.ndarray:
    last, wanted = student.config.num_hidden_layers, teacher.config.num_hidden_layers
    mapped = student.objective.layers.get(last)
    if mapped != wanted:
        what = f"the student's last layer learns from the teacher's layer {mapped}, the head reads layer {wanted}"
        raise InputError(what, _WHERE, "let the layer_map end with the teacher's last layer, or leave it out")
    arrays = to_numpy(student.projections.state_dict())
    found = arrays.get(f"{last}.weight", arrays.get("shared.weight"))
    if found is None and student.config.hidden_size == teacher.config.hidden_size:
        return np.eye(student.config.hidden_size, dtype=np.float32)
    if found is None:
        raise InputError(
            "there is no learned projection of the hidden states", _WHERE, "give objective.hidden a weight"
        )
    return found


def _head(model: Any, by_token: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weight [in, out] and bias of the layers behind the encoder, by their last names; tokens have no pooler."""
    arrays = to_numpy(model.state_dict())
    names = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
    own = [name for name in names if ("pooler" in name and not by_token) or "classifier" in name]
    prefix = f"{model.base_model_prefix}."
    return {name.removeprefix(prefix): (arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in own}


def _set_head(model: Any, layers: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    state, prefix = model.state_dict(), f"{model.base_model_prefix}."
    for name, values in layers.items():
        for part, value in zip(("weight", "bias"), values, strict=True):
            key = next(key for key in (f"{name}.{part}", f"{prefix}{name}.{part}") if key in state)
            assert list(state[key].shape) == list(value.shape), "both heads are of the same kind"
            state[key].set_value(value.astype(np.float32))
