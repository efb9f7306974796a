"""What a student's start depends on, and the texts on which layers are narrowed."""

from types import SimpleNamespace

import numpy as np

from paddle_ernie_tiny.config import check_config
from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.pipeline.student_start import NARROWING_TOKENS, narrowing_texts, start_inputs


def context(method, train="a", seed=1, lengths=(7, 30, 12) * 400):
    rows = EncodedRows([[5] * length for length in lengths], [[0] * length for length in lengths])
    config = check_config(
        {
            "output_dir": "run",
            "seed": seed,
            "task": {"name": "own", "labels": ["a", "b"]},
            "data": {"train": "train.tsv", "dev": "dev.tsv", "columns": {"text": 0, "label": 1}},
            "teacher": {"model": "teacher", "finetune": None},
            "student": {"init": {"method": method}},
            "stages": [{"stage": "task_specific", "training": {"max_steps": 1}}],
        },
        "test",
    )
    return SimpleNamespace(
        config=config,
        data=SimpleNamespace(fingerprints={"train": train}),
        teacher_identity=lambda teacher: f"{teacher} teacher",
        tokenizers={"teacher": SimpleNamespace(pad_id=3)},
        rows=lambda split, side: rows,
    )


def test_narrowed_layers_depend_on_the_training_rows_and_copies_on_the_teacher_alone():
    assert start_inputs(context("random")) == {}
    assert start_inputs(context("teacher_layers")) == {"student's start": "pretrained teacher"}
    assert start_inputs(context("teacher_layers", train="b")) == start_inputs(context("teacher_layers"))
    one = start_inputs(context("teacher_narrowed"))
    assert one["student's start"] == "pretrained teacher"
    assert one != start_inputs(context("teacher_narrowed", train="b"))
    assert one != start_inputs(context("teacher_narrowed", seed=2))


def test_texts_are_drawn_by_the_seed_up_to_a_number_of_tokens_and_have_little_padding():
    batches = narrowing_texts(context("teacher_narrowed"))
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    assert NARROWING_TOKENS <= tokens < NARROWING_TOKENS + 30
    shapes = [tuple(batch["input_ids"].shape) for batch in batches]
    assert [length for _, length in shapes] == sorted(length for _, length in shapes), "shortest first"
    assert sum(rows * length for rows, length in shapes) < 1.05 * tokens
    same, other = (narrowing_texts(context("teacher_narrowed", seed=seed)) for seed in (1, 2))
    assert [each["input_ids"].numpy().tolist() for each in same] == [b["input_ids"].numpy().tolist() for b in batches]
    assert [tuple(each["input_ids"].shape) for each in other] != shapes


def test_all_texts_are_taken_where_there_are_few():
    (batch,) = narrowing_texts(context("teacher_narrowed", lengths=(4, 2, 3)))
    np.testing.assert_array_equal(batch["attention_mask"].numpy().sum(axis=1), [2, 3, 4])
    assert batch["input_ids"].numpy()[0].tolist() == [5, 5, 3, 3], "padded with the teacher's padding id"
