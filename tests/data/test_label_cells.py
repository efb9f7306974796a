"""Labels of rows that may have several: lists, names with a separator, columns of 0 and 1; what is refused."""

import json

import numpy as np
import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.label_cells import LabelSet
from paddle_ernie_tiny.data.splits import load_task_data, stratified_rows
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.errors import InputError, InputErrors, Problems
from paddle_ernie_tiny.kinds import KINDS

KIND = KINDS["multi_label"]
LABELS = ["a", "b", "c"]
BY_NAME = TableFormat(text="text", label="label")
SETS = [(1, 1, 0), (0, 0, 0), (0, 0, 1)]


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return write


def sets_of(path, table=BY_NAME, kind=KIND, **options):
    return [row.label for row in kind.read(path, table, LABELS, **options)]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "text\tlabel\nx\ta,b\ny\t\nz\tc\n"),
        ("x.tsv", "text\tlabel\nx\tb, a,a\ny\t \nz\tc\n"),
        ("x.csv", 'text,label\nx,"a,b"\ny,\nz,c\n'),
        ("x.csv", 'text,label\nx,"[""a"", ""b""]"\ny,[]\nz,"[""c""]"\n'),
        (
            "x.jsonl",
            jsonl([{"text": "x", "label": ["a", "b"]}, {"text": "y", "label": []}, {"text": "z", "label": "c"}]),
        ),
    ],
)
def test_a_list_or_names_with_a_separator(write, name, content):
    path = write(name, content)
    assert sets_of(path) == SETS and KIND.infer_labels(path, BY_NAME) == LABELS


def test_another_separator(write):
    kind = KIND.with_settings({"separator": ";"})
    path = write("x.tsv", "text\tlabel\nx\ta;b\ny\t\nz\tc\n")
    assert sets_of(path, kind=kind) == SETS
    assert (
        sets_of(
            write("y.tsv", "x\ta b\ny\t\nz\tc\n"), TableFormat(text=0, label=1), KIND.with_settings({"separator": " "})
        )
        == SETS
    )


def columns():
    return TableFormat(text="text", label=["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "id\ttext\tc\tb\ta\n7\tx\t0\t1\t1\n8\ty\t0\t0\t0\n9\tz\t1\t0\t0\n"),
        ("x.csv", "text,a,b,c\nx,1.0,true,0\ny,0,False,0\nz,0,0,1\n"),
        (
            "x.jsonl",
            jsonl(
                [
                    {"text": "x", "a": 1, "b": True, "c": 0},
                    {"text": "y", "a": 0, "b": False, "c": 0.0},
                    {"text": "z", "a": 0, "b": 0, "c": 1},
                ]
            ),
        ),
    ],
)
def test_a_column_of_0_and_1_for_each_label(write, name, content):
    path = write(name, content)
    assert sets_of(path, columns()) == SETS and KIND.infer_labels(path, columns()) == LABELS


def test_columns_in_parquet_and_xlsx(tmp_path):
    import openpyxl
    import pyarrow
    import pyarrow.parquet

    values = {"text": ["x", "y", "z"], "a": [1, 0, 0], "b": [1, 0, 0], "c": [0, 0, 1]}
    pyarrow.parquet.write_table(pyarrow.table(values), tmp_path / "x.parquet")
    book = openpyxl.Workbook()
    for row in [list(values), *zip(*values.values(), strict=True)]:
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    for name in ("x.parquet", "x.xlsx"):
        assert sets_of(tmp_path / name, columns()) == SETS
    lists = {"text": values["text"], "label": [["a", "b"], [], ["c"]]}
    pyarrow.parquet.write_table(pyarrow.table(lists), tmp_path / "y.parquet")
    assert sets_of(tmp_path / "y.parquet") == SETS


@pytest.mark.parametrize(
    ("name", "content", "table", "what", "remedy"),
    [
        ("x.tsv", "text\tlabel\nx\ta,d\n", BY_NAME, "unknown label 'd'", "use one of a, b, c"),
        ("x.tsv", "text\tlabel\nx\ta,,b\n", BY_NAME, "an empty label name in 'a,,b'", "write label names with one ','"),
        ("x.tsv", "text\tlabel\nx\t[a, b]\n", BY_NAME, "the labels '[a, b]' are no JSON list", 'write ["A", "B"]'),
        (
            "x.jsonl",
            jsonl([{"text": "x", "label": ["a,b"]}]),
            BY_NAME,
            "holds the separator ','",
            "task.settings.separator",
        ),
        ("x.jsonl", jsonl([{"text": "x", "label": [["a"]]}]), BY_NAME, "the labels are", "a list of label names"),
        ("x.jsonl", jsonl([{"text": "x", "label": {"a": 1}}]), BY_NAME, "the labels are", "a list of label names"),
        ("x.jsonl", jsonl([{"text": "x", "label": None}]), BY_NAME, "no label", "give every row a label"),
        ("x.jsonl", jsonl([{"text": "x"}]), BY_NAME, "no field 'label'", "correct the column's name"),
        ("x.csv", "text,a,b,c\nx,1,0,2\n", columns(), "the column 'c' holds '2'", "write 1 for a label, else 0"),
        ("x.csv", "text,a,b,c\nx,1,0,\n", columns(), "the column 'c' holds ''", "write 1 for a label, else 0"),
        ("x.csv", "text,a,b\nx,1,0\n", columns(), "no column 'c' in the header", ""),
        ("x.jsonl", jsonl([{"text": "x", "a": 1, "c": 0}]), columns(), "no field 'b'", ""),
    ],
)
def test_what_is_refused(write, name, content, table, what, remedy):
    with pytest.raises(InputError) as caught:
        sets_of(write(name, content), table)
    error = caught.value.errors[0] if isinstance(caught.value, InputErrors) else caught.value
    assert what in error.what and remedy in error.remedy
    assert name in error.where


def test_a_task_of_one_label_says_that_another_kind_takes_several(write):
    path = write("x.jsonl", jsonl([{"text": "x", "label": ["a", "b"]}]))
    with pytest.raises(InputErrors) as caught:
        KINDS["classification"].read(path, BY_NAME, LABELS)
    assert "set task.kind to multi_label" in str(caught.value)


def test_aliases_and_labels_whose_rows_are_left_out(write):
    table = TableFormat(text="text", label="label", label_aliases={"A": "a", "aa": "a"}, drop_labels=["?"])
    path, problems = write("x.tsv", "text\tlabel\nx\tA,aa,b\ny\ta,?\nz\tc\n"), Problems()
    assert KIND.infer_labels(path, table) == LABELS
    assert sets_of(path, table, problems=problems) == [(1, 1, 0), (0, 0, 1)]
    (note,) = problems.notes
    assert note.what == "1 rows with the label '?' are left out, as drop_labels says"


def test_rows_to_predict_may_have_labels_or_none(write):
    table = TableFormat(text="text", label=LABELS)

    def read(name, content, table):
        rows = KIND.raw_rows(write(name, content), table, LABELS, None, problems := Problems())
        return [row.text for row in rows], list(problems)

    assert read("x.csv", "text,a,b,c\nx,1,0,0\n", table) == (["x"], [])
    assert read("y.csv", "text\nx\n", table) == (["x"], [])
    assert read("z.tsv", "x\ta,b\ny\t\n", TableFormat(text=0, label=1)) == (["x", "y"], [])
    assert read("z.txt", "x\ny\n", TableFormat(text=0, label=1)) == (["x", "y"], [])


def test_the_same_set_is_one_object():
    reading = LabelSet(",", 3)
    assert reading.label([2, 0]) is reading.label([0, 2]) == (1, 0, 1)


def test_what_training_takes_of_rows():
    from paddle_ernie_tiny.data.rows import Example

    rows = [Example("x", None, (1, 0), 1), Example("y", None, None, 2), Example("z", None, (0, 0), 3)]
    np.testing.assert_array_equal(KIND.label_array(rows), np.float32([[1, 0], [np.nan, np.nan], [0, 0]]))
    assert np.isnan(KIND.label_array(rows[1:2])).all()
    assert [KIND.labels_of(row) for row in rows] == [{0}, frozenset(), frozenset()]


def config(tmp_path, rows, settings=None, columns=None, **task):
    (tmp_path / "train.tsv").write_text(
        "".join(f"text {i}\t{label}\n" for i, label in enumerate(rows)), encoding="utf-8"
    )
    raw = {
        "output_dir": str(tmp_path / "run"),
        "task": {"name": "t", "kind": "multi_label", "settings": settings or {}, **task},
        "data": {"train": str(tmp_path / "train.tsv"), "dev_from_train": 0.1, "header": False},
        "teacher": {"model": "ernie-3.0-medium-zh"},
        "stages": [{"stage": "task_specific", "training": {"max_steps": 1}}],
    }
    raw["data"] |= {"columns": columns} if columns else {}
    return load_config(None, (), raw)


ROWS = ["a", "a,b", "", "a,c", "b"] * 20


def test_splits_keep_every_label_and_balanced_weights_are_negatives_by_positives(tmp_path):
    data = load_task_data(config(tmp_path, ROWS, {"positive_weights": "balanced"}))
    assert data.labels == ["a", "b", "c"] and len(data.dev) == 10
    held = np.array([row.label for row in data.train]).sum(0)
    np.testing.assert_allclose(data.class_weights, (90 - held) / held)
    assert np.array([row.label for row in data.dev]).any(0).all()
    chosen = stratified_rows(KIND, data.train, 5, 0)
    assert np.array([data.train[i].label for i in chosen]).any(0).all()


def test_given_weights_are_by_name(tmp_path):
    data = load_task_data(config(tmp_path, ROWS, {"positive_weights": {"b": 3.0}}))
    assert data.class_weights == [1.0, 3.0, 1.0]
    with pytest.raises(InputError, match="'d' is no label") as caught:
        load_task_data(config(tmp_path, ROWS, {"positive_weights": {"d": 3.0}}))
    assert caught.value.where == "task.settings.positive_weights"
    assert load_task_data(config(tmp_path, ROWS)).class_weights is None


def test_a_label_without_a_training_row_is_refused(tmp_path):
    with pytest.raises(InputError, match="no training row has the label 'd'"):
        load_task_data(config(tmp_path, ROWS, labels=["a", "b", "c", "d"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"settings": {"separator": ""}}, "use one character that no label name holds"),
        ({"settings": {"separator": ", "}}, "use one character that no label name holds"),
        ({"settings": {"thresholds": 1.5}}, "thresholds: give one, each, or numbers between 0 and 1"),
        ({"settings": {"thresholds": "best"}}, "settings of multi_label: thresholds"),
        ({"settings": {"thresholds": [0.5, 0.5]}, "labels": ["a", "b", "c"]}, "2 thresholds for 3 labels"),
        ({"settings": {"positive_weights": {"a": 0}}}, "positive_weights: give each label a number above 0"),
        ({"settings": {"seperator": ";"}}, "seperator"),
        ({"labels": ["a", "b,c"]}, "label 'b,c' holds the separator ','"),
        ({"class_weights": "balanced"}, "give the weights of positives in task.settings.positive_weights"),
        ({"metric": "macro_f1"}, "does not score multi_label; use micro_f1, label_macro_f1"),
        (
            {"kind": "classification", "columns": {"text": "t", "label": ["a", "b"]}},
            "for files of a task of kind multi_label",
        ),
    ],
)
def test_settings_that_make_no_sense(tmp_path, more, message):
    with pytest.raises(InputError) as caught:
        config(tmp_path, ROWS, **more)
    assert message in str(caught.value)


def test_settings_are_held_against_the_labels_of_files(tmp_path):
    """Before anything is trained: the files name a, b and c."""
    with pytest.raises(InputError, match="2 thresholds for 3 labels"):
        load_task_data(config(tmp_path, ROWS, settings={"thresholds": [0.5, 0.5]}))


def test_what_preflight_says_of_the_labels():
    from paddle_ernie_tiny.data.rows import Example

    def found(sets):
        rows = [Example(str(i), None, one, i) for i, one in enumerate(sets)]
        return {(f.level, f.check): f"{f.what}; {f.remedy}" for f in KIND.findings({"train": rows}, LABELS)}

    said = found([(1, 1, 0)] * 60 + [(0, 0, 0)] * 50 + [(1, 0, 1)] * 2)
    assert said["note", "labels"].startswith("1.11 labels per row, at most 2; 50 of 112 rows have no label")
    assert "1 labels have fewer than 5 rows: c" in said["warning", "labels"]
    assert "only 6 of 200 rows have the label c" in found([(1, 1, 1)] * 6 + [(1, 1, 0)] * 194)["warning", "imbalance"]
    assert "every row has the label a" in found([(1, 1, 0)] * 50 + [(1, 0, 1)] * 50)["warning", "labels"]
    assert "check data.columns.label" in found([(0, 0, 0)] * 60 + [(1, 1, 1)] * 20)["warning", "labels"]
    one_each = found([(1, 0, 0)] * 20 + [(0, 1, 0)] * 20 + [(0, 0, 1)] * 20)["warning", "labels"]
    assert "at most 1" in one_each and "task.settings.separator" in one_each


def test_the_example_is_what_its_program_writes(project_root, monkeypatch):
    monkeypatch.chdir(project_root)
    monkeypatch.syspath_prepend(str(project_root / "examples"))
    import topic_data

    made = topic_data.topic_rows(topic_data.ROWS)
    assert topic_data.FILE.read_text(encoding="utf-8") == topic_data.topic_table(made)
    data = load_task_data(load_config(project_root / "examples" / "own_task" / "topics.yaml"))
    assert data.labels == sorted(topic_data.TOPICS) and len(data.dev) == 64
    words = {word: topic for topic, words in topic_data.TOPICS.items() for word in words}
    for row in [*data.train, *data.dev]:
        named = {topic for word, topic in words.items() if word in row.text}
        assert {data.labels[i] for i in KIND.labels_of(row)} == named, "the rule holds of every row"
