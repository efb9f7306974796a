"""The splits of a task: columns that nobody configured, all files' faults at once, rows that are left out."""

import pytest

from paddle_ernie_tiny.config import TASKS, check_config
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.errors import InputError, InputErrors

from .files_as_they_are import JSONL, TSV, jsonl, put

PAIRS = jsonl(
    {"id": 1, "sentence1": "甲", "sentence2": "乙", "label": "neutral", "genre": "x"},
    {"id": 2, "sentence1": "丙", "sentence2": "丁", "label": "entailment", "genre": "x"},
    {"id": 3, "sentence1": "戊", "sentence2": "己", "label": "contradiction", "genre": "x"},
    {"id": 4, "sentence1": "庚", "sentence2": "辛", "label": "-", "genre": "x"},
)
SPANS = jsonl({"text": "王芳来了", "label": {"PER": {"王芳": [[0, 1]]}}}, {"text": "好", "label": {}})


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load_data(task=None, more=None, **files):
        """The files of the splits, by name: (file's name, content)."""
        for name, content in files.values():
            put(tmp_path / name, content)
        data = {split: name for split, (name, _) in files.items()}
        if "dev" not in files:
            data["dev_from_train"] = 0.25
        raw = {"output_dir": "run", "task": task or {"name": "own"}, "data": {**data, **(more or {})}}
        stages = [{"stage": "task_specific", "training": {"max_steps": 1}}]
        return load_task_data(check_config({**raw, "teacher": {"model": "x"}, "stages": stages}, "own.yaml"))

    return load_data


def texts(rows):
    return [(row.text, row.text_b) if row.text_b else row.text for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", PAIRS),
        (
            "a.tsv",
            "sentence2\tlabel\tsentence1\n乙\tneutral\t甲\n丁\tentailment\t丙\n己\tcontradiction\t戊\n辛\t-\t庚\n",
        ),
        ("a.tsv", "甲\t乙\tneutral\n丙\t丁\tentailment\n戊\t己\tcontradiction\n庚\t辛\t-\n"),
    ],
)
def test_own_files_for_a_task_of_the_table_keep_its_columns(load, name, content):
    data = load({"name": "ocnli"}, {"drop_labels": ["-"]}, train=(name, content), dev=("dev_" + name, content))
    assert texts(data.train) == [("甲", "乙"), ("丙", "丁"), ("戊", "己")]
    assert [data.labels[row.label] for row in data.train] == ["neutral", "entailment", "contradiction"]
    said = [note.what for note in data.notes]
    assert sum("rows with the label '-' are left out" in what for what in said) == 2, "one of each file"


def test_glue_s_own_file_has_label_where_paddlenlp_has_labels(load):
    files = {name: (f"{name}.tsv", "label\tsentence\n1\tgood\n0\tbad\n") for name in ("train", "dev")}
    data = load({"name": "sst2"}, **files)
    assert (data.table.text, data.table.label) == ("sentence", "label")
    assert texts(data.train) == ["good", "bad"]


@pytest.mark.parametrize(
    ("task", "header", "row"),
    [
        ("mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{}\t7\t8\tgood\tbad"),
        ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t7\t8\tgood\tbad\t{}"),
        ("mnli", "index\tsentence1\tsentence2\tlabel1\tgold_label", "0\tgood\tbad\tneutral\t{}"),
        ("qnli", "index\tquestion\tsentence\tlabel", "0\tgood\tbad\t{}"),
        ("rte", "index\tsentence1\tsentence2\tlabel", "0\tgood\tbad\t{}"),
    ],
)
def test_glue_s_own_files_need_no_columns(load, task, header, row):
    content = "\n".join([header, *map(row.format, TASKS[task].task["labels"]), ""])
    data = load({"name": task}, **{name: (f"{name}.tsv", content) for name in ("train", "dev")})
    assert {(row.text, row.text_b) for row in data.train} == {("good", "bad")}
    assert [row.label for row in data.train] == list(range(len(data.labels)))


@pytest.mark.parametrize(
    ("task", "name", "content", "labels"),
    [
        ("classification", "a.jsonl", JSONL, ["0", "1"]),
        ("classification", "a.tsv", TSV, ["0", "1"]),
        ("token_classification", "a.json", SPANS, ["O", "B-PER", "I-PER"]),
        ("token_classification", "a.bio", "王\tNR\tB-PER\n芳\tNR\tI-PER\n\n好\tA\tO\n", ["O", "B-PER", "I-PER"]),
    ],
)
def test_usual_names_and_places_need_no_columns(load, task, name, content, labels):
    data = load({"name": "own", "kind": task}, train=(name, content), dev=("dev_" + name, content))
    assert data.labels == labels and len(data.train) == 2
    named = "columns, which are not configured: text text, label label"
    assert (named in [note.what for note in data.notes]) == (name.startswith("a.json"))


def test_a_split_is_several_files_or_a_glob(load, tmp_path):
    put(tmp_path / "part2.tsv", TSV)
    put(tmp_path / "extra.jsonl", JSONL)
    more = {"train": ["part*.tsv", "extra.jsonl"], "columns": {"text": "text", "label": "label"}}
    data = load(None, more, train=("part1.tsv", TSV), dev=("dev.tsv", TSV))
    assert len(data.train) == 6


HEAD = "text\tlabel\n"
GOOD = "大\t1\n差\t0\n"


def test_the_faults_of_all_files_come_at_once(load):
    with pytest.raises(InputErrors) as caught:
        load(
            {"name": "own", "labels": ["0", "1"]},
            train=("train.tsv", HEAD + GOOD + "很\t2\n"),
            dev=("dev.tsv", HEAD + GOOD + "\t1\n"),
            test=("test.tsv", HEAD + GOOD + "好\t1\tx\n"),
        )
    assert [error.where for error in caught.value.errors] == ["train.tsv:4", "dev.tsv:4", "test.tsv:4"]


def test_the_faults_of_all_files_come_at_once_where_labels_are_inferred(load):
    files = {"train": ("train.tsv", HEAD + GOOD + "很\t\n"), "dev": ("dev.tsv", HEAD + GOOD + "很\t3\n")}
    with pytest.raises(InputErrors) as caught:
        load(**files, test=("test.tsv", HEAD + "\t1\n"))
    found = [(error.where, error.what) for error in caught.value.errors]
    assert found == [("train.tsv:4", "no label"), ("dev.tsv:4", "unknown label '3'"), ("test.tsv:2", "empty text")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("test.tsv", "id\ttext\n1\t大\n2\t小\n"),
        ("test.tsv", HEAD + "大\t\n小\t\n"),
        ("test.tsv", HEAD + "大\t-1\n小\t-1\n"),
        ("test.jsonl", jsonl({"id": 1, "text": "大"}, {"id": 2, "text": "小"})),
    ],
)
def test_an_unlabelled_test_file_is_recognised(load, name, content):
    with pytest.raises(InputError) as caught:
        load(None, {"columns": {"text": "text", "label": "label"}}, train=("a.tsv", TSV), test=(name, content))
    assert caught.value.what == "no row has a label" and caught.value.where == f"data.test ({name})"
    assert caught.value.remedy == "leave data.test out, then the dev split is scored; or name a labelled file"


def test_another_column_is_guessed_to_be_the_label(load):
    rows = "".join(f"{i % 3}\t句子{i}\n" for i in range(60))
    guess = "column 1 has 60 values in 60 rows: is it the label? column 0 has 3"
    for labels in ({}, {"labels": ["0", "1", "2"]}):
        with pytest.raises(InputError) as caught:
            load({"name": "own", **labels}, train=("train.tsv", rows))
        assert guess in str(caught.value)
        assert max(map(len, str(caught.value).splitlines())) < 300, "values are cut"


def test_many_faults_and_no_row_to_guess_from(load):
    content = '{"x": [' + "1,\n" * 90
    columns = {"columns": {"text": "text", "label": "label"}}
    with pytest.raises(InputError, match="a.jsonl:1: not JSON"):
        load({"name": "own", "labels": ["0", "1"]}, columns, train=("a.jsonl", content))


def test_bad_rows_are_left_out_within_a_bound_and_listed(load):
    more = {"on_bad_row": "skip", "max_bad_rows": 0.2, "columns": {"text": "text", "label": "label"}}
    bad = HEAD + GOOD * 8 + "\t1\n很好\t7\n好\t1\t2\n"
    data = load({"name": "own", "labels": ["0", "1"]}, more, train=("train.tsv", bad), dev=("dev.tsv", TSV))
    assert len(data.train) == 16
    (note,) = [note for note in data.notes if note.where == "train.tsv"]
    assert note.level == "warning" and note.what.startswith("3 of 19 rows are bad and left out: ")
    for part in ("train.tsv:18: empty text", "train.tsv:19: unknown label '7'", "train.tsv:20: expected 2 columns"):
        assert part in note.what
    with pytest.raises(InputErrors, match=r"train.tsv: 3 of 19 rows are bad, more than max_bad_rows \(0.1\) allows"):
        load({"name": "own", "labels": ["0", "1"]}, {**more, "max_bad_rows": 0.1}, train=("train.tsv", bad))
    with pytest.raises(InputErrors, match="3 problems found"):
        load({"name": "own", "labels": ["0", "1"]}, {"columns": more["columns"]}, train=("train.tsv", bad))


def test_what_one_fault_swallows_counts_with_all_its_lines(load):
    more = {"on_bad_row": "skip", "max_bad_rows": 0.2, "columns": {"text": "text", "label": "label"}}
    swallowed = "text,label\n大,1\n差,0\n" + '"好,1\n' + "大,1\n" * 9
    with pytest.raises(InputErrors, match="10 of 12 rows are bad"):
        load({"name": "own", "labels": ["0", "1"]}, more, train=("train.csv", swallowed))


def test_labels_that_are_equal_numbers_are_named(load):
    data = load(None, {"columns": {"text": 0, "label": 1}}, train=("a.tsv", "大\t1\n很\t01\n差\t1.0\n好\t2\n" * 2))
    assert data.labels == ["01", "1", "1.0", "2"]
    splits = {"train": data.train, "dev": data.dev, "test": data.test}
    said = [found.what for found in data.kind.findings(splits, data.labels) if found.level == "warning"]
    assert "'01' and '1' and '1.0' are labels of their own: a label is what the file writes" in said
    with pytest.raises(InputError) as caught:
        data.kind.parse_label("2.0", data.labels)
    assert "did you mean '2'?" in caught.value.remedy
