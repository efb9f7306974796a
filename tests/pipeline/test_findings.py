"""What preflight finds in the data, on rows made by hand; and the estimates' formulas."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.data.splits import TaskData
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline.findings import data_findings, encoder_parameters, step_flops


def context(train, dev, kind="classification", labels=("bad", "good"), limit=8):
    rows = [[e if isinstance(e, TokenExample) else Example(*e) for e in split] for split in (train, dev)]
    data = TaskData(kind=KINDS[kind], labels=list(labels), train=rows[0], dev=rows[1], test=rows[1], test_is_dev=True)
    task = SimpleNamespace(max_length_tokens=limit)
    return SimpleNamespace(data=data, teacher_source=None, config=SimpleNamespace(seed=1, task=task))


def found(made, check):
    return [finding for finding in data_findings(made) if finding.check == check]


TRAIN = [("好", None, 1, 2), ("差", None, 0, 3), ("好", None, 0, 4), ("差", None, 0, 5)]
DEV = [("差", None, 0, 2), ("新", None, 1, 3)]


def test_contradictions_name_both_lines():
    (finding,) = found(context(TRAIN, DEV), "contradictions")
    assert finding.level == "warning" and "1 rows contradict" in finding.what and "lines 2 and 4" in finding.what


def test_repetitions_within_train_and_across_splits():
    within, across = found(context(TRAIN, DEV), "repetitions")
    assert "2 of 4 rows repeat" in within.what
    assert (
        "1 of 2 rows also occur in the training split, the first on line 2" in across.what
        and across.where == "data.dev"
    )


def test_rare_labels_are_a_warning():
    note, warning = found(context(TRAIN, DEV), "labels")
    assert "bad 3, good 1" in note.what
    assert warning.level == "warning" and "bad, good" in warning.what


def test_lengths_tell_how_many_rows_are_cut():
    train = [("字" * n, None, n % 2, n) for n in (4, 8, 9, 20)]
    finding = found(context(train, DEV), "lengths")[0]
    assert finding.level == "warning" and "50.0% of 4 rows are longer than 8 characters" in finding.what


def test_misplaced_tags_are_a_warning():
    rows = [TokenExample(("王", "明"), (0, 2), 7)]
    made = context(rows, rows, "token_classification", ("O", "B-PER", "I-PER"))
    assert "line 7: I-PER at '明' after O" in found(made, "tags")[0].what


def test_400_000_rows_take_seconds():
    train = [(f"第{i}条评论，内容是这样的", None, i % 2, i) for i in range(400_000)]
    assert {finding.level for finding in found(context(train, DEV, limit=32), "lengths")} == {"note"}


SHAPE = {"num_hidden_layers": 2, "hidden_size": 4, "intermediate_size": 8}


def test_parameters_of_an_encoder():
    # a layer: q, k, v, output 4 * (16 + 4); two feed-forward matrices 32 + 8 and 32 + 4; two norms of 8
    assert encoder_parameters(SHAPE) == 2 * (80 + 40 + 36 + 16)


def test_flops_of_a_step_by_hand():
    forward = 10 * (2 * encoder_parameters(SHAPE) + 4 * 4 * 5 * 2)
    assert step_flops(SHAPE, None, tokens=10, length=5) == pytest.approx(3 * forward)
    assert step_flops(SHAPE, SHAPE, tokens=10, length=5) == pytest.approx(4 * forward)
    assert np.isfinite(step_flops(SHAPE, SHAPE, 1, 1))
