"""Unlabelled text and soft labels, as they are read: what is left out, what is a fault, and what a row then has."""

import json
import math

import numpy as np
import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.rows import EncodedRows, soft_labels_of
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS

LABELS = ["neg", "pos"]
SPECIFIC = [{"stage": "task_specific", "training": {"max_steps": 1, "per_device_train_batch_size": 4}}]
CLASSES, SCORES = KINDS["classification"], KINDS["regression"]


def read(folder, task=None, teacher=None, **data):
    """The task's data of a run on files of this folder; texts by name are written first."""
    files = {"train.tsv": "text\tlabel\n好\tpos\n坏\tneg\n", "dev.tsv": "text\tlabel\n不错\tpos\n难看\tneg\n"}
    for name, text in files.items():
        if not (folder / name).exists():
            (folder / name).write_text(text, encoding="utf-8")
    raw = {
        "output_dir": str(folder / "run"),
        "task": {"name": "t", "labels": LABELS, **(task or {})},
        "data": {
            "train": str(folder / "train.tsv"),
            "dev": str(folder / "dev.tsv"),
            "columns": {"text": "text", "label": "label"},
            **data,
        },
        "stages": SPECIFIC,
        **({"teacher": {"model": "ernie-3.0-medium-zh"}} if teacher is None else {}),
    }
    return load_task_data(load_config(None, (), raw))


def soft_rows(folder, rows, name="train.jsonl", **more):
    """The data of a run whose training file has these rows as JSON lines."""
    (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    columns = {"text": "text", "label": "label", "soft_labels": "soft_labels"}
    return read(folder, train=str(folder / name), columns=columns, **more)


# --- the pool --------------------------------------------------------------------------------------------------------


def test_rows_of_the_pool_that_occur_in_a_split_are_left_out_and_counted(tmp_path):
    (tmp_path / "test.tsv").write_text("text\tlabel\n很 好\tpos\n", encoding="utf-8")
    pool = "text\tlabel\n不错\tpos\n很好\tneg\n好\t?\n新的\t-1\n新 的\tpos\n\n另一个\tneg\n"
    (tmp_path / "pool.tsv").write_text(pool, encoding="utf-8")
    data = read(tmp_path, unlabelled=str(tmp_path / "pool.tsv"), test=str(tmp_path / "test.tsv"))
    assert [(row.text, row.label, row.line) for row in data.pool.rows] == [("新的", None, 5), ("另一个", None, 8)]
    assert data.pool.removed == {"dev": 1, "test": 1, "train": 1, "unlabelled": 1}
    assert data.pool.read == 6
    assert "unlabelled" not in data.fingerprints, "a teacher does not depend on it"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pool.txt", "新的\n另一个\n"),
        ("pool.jsonl", '{"text": "新的"}\n{"text": "另一个", "label": {"any": 1}}\n'),
        ("pool.csv", 'text,label,more\n"新的",pos,1\n"另一个",,2\n'),
    ],
)
def test_the_pool_comes_in_any_format_with_or_without_labels(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    data = read(tmp_path, unlabelled=[str(tmp_path / name)])
    assert [row.text for row in data.pool.rows] == ["新的", "另一个"]
    assert all(row.label is None for row in data.pool.rows)


def test_the_training_file_itself_is_the_pool_of_a_limited_run(tmp_path):
    rows = [f"文字{i}\t{LABELS[i % 2]}" for i in range(20)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    data = read(tmp_path, train_limit=4, unlabelled=str(tmp_path / "train.tsv"))
    assert len(data.train) == 4 and len(data.pool.rows) == 16 and data.pool.removed == {"train": 4}
    assert {row.text for row in data.train}.isdisjoint(row.text for row in data.pool.rows)


def test_a_pair_in_the_pool_is_the_same_row_only_if_both_texts_are(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tb\tlabel\n一\t二\tpos\n三\t四\tneg\n", encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("a\tb\tlabel\n五\t六\tpos\n", encoding="utf-8")
    (tmp_path / "pool.tsv").write_text("a\tb\tlabel\n一\t二\tpos\n一\t六\tneg\n五\t六\tneg\n", encoding="utf-8")
    columns = {"text": "a", "text_b": "b", "label": "label"}
    data = read(tmp_path, unlabelled=str(tmp_path / "pool.tsv"), columns=columns)
    assert [row.content for row in data.pool.rows] == [("一", "六")]


def test_a_text_with_a_label_is_no_pair(tmp_path):
    """Two columns are the texts of a pair only if neither is another column's name."""
    rows = "a\tb\tlabel\n好\t很好\tpos\n坏\t很坏\tneg\n"
    for name, text in (("train", rows), ("dev", rows.replace("好", "良")), ("pool", "a\tlabel\n新的\tpos\n")):
        (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="(?s)pool.tsv:1.*no column 'b'"):
        read(tmp_path, columns={"text": "a", "text_b": "b", "label": "label"}, unlabelled=str(tmp_path / "pool.tsv"))


def test_words_of_a_tagger_pool_are_cut_as_at_prediction(tmp_path):
    (tmp_path / "train.conll").write_text("王 B-PER\n明 I-PER\n来 O\n\n他 O\n去 O\n", encoding="utf-8")
    (tmp_path / "dev.conll").write_text("张 B-PER\n三 I-PER\n", encoding="utf-8")
    (tmp_path / "pool.txt").write_text("李四 来\n张三\n", encoding="utf-8")
    task = {"kind": "token_classification", "labels": ["O", "B-PER", "I-PER"]}
    files = {name: str(tmp_path / f"{name}.conll") for name in ("train", "dev")}
    data = read(tmp_path, task, **files, unlabelled=str(tmp_path / "pool.txt"), columns={})
    assert [(row.words, row.tags) for row in data.pool.rows] == [(("李", "四", "来"), None)]
    assert data.pool.removed == {"dev": 1}


def test_a_bad_row_of_the_pool_is_named_and_a_pool_without_rows_is_refused(tmp_path):
    (tmp_path / "pool.jsonl").write_text('{"text": "新的"}\n{"text": ""}\n', encoding="utf-8")
    with pytest.raises(InputError, match="pool.jsonl:2"):
        read(tmp_path, unlabelled=str(tmp_path / "pool.jsonl"))
    (tmp_path / "pool.jsonl").write_text('{"text": "好"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="none of its 1 rows is left"):
        read(tmp_path, unlabelled=str(tmp_path / "pool.jsonl"))


# --- soft labels -----------------------------------------------------------------------------------------------------


def test_a_row_has_a_label_a_soft_label_both_or_neither(tmp_path):
    given = [
        {"text": "一", "label": "pos", "soft_labels": {"pos": 0.9, "neg": 0.1}},
        {"text": "二", "soft_labels": [0.75, 0.25]},
        {"text": "三", "label": "neg", "soft_labels": None},
        {"text": "四"},
    ]
    data = soft_rows(tmp_path, given)
    assert [row.label for row in data.train] == [1, None, 0, None]
    np.testing.assert_allclose(data.train[0].soft, [math.log(0.1), math.log(0.9)])
    np.testing.assert_allclose(data.train[1].soft, [math.log(0.75), math.log(0.25)])
    assert [row.soft for row in data.train[2:]] == [None, None]
    assert data.soft.found == "probabilities" and [row.text for row in data.labelled] == ["一", "三"]


def test_without_a_teacher_rows_that_teach_nothing_are_left_out_and_said(tmp_path):
    given = [{"text": "一", "soft_labels": [0.5, 0.5]}, {"text": "二", "label": "pos"}, {"text": "三"}]
    data = soft_rows(tmp_path, given, teacher=False)
    assert [row.text for row in data.train] == ["一", "二"]
    assert "1 of 3 rows have no label and no soft labels: they are left out" in str(data.notes[-1])


def test_without_a_teacher_a_pool_that_teaches_nothing_is_refused(tmp_path):
    (tmp_path / "pool.txt").write_text("新的\n", encoding="utf-8")
    rows = [{"text": "一", "label": "pos", "soft_labels": [0.5, 0.5]}]
    with pytest.raises(InputError, match="no row is left that teaches something"):
        soft_rows(tmp_path, rows, teacher=False, unlabelled=str(tmp_path / "pool.txt"))


@pytest.mark.parametrize("labels", [[], ["pos", "neg"]])
def test_a_dev_split_for_which_no_labelled_row_is_left_is_refused(tmp_path, labels):
    rows = [{"text": f"{i}", "soft_labels": [0.5, 0.5]} for i in range(5)]
    rows += [{"text": label, "label": label} for label in labels]
    with pytest.raises(InputError, match="no row can be held out"):
        soft_rows(tmp_path, rows, teacher=False, dev=None, dev_from_train=0.2)


def test_a_batch_of_one_row_has_no_share_of_the_pool():
    raw = {
        "output_dir": "run",
        "task": {"name": "t", "labels": LABELS},
        "data": {"train": "t", "dev": "d", "unlabelled": "p", "unlabelled_ratio": 0.5},
        "teacher": {"model": "ernie-3.0-medium-zh"},
        "stages": [{"stage": "task_specific", "training": {"max_steps": 1, "per_device_train_batch_size": 1}}],
    }
    with pytest.raises(InputError, match=r"stages\[0\].*a share of every batch, and 1 row has none"):
        load_config(None, (), raw)
    training, raw["stages"] = raw["stages"][0]["training"], [{"stage": "task_specific", "training": {"max_steps": 1}}]
    raw["export"] = {"int8": {"quantization_aware": {"training": training}}}
    with pytest.raises(InputError, match="export.int8.quantization_aware.*a share of every batch, and 1 row has none"):
        load_config(None, (), raw)


def test_logits_are_taken_as_they_are_and_aliases_name_labels(tmp_path):
    given = [{"text": "一", "soft_labels": {"good": 3.5, "neg": -1}}, {"text": "二", "soft_labels": [2, 0.5]}]
    data = soft_rows(tmp_path, given, label_aliases={"good": "pos"})
    assert [row.soft for row in data.train] == [(-1.0, 3.5), (2.0, 0.5)]
    assert data.soft.found == "logits"


def test_probabilities_and_logits_in_one_run_are_an_error_that_names_the_line(tmp_path):
    given = [{"text": "一", "soft_labels": [0.5, 0.5]}, {"text": "二", "soft_labels": [2.0, -1.0]}]
    with pytest.raises(InputError, match=r"train.jsonl:2: .*no probabilities, but the soft labels of .*jsonl:1"):
        soft_rows(tmp_path, given)
    data = soft_rows(tmp_path, given, soft_label_values="logits")
    assert [row.soft for row in data.train] == [(0.5, 0.5), (2.0, -1.0)]
    with pytest.raises(InputError, match="train.jsonl:1"):
        soft_rows(tmp_path, [{"text": "一", "soft_labels": [0.6, 0.6]}], soft_label_values="probabilities")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({"pos": 1.0}, "not a finite number for each of 2 labels"),
        ({"pos": 0.5, "neg": 0.4, "neutral": 0.1}, "'neutral'.*is no label"),
        ([0.5], "not a finite number"),
        ([0.5, True], "not a finite number"),
        ([0.5, "0.5"], "not a finite number"),
        ([10**400, 0], "not a finite number"),
        ([1e39, 0], "not a finite number.*none beyond 1e\\+15"),  # which float32 cannot hold
        ("0.5 0.5", "not JSON"),
        ('{"pos": 0.5, "pos": 0.5}', "given twice"),
    ],
)
def test_soft_labels_that_are_none_are_refused_with_their_line(tmp_path, value, what):
    with pytest.raises(InputError, match=f"(?s)train.jsonl:1.*{what}"):
        soft_rows(tmp_path, [{"text": "一", "label": "pos", "soft_labels": value}])


def test_cells_of_tables_hold_json_and_a_file_without_the_column_has_none(tmp_path):
    (tmp_path / "train.csv").write_text(
        'text,label,soft_labels\n一,pos,"{""pos"": 0.8, ""neg"": 0.2}"\n二,neg,"[0.5, 0.5]"\n三,,\n', encoding="utf-8"
    )
    (tmp_path / "pool.txt").write_text("新的\n", encoding="utf-8")
    columns = {"text": "text", "label": "label", "soft_labels": "soft_labels"}
    data = read(tmp_path, train=str(tmp_path / "train.csv"), columns=columns, unlabelled=str(tmp_path / "pool.txt"))
    np.testing.assert_allclose(np.exp(data.train[0].soft), [0.2, 0.8])
    assert data.train[2].soft is None and data.pool.rows[0].soft is None


def test_rows_of_the_pool_may_have_soft_labels_too(tmp_path):
    (tmp_path / "pool.jsonl").write_text(
        '{"text": "新的", "soft_labels": [0.3, 0.7]}\n{"text": "又一"}\n', encoding="utf-8"
    )
    data = soft_rows(tmp_path, [{"text": "一", "label": "pos"}], unlabelled=str(tmp_path / "pool.jsonl"))
    np.testing.assert_allclose(np.exp(data.pool.rows[0].soft), [0.3, 0.7])
    assert data.pool.rows[1].soft is None


def test_a_misspelt_column_of_soft_labels_is_found(tmp_path):
    columns = {"text": "text", "label": "label", "soft_labels": "soft"}
    with pytest.raises(InputError, match="no row has soft labels: none has a value in 'soft'"):
        read(tmp_path, columns=columns)


def test_the_soft_label_of_a_regression_is_a_number(tmp_path):
    (tmp_path / "dev.tsv").write_text("text\tlabel\n好\t1.5\n", encoding="utf-8")
    given = [{"text": "一", "label": "2", "soft_labels": 2.25}, {"text": "二", "soft_labels": [0.5]}]
    data = soft_rows(tmp_path, given, task={"kind": "regression", "labels": None})
    assert [row.soft for row in data.train] == [(2.25,), (0.5,)]
    assert SCORES.soft_values(np.array([1 / 3], dtype=np.float32), ["score"]) == pytest.approx(1 / 3, abs=1e-7)
    for value, what in (({"a": 1}, "is no number"), (10**400, "is not a number")):
        with pytest.raises(InputError, match=what):
            soft_rows(tmp_path, [{"text": "一", "soft_labels": value}], task={"kind": "regression", "labels": None})


def test_tags_have_no_soft_labels_in_files(tmp_path):
    (tmp_path / "train.conll").write_text("王 B-PER\n", encoding="utf-8")
    task = {"kind": "token_classification", "labels": ["O", "B-PER"]}
    files = {name: str(tmp_path / "train.conll") for name in ("train", "dev")}
    with pytest.raises(InputError, match="has many answers"):
        read(tmp_path, task, **files, columns={"soft_labels": "soft"})
    with pytest.raises(InputError, match="vectors are nothing that a file holds"):
        read(tmp_path, {"kind": "embedding", "labels": None}, columns={"soft_labels": "soft"})


def test_what_a_model_says_of_a_row_is_read_again_as_its_logits_but_for_a_constant():
    logits = np.array([2.5, -3.75], dtype=np.float32)
    values = CLASSES.soft_values(logits, LABELS)
    assert list(values) == LABELS and sum(values.values()) == pytest.approx(1)
    again = CLASSES.soft_logits(CLASSES.parse_soft(values, LABELS))
    assert again[0] - again[1] == pytest.approx(6.25, abs=1e-7)


def test_encoded_rows_hold_soft_labels_and_nothing_where_there_are_none(tmp_path):
    data = soft_rows(tmp_path, [{"text": "一", "soft_labels": [0.5, 0.5]}, {"text": "二", "label": "pos"}])
    soft = soft_labels_of(data.train)
    assert soft.dtype == np.float32
    np.testing.assert_allclose(soft[0], np.log([0.5, 0.5]), rtol=1e-6)
    assert np.isnan(soft[1]).all()
    rows = EncodedRows([[1], [2]], [[0], [0]], soft=soft)
    assert set(rows[0]) == {"input_ids", "token_type_ids", "soft"} and rows.take([1]).soft.shape == (1, 2)
    assert soft_labels_of(data.dev) is None


def test_several_labels_have_a_probability_each_by_itself(tmp_path):
    """0.8 and 0.6 need not sum to 1; a row may lack its set of labels."""
    (tmp_path / "dev.tsv").write_text("text\tlabel\n好\tneg,pos\n", encoding="utf-8")
    given = [
        {"text": "一", "label": ["pos"], "soft_labels": {"neg": 0.8, "pos": 0.6}},
        {"text": "二", "soft_labels": [0.5, 0.25]},
        {"text": "三", "label": []},
    ]
    (tmp_path / "pool.txt").write_text("新的\n", encoding="utf-8")
    data = soft_rows(tmp_path, given, task={"kind": "multi_label"}, unlabelled=str(tmp_path / "pool.txt"))
    assert [row.label for row in data.train] == [(0, 1), None, (0, 0)]
    np.testing.assert_allclose(1 / (1 + np.exp(-np.array(data.train[0].soft))), [0.8, 0.6])
    assert data.soft.found == "probabilities" and data.train[2].soft is None
    assert data.pool.rows[0].label is None


@pytest.mark.parametrize(
    ("kind", "values", "pool"),
    [
        ("embedding", {"labels": None}, '{"text": "新的"}\n{"text": "一句", "text_b": "另一句"}\n'),
        ("multi_label", {}, '{"text": "新的", "label": ["?"]}\n{"text": "一句"}\n'),
        ("regression", {"labels": None}, '{"text": "新的", "label": "?"}\n{"text": "一句"}\n'),
    ],
)
def test_every_kind_reads_a_pool(tmp_path, kind, values, pool):
    rows = [{"text": "甲", "text_b": "乙", "label": "1"}, {"text": "丙", "text_b": "丁", "label": "0"}]
    if kind == "multi_label":
        rows = [{"text": row["text"], "label": LABELS} for row in rows]
    for split in ("train", "dev"):
        text = "".join(json.dumps(row | {"text": split + row["text"]}, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "pool.jsonl").write_text(pool, encoding="utf-8")
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "dev")}
    columns = {"text": "text", "label": "label", **({"text_b": "text_b"} if kind == "embedding" else {})}
    data = read(tmp_path, {"kind": kind, **values}, **files, unlabelled=str(tmp_path / "pool.jsonl"), columns=columns)
    assert [row.text for row in data.pool.rows] == ["新的", "一句"]
    assert [row.label for row in data.pool.rows] == [None, None]


def test_answers_in_a_pool_of_questions_are_passed_over(tmp_path):
    for name, text in (("train", "王小明"), ("pool", "李华")):
        row = {"question": "谁？", "context": text + "来了", "answers": [{"text": text, "answer_start": 0}]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    files = {split: str(tmp_path / "train.jsonl") for split in ("train", "dev")}
    columns = {"text": "question", "text_b": "context", "label": "answers"}
    task = {"kind": "reading", "labels": None}
    data = read(tmp_path, task, **files, unlabelled=str(tmp_path / "pool.jsonl"), columns=columns)
    assert data.train[0].label is not None
    assert [(row.label, row.content) for row in data.pool.rows] == [(None, ("谁？", "李华来了"))]
