"""Which teacher layer each student layer learns from, or is copied from."""

from __future__ import annotations

from typing import Literal

from ..errors import InputError


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
            raise InputError(
                f"the student has {student_layers} layers, the teacher only {teacher_layers}",
                "student.num_hidden_layers",
                f"use at most {teacher_layers} layers, or an explicit layer_map",
            )
        first = {"top": teacher_layers - student_layers + 1, "bottom": 1}.get(kind)
        # floor(x + 1/2), not round(): Python rounds halves to even, which can skip and repeat layers
        targets = [
            (2 * m * teacher_layers + student_layers) // (2 * student_layers) if first is None else first + m - 1
            for m in range(1, student_layers + 1)
        ]
    else:
        targets = list(kind)
    if len(targets) != student_layers:
        raise InputError(
            f"{targets} names {len(targets)} layers, the student has {student_layers}",
            where,
            "name one teacher layer for each student layer",
        )
    for target in targets:
        if not 1 <= target <= teacher_layers:
            raise InputError(f"teacher layer {target} does not exist", where, f"use 1 to {teacher_layers}")
    if any(later < earlier for earlier, later in zip(targets, targets[1:], strict=False)):
        raise InputError(f"{targets} is not monotonic", where, "teacher layers must not decrease")
    return {m: target for m, target in enumerate(targets, start=1)}
