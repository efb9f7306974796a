"""Held-out and limited splits keep every label, in about its share; class weights."""

from collections import Counter

import numpy as np
import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.rows import Example, TokenExample
from paddle_ernie_tiny.data.splits import load_task_data, stratified_rows
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS

COUNTS = {"news": 90, "sport": 8, "odd": 2}


def config(tmp_path, task=None, **data):
    file = tmp_path / "train.tsv"
    rows = [f"text {name} {i}\t{name}" for name, count in COUNTS.items() for i in range(count)]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    if "dev_from_train" not in data:
        data.setdefault("dev", str(file))
    raw = {
        "output_dir": str(tmp_path / "run"),
        "task": {"name": "t", **(task or {})},
        "data": {"train": str(file), "header": False, **data},
        "teacher": {"model": "ernie-3.0-medium-zh"},
        "stages": [{"stage": "task_specific", "training": {"max_steps": 1}}],
    }
    return load_config(None, (), raw)


def counts(data, split):
    return Counter(data.labels[row.label] for row in getattr(data, split))


def test_a_tenth_held_out_has_a_tenth_of_each_label(tmp_path):
    data = load_task_data(config(tmp_path, dev_from_train=0.1))
    assert counts(data, "dev") == {"news": 8, "sport": 1, "odd": 1}
    assert counts(data, "train") == {"news": 82, "sport": 7, "odd": 1}
    assert {row.text for row in data.train}.isdisjoint(row.text for row in data.dev)
    assert [row.line for row in data.dev] == sorted(row.line for row in data.dev)


def test_the_only_row_of_a_label_stays_in_the_training_split():
    rows = [Example(str(i), None, 0, i) for i in range(9)] + [Example("one", None, 1, 9)]
    held = stratified_rows(KINDS["classification"], rows, 5, seed=1, leave=True)
    assert len(held) == 5 and 9 not in held


def test_a_limit_keeps_every_label_in_its_share(tmp_path):
    data = load_task_data(config(tmp_path, train_limit=20, dev_limit=10))
    assert counts(data, "train") == {"news": 17, "sport": 2, "odd": 1}
    assert counts(data, "dev") == {"news": 8, "sport": 1, "odd": 1}
    assert load_task_data(config(tmp_path, train_limit=1000)).fingerprints["train"] != data.fingerprints["train"]


@pytest.mark.parametrize("key", ["train_limit", "dev_limit"])
def test_a_limit_below_the_labels_is_refused(tmp_path, key):
    with pytest.raises(InputError) as caught:
        load_task_data(config(tmp_path, **{key: 2}))
    assert caught.value.where == f"data.{key}"
    assert "2 of 100 rows cannot hold every label; 1 have none left, such as 'news'" in str(caught.value)


def test_every_tag_is_kept_of_a_tagged_file():
    common = [TokenExample(("a", "b"), (0, 1), i) for i in range(98)]
    rare = [TokenExample(("a", "b"), (2, 3), 98), TokenExample(("a", "b"), (3, 4), 99)]
    chosen = stratified_rows(KINDS["token_classification"], common + rare, 3, seed=5)
    assert chosen.tolist()[1:] == [98, 99]


def test_scores_are_drawn_by_the_seed():
    rows = [Example(str(i), None, i / 10, i) for i in range(50)]
    drawn = [stratified_rows(KINDS["regression"], rows, 20, seed).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 20


def test_balanced_weights_are_rows_by_labels_times_rows_of_the_label(tmp_path):
    data = load_task_data(config(tmp_path, {"class_weights": "balanced", "labels": ["news", "odd", "sport"]}))
    np.testing.assert_allclose(data.class_weights, [100 / (3 * 90), 100 / (3 * 2), 100 / (3 * 8)])


def test_given_weights_are_by_name_and_others_are_one(tmp_path):
    data = load_task_data(config(tmp_path, {"class_weights": {"odd": 5}}))
    assert dict(zip(data.labels, data.class_weights, strict=True)) == {"news": 1.0, "odd": 5.0, "sport": 1.0}
    with pytest.raises(InputError, match="'Odd' is no label") as caught:
        load_task_data(config(tmp_path, {"class_weights": {"Odd": 5}}))
    assert caught.value.where == "task.class_weights"


def test_a_regression_has_no_class_weights(tmp_path):
    with pytest.raises(InputError, match="a regression task has no labels to weight: leave class_weights out"):
        config(tmp_path, {"kind": "regression", "class_weights": "balanced"})


def test_early_stopping_needs_a_dev_score(tmp_path):
    raw = config(tmp_path).model_dump(mode="json")
    stage = {"stage": "task_adaptive", "training": {"max_steps": 1, "early_stopping": {"patience": 2}}}
    with pytest.raises(InputError, match="this training has no dev score"):
        load_config(None, (), {**raw, "stages": [stage, *raw["stages"]]})
