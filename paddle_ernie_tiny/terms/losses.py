"""Distillation losses: pure functions on tensors, padding excluded, reduced in float32.

Masks are [batch, length] with 1 for real tokens and 0 for padding. Adding padding to a batch changes no
value here.
"""

from __future__ import annotations

import math
from typing import cast

import paddle
import paddle.nn.functional as F
from paddle import Tensor

# Added to scores of padded keys; far below any real score, and finite in float32.
_MASKED = -1e9


def head_scores(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """left right^T / sqrt(d) of every head: [batch, length, width] twice to [batch, heads, query, key].

    Raises ValueError if the heads do not divide the width.
    """
    batch, length, width = left.shape
    if width % heads:
        raise ValueError(f"width {width} cannot be split into {heads} heads")
    split = [projected.reshape([batch, length, heads, width // heads]) for projected in (left, right)]
    # einsum, because matmul of transposed views takes Paddle's CPU kernels six times as long
    return cast(Tensor, paddle.einsum("bqhd,bkhd->bhqk", *split)).astype("float32") / math.sqrt(width // heads)


def distribution_kl(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of softmax over real keys, mean over heads and real queries.

    student_scores, teacher_scores: [batch, heads, query, key], before softmax. Returns a scalar.
    """
    mask, shape = mask.astype("float32"), student_scores.shape
    # An outer product, because adding [batch, 1, 1, key] takes Paddle's CPU kernels 20 times as long.
    hidden = ((1.0 - mask) * _MASKED).reshape([shape[0], 1, 1, shape[3]]).expand([-1, shape[1], 1, -1])
    hide = paddle.matmul(paddle.ones([*shape[:3], 1]), hidden)
    row = _RowKL.apply(student_scores.astype("float32") + hide, teacher_scores.astype("float32") + hide)
    queries = mask.unsqueeze(1)
    return (row * queries).sum() / (queries.sum() * shape[1])


class _RowKL(paddle.autograd.PyLayer):
    """KL(softmax(teacher) || softmax(student)) of every row: [.., keys] twice to [..].

    With its gradient, q - p, written out: on a CPU a fifth of the time of `log_softmax` and what autograd
    derives from it. KL = sum p (t - s) - log Z_t + log Z_s, and log Z = max - log(max p) of each row.
    """

    @staticmethod
    def forward(ctx, student: Tensor, teacher: Tensor) -> Tensor:
        p, q = F.softmax(teacher, axis=-1), F.softmax(student, axis=-1)
        ctx.save_for_backward(p, q)
        log_z_teacher = teacher.max(axis=-1) - p.max(axis=-1).log()
        log_z_student = student.max(axis=-1) - q.max(axis=-1).log()
        return (p * (teacher - student)).sum(axis=-1) - log_z_teacher + log_z_student

    @staticmethod
    def backward(ctx, gradient: Tensor):
        p, q = ctx.saved_tensor()
        return (q - p) * gradient.unsqueeze(-1), None


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


def hidden_cosine(projected_student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 - cos(student, teacher), mean over real tokens (DistilBERT, arXiv 1910.01108, section 3).

    projected_student, teacher: [batch, length, hidden_teacher]. Returns a scalar.
    """
    cosine = F.cosine_similarity(projected_student.astype("float32"), teacher.astype("float32"), axis=-1)
    return mean_over(1.0 - cosine, mask)


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
    return mean_over(-(teacher * student_log).sum(axis=-1), mask) * temperature**2


def soft_kl(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) at temperature T, times T squared: `soft_cross_entropy` less the teacher's entropy.

    Same shapes, mean and gradients; its minimum is 0.
    """
    teacher_log = F.log_softmax(teacher_logits.astype("float32") / temperature, axis=-1)
    student_log = F.log_softmax(student_logits.astype("float32") / temperature, axis=-1)
    return mean_over((teacher_log.exp() * (teacher_log - student_log)).sum(axis=-1), mask) * temperature**2


def logits_mse(student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of logits, or of two regressors' scores ([batch, 1]), over labels and batch.

    [batch, length, labels] with a mask [batch, length]: over labels and where the mask is 1.
    """
    error = (student_logits.astype("float32") - teacher_logits.astype("float32")).square()
    return mean_over(error.mean(axis=-1), mask)


def mean_over(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of float32 `values` where `counted` (same shape; None: everywhere) is true, or weighted by it; 0 if it is
    0 everywhere."""
    if counted is None:
        return values.mean()
    counted = counted.astype("float32")
    return (values * counted).sum() / counted.sum().clip(min=1e-12)
