"""Every loss against values computed by hand or in NumPy, padding invariance, and gradients."""

import math

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.terms import losses
from paddle_ernie_tiny.terms.similarity import similarity_kl


def tensor(values):
    return paddle.to_tensor(np.asarray(values, dtype=np.float32))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_hidden_mse_by_hand_ignores_padding():
    student = tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]]])
    teacher = tensor([[[1.0, 0.0], [0.0, 4.0], [0.0, 0.0]]])
    mask = tensor([[1, 1, 0]])
    # (0 + 4 + 9 + 0) over 2 real tokens of width 2
    assert float(losses.hidden_mse(student, teacher, mask)) == pytest.approx(13 / 4)


def test_scores_mse_by_hand_counts_real_pairs_only():
    student = tensor(np.array([[[[1, 9, 9], [9, 9, 9], [9, 9, 9]]]]))
    teacher = tensor(np.array([[[[3, 9, 0], [9, 8, 0], [0, 0, 0]]]]))
    mask = tensor([[1, 1, 0]])
    # four real pairs: (1-3)^2 + 0 + 0 + (9-8)^2
    assert float(losses.scores_mse(student, teacher, mask)) == pytest.approx(5 / 4)


def test_distribution_kl_by_hand():
    # one head, two real tokens; teacher rows (1/2, 1/2) and (3/4, 1/4), student rows (1/4, 3/4) and equal
    teacher = tensor(np.log([[[[0.5, 0.5], [0.75, 0.25]]]]))
    student = tensor(np.log([[[[0.25, 0.75], [0.75, 0.25]]]]))
    expected = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert float(losses.distribution_kl(student, teacher, tensor([[1, 1]]))) == pytest.approx(expected, rel=1e-5)


def test_distribution_kl_equals_numpy_with_padding():
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 2, 3, 4, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=np.float32)
    rows = []
    for b in range(2):
        n = int(mask[b].sum())
        for h in range(3):
            p, q = softmax(t[b, h, :n, :n]), softmax(s[b, h, :n, :n])
            rows += list((p * np.log(p / q)).sum(-1))
    value = float(losses.distribution_kl(tensor(s), tensor(t), tensor(mask)))
    assert value == pytest.approx(np.mean(rows), rel=1e-5)


def test_soft_cross_entropy_by_hand_is_not_divided_by_labels():
    teacher = tensor([[0.0, 0.0]])  # (1/2, 1/2) at any temperature
    student = tensor([[0.0, 4 * math.log(3)]])  # (1/4, 3/4) at temperature 4
    expected = 16 * -(0.5 * math.log(0.25) + 0.5 * math.log(0.75))
    assert float(losses.soft_cross_entropy(student, teacher, 4.0)) == pytest.approx(expected, rel=1e-5)


def test_soft_cross_entropy_is_the_mean_over_the_batch():
    teacher = tensor([[0.0, 0.0], [50.0, 0.0]])
    student = tensor([[0.0, 0.0], [0.0, 0.0]])
    assert float(losses.soft_cross_entropy(student, teacher)) == pytest.approx(math.log(2), rel=1e-5)


def test_soft_cross_entropy_over_words_leaves_the_masked_out():
    teacher = tensor([[[0.0, 0.0], [9.0, 1.0], [50.0, 0.0]]])
    student = tensor([[[0.0, math.log(3)], [7.0, 7.0], [0.0, 0.0]]])
    mask = tensor([[1, 0, 1]])
    first = -(0.5 * math.log(0.25) + 0.5 * math.log(0.75))
    expected = (first + math.log(2)) / 2
    assert float(losses.soft_cross_entropy(student, teacher, mask=mask)) == pytest.approx(expected, rel=1e-5)


def test_soft_kl_is_cross_entropy_less_the_teacher_s_entropy():
    teacher, student = tensor([[0.0, 0.0]]), tensor([[0.0, 4 * math.log(3)]])
    expected = 16 * (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    assert float(losses.soft_kl(student, teacher, 4.0)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.soft_kl(teacher, teacher, 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_logits_mse_by_hand():
    assert float(losses.logits_mse(tensor([[1.0], [4.0]]), tensor([[3.0], [4.0]]))) == pytest.approx(2.0)
    # over labels too, and over words only where the mask is 1
    student, teacher = tensor([[[1.0, 2.0], [9.0, 9.0]]]), tensor([[[3.0, 2.0], [0.0, 0.0]]])
    assert float(losses.logits_mse(student, teacher, tensor([[1, 0]]))) == pytest.approx(2.0)


def test_standardized_logits_by_hand():
    # mean 2, deviation sqrt(8/3): the population's, as in the paper; a constant row has nothing to tell
    found = losses.standardized(tensor([[0.0, 2.0, 4.0], [5.0, 5.0, 5.0]])).numpy()
    np.testing.assert_allclose(found, [[-math.sqrt(1.5), 0, math.sqrt(1.5)], [0, 0, 0]], atol=1e-6)


def test_equal_logits_of_a_row_have_a_gradient():
    """Those of a classifier whose weights are 0: the root of their deviation, 0, has none."""
    logits = paddle.zeros([2, 3])
    logits.stop_gradient = False
    losses.soft_kl(losses.standardized(logits), losses.standardized(tensor([[0.0, 2.0, 4.0]] * 2))).backward()
    assert np.isfinite(logits.grad.numpy()).all()


def test_relation_distance_by_hand():
    # rows (0.6, 0.3, 0.1) and (0.1, 0.2, 0.7) against a teacher's (0.5, 0.3, 0.2) and (0.2, 0.5, 0.3)
    own, given = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]), np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    rows = [np.corrcoef(a, b)[0, 1] for a, b in zip(own, given, strict=True)]
    # of two rows a label's values correlate by 1 or by -1: falling and falling, falling and rising, rising and rising
    columns = [1.0, -1.0, 1.0]
    expected = 2.0 * (1 - np.mean(rows)) + 0.5 * (1 - np.mean(columns))
    value = losses.relation_distance(tensor(np.log(own)), tensor(np.log(given)), 1.0, 2.0, 0.5)
    assert float(value) == pytest.approx(expected, rel=1e-4)
    hot = losses.relation_distance(tensor(3 * np.log(own)), tensor(3 * np.log(given)), 3.0, 2.0, 0.5)
    assert float(hot) == pytest.approx(9 * expected, rel=1e-4)


def test_decoupled_kl_by_hand():
    # the target has 1/2 of the teacher and 1/4 of the student; of the others 3/5 : 2/5 and 1/3 : 2/3
    teacher, student = tensor(np.log([[0.5, 0.3, 0.2]])), tensor(np.log([[0.25, 0.25, 0.5]]))
    of_target = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    of_others = 0.6 * math.log(0.6 * 3) + 0.4 * math.log(0.4 * 3 / 2)
    value = losses.decoupled_kl(student, teacher, paddle.to_tensor([0]), 1.0, 1.0, 8.0)
    assert float(value) == pytest.approx(of_target + 8 * of_others, rel=1e-5)
    # eq. 6: KL is the sum of both parts, the second times the teacher's probability of the others
    plain = losses.decoupled_kl(student, teacher, paddle.to_tensor([0]), 1.0, 1.0, 0.5)
    assert float(plain) == pytest.approx(float(losses.soft_kl(student, teacher)), rel=1e-5)
    squared = (tensor(2 * np.log(row)) for row in ([[0.25, 0.25, 0.5]], [[0.5, 0.3, 0.2]]))
    warm = losses.decoupled_kl(*squared, paddle.to_tensor([0]), 2.0, 1.0, 8.0)
    assert float(warm) == pytest.approx(4 * (of_target + 8 * of_others), rel=1e-5)


def test_hidden_cosine_by_hand_ignores_padding():
    student = tensor([[[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]]])
    teacher = tensor([[[0.0, 2.0], [6.0, 8.0], [-1.0, 0.0]]])
    # a right angle, then the same direction
    assert float(losses.hidden_cosine(student, teacher, tensor([[1, 1, 0]]))) == pytest.approx((1 + 0) / 2, abs=1e-6)


def test_scores_of_heads_equal_numpy():
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 1, 3, 8)).astype(np.float32)
    scores = losses.head_scores(tensor(q), tensor(k), 2).numpy()
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        expected = q[0][:, part] @ k[0][:, part].T / 2.0
        np.testing.assert_allclose(scores[0, head], expected, rtol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 8 cannot be split into 3 heads"):
        losses.head_scores(paddle.zeros([1, 2, 8]), paddle.zeros([1, 2, 8]), 3)


ATTENTION = {"kl": losses.distribution_kl, "mse": losses.scores_mse}


@pytest.mark.parametrize("name", ATTENTION)
def test_padding_added_changes_no_attention_loss(name):
    rng = np.random.default_rng(2)
    s, t = rng.normal(size=(2, 1, 2, 3, 3)).astype(np.float32)
    around = ((0, 0), (0, 0), (0, 2), (0, 2))
    padded = [np.pad(x, around, constant_values=c) for x, c in ((s, 7.0), (t, -9.0))]
    plain = ATTENTION[name](tensor(s), tensor(t), tensor([[1, 1, 1]]))
    with_padding = ATTENTION[name](tensor(padded[0]), tensor(padded[1]), tensor([[1, 1, 1, 0, 0]]))
    assert float(with_padding) == pytest.approx(float(plain), rel=1e-5)


MASK = [[1, 1, 1, 0]]
# loss -> shape of what the student gives, and the loss of it against a teacher
LOSSES = {
    "distribution_kl": ((1, 2, 4, 4), lambda s, t: losses.distribution_kl(s, t, tensor(MASK))),
    "scores_mse": ((1, 2, 4, 4), lambda s, t: losses.scores_mse(s, t, tensor(MASK))),
    "hidden_mse": ((1, 4, 3), lambda s, t: losses.hidden_mse(s, t, tensor(MASK))),
    "hidden_cosine": ((1, 4, 3), lambda s, t: losses.hidden_cosine(s, t, tensor(MASK))),
    "soft_cross_entropy": ((1, 3), lambda s, t: losses.soft_cross_entropy(s, t, 2.0)),
    "soft_cross_entropy over words": ((1, 4, 3), lambda s, t: losses.soft_cross_entropy(s, t, 2.0, tensor(MASK))),
    "soft_kl": ((1, 3), lambda s, t: losses.soft_kl(s, t, 2.0)),
    "soft_kl over words": ((1, 4, 3), lambda s, t: losses.soft_kl(s, t, 2.0, tensor(MASK))),
    "standardized": ((2, 3), lambda s, t: losses.soft_kl(losses.standardized(s), losses.standardized(t))),
    "relation_distance": ((3, 4), lambda s, t: losses.relation_distance(s, t, 2.0)),
    "decoupled_kl": ((2, 3), lambda s, t: losses.decoupled_kl(s, t, paddle.to_tensor([1, 2]), 2.0)),
    "logits_mse": ((1, 3), lambda s, t: losses.logits_mse(s, t)),
    "logits_mse over words": ((1, 4, 3), lambda s, t: losses.logits_mse(s, t, tensor(MASK))),
    "similarity_kl": ((4, 3), lambda s, t: similarity_kl(s, t, 0.5)),
    "classification": ((1, 2), lambda s, t: KINDS["classification"].hard_label(s, paddle.to_tensor([1]))),
    "regression": ((1, 1), lambda s, t: KINDS["regression"].hard_label(s, tensor([0.3]))),
    "multi_label": ((2, 3), lambda s, t: KINDS["multi_label"].hard_label(s, tensor([[1, 0, 1]] * 2), [2.0, 1.0, 0.5])),
    "sets of soft labels": ((2, 3), lambda s, t: KINDS["multi_label"].soft_label("kl", s, t, 2.0, None, None)),
    "token_classification": (
        (1, 4, 3),
        lambda s, t: KINDS["token_classification"].hard_label(s, paddle.to_tensor([[-100, 2, 0, -100]])),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name):
    shape, loss = LOSSES[name]
    rng = np.random.default_rng(3)
    start, teacher = rng.normal(size=shape).astype(np.float32), tensor(rng.normal(size=shape))
    x = tensor(start)
    x.stop_gradient = False
    loss(x, teacher).backward()
    step, direction = 1e-2, rng.normal(size=shape).astype(np.float32)
    above, below = loss(tensor(start + step * direction), teacher), loss(tensor(start - step * direction), teacher)
    slope = (float(above) - float(below)) / (2 * step)
    assert float((x.grad.numpy() * direction).sum()) == pytest.approx(slope, rel=2e-2, abs=1e-4)


@pytest.mark.parametrize(
    "name",
    ["distribution_kl", "scores_mse", "hidden_mse", "hidden_cosine", "soft_kl", "logits_mse"]
    + ["standardized", "relation_distance", "decoupled_kl", "similarity_kl"],
)
def test_zero_when_student_equals_teacher(name):
    shape, loss = LOSSES[name]
    x = tensor(np.random.default_rng(4).normal(size=shape))
    assert float(loss(x, x)) == pytest.approx(0.0, abs=1e-6)


def test_similarities_of_a_batch_by_hand():
    """Each text's distribution over the two others; the teacher's vectors may be wider."""
    student = np.array([[1, 0], [3, 4], [0, 2]], np.float32)  # cosines 0.6, 0 and 0.8
    teacher = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], np.float32)  # 0, 0 and sqrt(1/2)
    own, given = ((v / np.linalg.norm(v, axis=1, keepdims=True)) for v in (student, teacher))
    total = 0.0
    for i in range(3):
        others = [j for j in range(3) if j != i]
        p, q = (np.exp(v[others] @ v[i] / 0.5) for v in (given, own))
        p, q = p / p.sum(), q / q.sum()
        total += (p * np.log(p / q)).sum()
    assert float(similarity_kl(tensor(student), tensor(teacher), 0.5)) == pytest.approx(total / 3, rel=1e-5)
    assert float(similarity_kl(tensor(student[:1]), tensor(teacher[:1]), 0.5)) == 0, "a text alone"
