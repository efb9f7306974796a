"""What preflight finds in the data, on rows made by hand; and the estimates' formulas."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddle_ernie_tiny.config import TrainingSettings
from paddle_ernie_tiny.config.schema import ModelShape, StageSettings
from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.data.splits import TaskData
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.data.vocabulary import SPECIAL_TOKENS
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline.estimates import encoder_parameters, forward_flops, run_flops, step_flops
from paddle_ernie_tiny.pipeline.findings import data_findings, vocabulary_findings
from paddle_ernie_tiny.stages import STAGES


def context(train, dev, kind="classification", labels=("bad", "good"), limit=8, metric="accuracy", long_text=None):
    rows = [[e if isinstance(e, TokenExample) else Example(*e) for e in split] for split in (train, dev)]
    data = TaskData(kind=KINDS[kind], labels=list(labels), train=rows[0], dev=rows[1], test=rows[1], test_is_dev=True)
    reading = long_text or KINDS[kind].long_texts[0]
    task = SimpleNamespace(max_length_tokens=limit, metric=metric, long_text=reading)
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
    assert "none of 4 rows are longer than 32 characters" in found(context(train, DEV, limit=32), "lengths")[0].what
    assert finding.what.endswith("; they are cut at their end") and "set task.long_text" in finding.remedy


@pytest.mark.parametrize(
    ("long_text", "told"),
    [
        ("head_tail", "; their middle is left out"),
        # room for six: rows of 4, 8, 9 and 20 characters have 1, 2, 2 and 4 windows
        ("windows", "; they are read in overlapping windows, 2.25 per row on average"),
    ],
)
def test_lengths_tell_what_becomes_of_long_rows(long_text, told):
    train = [("字" * n, None, n % 2, n) for n in (4, 8, 9, 20)]
    finding = found(context(train, DEV, long_text=long_text), "lengths")[0]
    assert finding.level == "note" and finding.what.endswith(told)


def test_misplaced_tags_are_a_warning():
    rows = [TokenExample(("王", "明"), (0, 2), 7)]
    made = context(rows, rows, "token_classification", ("O", "B-PER", "I-PER"))
    assert "line 7: I-PER at '明' after O" in found(made, "tags")[0].what


def test_400_000_rows_take_seconds():
    train = [(f"第{i}条评论，内容是这样的", None, i % 2, i) for i in range(400_000)]
    assert {finding.level for finding in found(context(train, DEV, limit=32), "lengths")} == {"note"}


@pytest.mark.parametrize(("metric", "warned"), [("accuracy", True), ("f1", False)])
def test_a_lopsided_split_with_accuracy_is_a_warning(metric, warned):
    train = [(f"text {i}", None, int(i > 0), i) for i in range(10)]
    findings = found(context(train, DEV, metric=metric), "imbalance")
    assert bool(findings) == warned
    if warned:
        assert "90% of the rows are good" in findings[0].what and "f1 or matthews" in findings[0].remedy


def test_pairs_the_other_way_round_are_a_leak():
    train = [("a", "b", 0, 1), ("c", "d", 1, 2), ("e", "e", 1, 3)]
    dev = [("b", "a", 0, 1), ("x", "y", 1, 2), ("e", "e", 1, 3)]
    (finding,) = found(context(train, dev), "leakage")
    assert "1 of 3 pairs occur in the training split the other way round, the first on line 1" in finding.what


@pytest.mark.parametrize("told", [True, False])
def test_a_text_that_holds_its_label_is_a_leak(told):
    train = [(f"x{i} {('bad', 'good')[(i + (not told)) % 2]}", None, i % 2, i) for i in range(10)]
    findings = found(context(train, DEV), "leakage")
    assert ["in 10 of 10 rows the text begins or ends" in f.what for f in findings] == [True] * told


def test_unknown_tokens_by_share():
    letters = WordPieceTokenizer([*SPECIAL_TOKENS, *"abcdefgh"])

    def of(text):
        return vocabulary_findings(letters, np.array(letters.encode([text]).input_ids[0]), len(text), "data.train")

    assert of("a b c d") == []
    (note,) = of(" ".join("a" * 39 + "z"))
    assert note.level == "note" and "2.5% of the tokens are unknown" in note.what
    (warning,) = of("a b c d e f g z")
    assert warning.level == "warning" and "12.5%" in warning.what
    with pytest.raises(InputError, match="67% of the tokens are unknown: .* do not share a script") as caught:
        of("a 中文")
    assert caught.value.where == "data.train"


SHAPE = {"num_hidden_layers": 2, "hidden_size": 4, "intermediate_size": 8}


def test_parameters_of_an_encoder():
    # a layer: q, k, v, output 4 * (16 + 4); two feed-forward matrices 32 + 8 and 32 + 4; two norms of 8
    assert encoder_parameters(SHAPE) == 2 * (80 + 40 + 36 + 16)


def test_flops_of_a_step_by_hand():
    forward = 10 * (2 * encoder_parameters(SHAPE) + 4 * 4 * 5 * 2)
    assert step_flops(SHAPE, None, tokens=10, length=5) == pytest.approx(3 * forward)
    assert step_flops(SHAPE, SHAPE, tokens=10, length=5) == pytest.approx(4 * forward)
    assert np.isfinite(step_flops(SHAPE, SHAPE, 1, 1))


def test_flops_of_a_run_count_evaluation_copies_and_repeated_stages():
    training = TrainingSettings(max_steps=10, per_device_train_batch_size=2, save_steps=5)
    epoch = TrainingSettings(num_train_epochs=1, per_device_train_batch_size=2)
    stages = [StageSettings(stage="task_specific", training=which) for which in (epoch, epoch)]
    config = SimpleNamespace(
        student=ModelShape(num_hidden_layers=2, hidden_size=4, num_attention_heads=2, intermediate_size=8),
        general_corpus=None,
        augmentation=SimpleNamespace(copies_per_row=1),
        task=SimpleNamespace(max_length_tokens=10, long_text="truncate"),
        teacher=SimpleNamespace(pretrain=None, finetune=training),
        baseline=None,
        stages=stages,
        quantization_aware=None,
    )
    made = context([(str(i), None, i % 2, i) for i in range(8)], DEV)
    made.config, made.teacher, made.stage = config, SHAPE, lambda index: STAGES["task_specific"]
    flops = run_flops(made)
    step = step_flops(SHAPE, SHAPE, tokens=12, length=6)
    # two stages of one epoch over 8 rows and their 8 copies, in batches of 2
    assert flops["task_specific"] == pytest.approx(2 * 8 * step)
    assert flops["finetune"] == pytest.approx(10 * step_flops(SHAPE, None, 12, 6))
    # dev and test have 2 rows: twice dev for the teacher, 8 times for each stage, then test, then latent terms
    latent = 2 * 256 * (2 + 1) * 2
    rows = (2 * 2 + 2) + 2 * (8 * 2 + 2) + latent
    assert flops["evaluation and measuring"] == pytest.approx(forward_flops(SHAPE, rows * 6, 6))
    # a training for int8 is as long as a stage of these rows, and looks at dev as often
    config.quantization_aware = SimpleNamespace(training=epoch)
    more = run_flops(made)
    assert more["quantization_aware"] == pytest.approx(8 * step)
    assert more["evaluation and measuring"] == pytest.approx(forward_flops(SHAPE, (rows + 8 * 2) * 6, 6))
    config.quantization_aware = None
    # with windows of eight tokens, twelve characters are two rows
    made.data.train[:4] = [Example("字" * 12, None, i % 2, i) for i in range(4)]
    config.task.long_text, config.seed = "windows", 1
    assert run_flops(made)["task_specific"] == pytest.approx(2 * 12 * step)


def test_a_dev_split_that_is_also_the_test_split_is_told_of_once():
    rows = [("问", "文", -1, 2), ("题", "章", -1, 3)]
    said = found(context(rows, rows, "embedding", (), 64, "spearman"), "rows")
    assert {finding.where for finding in said} == {"data.train", "data.dev"}
