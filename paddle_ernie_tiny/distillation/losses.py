"""Distillation losses: pure functions on tensors, padding excluded, reduced in float32.

Masks are [batch, length] with 1 for real tokens and 0 for padding. Adding padding to a batch changes no
value here.
"""

from __future__ import annotations

import math

import paddle
import paddle.nn.functional as F
from paddle import Tensor

# Added to scores of padded keys; far below any real score, and finite in float32.
_MASKED = -1e9


def split_heads(projected: Tensor, heads: int) -> Tensor:
    """[batch, length, width] to [batch, heads, length, width / heads]. Raises ValueError if heads do not divide."""
    batch, length, width = projected.shape
    if width % heads:
        raise ValueError(f"width {width} cannot be split into {heads} heads")
    return projected.reshape([batch, length, heads, width // heads]).transpose([0, 2, 1, 3])


def scaled_scores(left: Tensor, right: Tensor) -> Tensor:
    """left right^T / sqrt(d): [batch, heads, length, d] twice to [batch, heads, query, key]."""
    return paddle.matmul(left, right, transpose_y=True).astype("float32") / math.sqrt(left.shape[-1])


def distribution_kl(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of softmax over real keys, mean over heads and real queries.

    student_scores, teacher_scores: [batch, heads, query, key], before softmax. Returns a scalar.
    """
    mask = mask.astype("float32")
    hide = (1.0 - mask).unsqueeze([1, 2]) * _MASKED
    teacher_log = F.log_softmax(teacher_scores.astype("float32") + hide, axis=-1)
    student_log = F.log_softmax(student_scores.astype("float32") + hide, axis=-1)
    # exp(_MASKED) is 0, so padded keys add 0 * (a finite difference) = 0
    row = (teacher_log.exp() * (teacher_log - student_log)).sum(axis=-1)
    queries = mask.unsqueeze(1)
    return (row * queries).sum() / (queries.sum() * row.shape[1])


def scores_mse(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of pre-softmax scores over heads and pairs of real tokens (TinyBERT, eq. 7).

    Scores: [batch, heads, query, key]. Returns a scalar.
    """
    mask = mask.astype("float32")
    pairs = mask.unsqueeze([1, 3]) * mask.unsqueeze([1, 2])
    error = (student_scores.astype("float32") - teacher_scores.astype("float32")).square()
    return (error * pairs).sum() / (pairs.sum() * error.shape[1])


def hidden_mse(projected_student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over real tokens and width (TinyBERT, eq. 8).

    projected_student, teacher: [batch, length, hidden_teacher]. Returns a scalar.
    """
    mask = mask.astype("float32").unsqueeze(-1)
    error = (projected_student.astype("float32") - teacher.astype("float32")).square() * mask
    return error.sum() / (mask.sum() * teacher.shape[-1])


def soft_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Cross-entropy against softmax(teacher / T), times T squared (Hinton, 1503.02531).

    Logits: [batch, labels], mean over the batch; or [batch, length, labels] with a mask [batch, length],
    mean over where that is 1. The mean is not over labels, so its scale does not depend on their number.
    Its minimum is the teacher's entropy (times T squared), not 0.
    """
    teacher = F.softmax(teacher_logits.astype("float32") / temperature, axis=-1)
    student_log = F.log_softmax(student_logits.astype("float32") / temperature, axis=-1)
    losses = -(teacher * student_log).sum(axis=-1)
    if mask is not None:
        mask = mask.astype("float32")
        return (losses * mask).sum() / mask.sum() * temperature**2
    return losses.mean() * temperature**2


def score_mse(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Mean squared error between two regressors' scores, [batch, 1] each: the soft label of regression."""
    return (student_scores.astype("float32") - teacher_scores.astype("float32")).square().mean()
