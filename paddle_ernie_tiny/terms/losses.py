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
    scaled = left / math.sqrt(width // heads)  # the scores themselves are many more numbers
    split = [projected.reshape([batch, length, heads, width // heads]) for projected in (scaled, right)]
    # einsum, because matmul of transposed views takes Paddle's CPU kernels six times as long
    return cast(Tensor, paddle.einsum("bqhd,bkhd->bhqk", *split)).astype("float32")


def distribution_kl(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of softmax over real keys, mean over heads and real queries.

    student_scores, teacher_scores: [batch, heads, query, key], before softmax. Returns a scalar.
    """
    mask, shape = mask.astype("float32"), student_scores.shape
    student, teacher = student_scores.astype("float32"), teacher_scores.astype("float32")
    if not (mask.place.is_cpu_place() and bool(mask.all())):  # a GPU would have to be waited for
        # An outer product, because adding [batch, 1, 1, key] takes Paddle's CPU kernels 20 times as long.
        hidden = ((1.0 - mask) * _MASKED).reshape([shape[0], 1, 1, shape[3]]).expand([-1, shape[1], 1, -1])
        hide = paddle.matmul(paddle.ones([*shape[:3], 1]), hidden)
        student, teacher = student + hide, teacher + hide
    row = _RowKL.apply(student, teacher)
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


def standardized(logits: Tensor) -> Tensor:
    """Logits with mean 0 and deviation 1 over the labels of each row (arXiv 2403.01427, algorithm 1): [.., labels].

    The deviation is that of the population, as in the paper. Of two labels nothing is left but which one is larger.
    """
    logits = logits.astype("float32")
    centred = logits - logits.mean(axis=-1, keepdim=True)
    # under the root, as the root of 0 has no gradient
    return centred / (centred.square().mean(axis=-1, keepdim=True) + 1e-14).sqrt()


def relation_distance(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    between_labels: float = 1.0,
    between_rows: float = 1.0,
) -> Tensor:
    """T^2 (beta L_inter + gamma L_intra) of DIST (arXiv 2205.10536, eq. 8-10): [batch, labels] twice to a scalar.

    L_inter is the mean over rows of 1 - Pearson correlation of both models' probabilities of the labels; L_intra the
    mean over labels of the same of the rows.
    """
    own, given = (
        F.softmax(logits.astype("float32") / temperature, axis=-1) for logits in (student_logits, teacher_logits)
    )
    value = between_labels * _pearson_distance(own, given) + between_rows * _pearson_distance(own.t(), given.t())
    return value * temperature**2


def _pearson_distance(own: Tensor, given: Tensor) -> Tensor:
    """The mean over rows of 1 - Pearson correlation; a row of equal values correlates with none."""
    own, given = (values - values.mean(axis=-1, keepdim=True) for values in (own, given))
    lengths = own.square().sum(-1) * given.square().sum(-1)
    return (1.0 - (own * given).sum(-1) / (lengths + 1e-16).sqrt()).mean()


def decoupled_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    target_weight: float = 1.0,
    others_weight: float = 8.0,
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD) of DKD (arXiv 2203.08679, eq. 7), mean over the batch.

    Logits: [batch, labels]; target: int64 [batch], the right label. TCKD is KL(teacher || student) of (target, rest),
    NCKD that of the distribution over the other labels. With beta = 1 - p(target) of the teacher it is their KL.
    """
    hidden = F.one_hot(target, student_logits.shape[-1]) * _MASKED
    parts = []
    for logits in (student_logits, teacher_logits):
        scaled = logits.astype("float32") / temperature
        every = paddle.logsumexp(scaled, axis=-1, keepdim=True)
        others = paddle.logsumexp(scaled + hidden, axis=-1, keepdim=True)
        own = paddle.take_along_axis(scaled, target.unsqueeze(-1), axis=-1)
        parts.append((paddle.concat([own, others], axis=-1) - every, scaled + hidden - others))
    (student_target, student_others), (teacher_target, teacher_others) = parts
    of_target = (teacher_target.exp() * (teacher_target - student_target)).sum(axis=-1)
    of_others = (teacher_others.exp() * (teacher_others - student_others)).sum(axis=-1)
    return (target_weight * of_target + others_weight * of_others).mean() * temperature**2


def mean_over(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of float32 `values` where `counted` (same shape; None: everywhere) is true, or weighted by it; 0 if it is
    0 everywhere."""
    if counted is None:
        return values.mean()
    counted = counted.astype("float32")
    return (values * counted).sum() / counted.sum().clip(min=1e-12)
