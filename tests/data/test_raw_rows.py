"""Files of rows to predict: in the layout of the training data, with labels or without, or of texts alone."""

import json
import os
import threading

import pytest

from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.deploy.bundle import Manifest
from paddle_ernie_tiny.deploy.row_files import read_rows, read_texts
from paddle_ernie_tiny.errors import InputError

LABELS = {
    "classification": ["neg", "pos"],
    "pair_classification": ["neg", "pos"],
    "pair_regression": ["score"],
    "token_classification": ["O", "B-LOC", "I-LOC"],
}
METRIC = {"classification": "accuracy", "pair_classification": "accuracy", "pair_regression": "pearson"}
METRIC["token_classification"] = "entity_f1"
BY_PLACE = {"format": "auto", "header": "auto", "text": 0, "text_b": None, "label": 1}
LABEL_FIRST = {**BY_PLACE, "text": 1, "label": 0}
BY_NAME = {**BY_PLACE, "text": "review", "label": "stars"}
PAIRS = {**BY_PLACE, "text_b": 1, "label": 2}
PAIR_NAMES = {**BY_PLACE, "text": "query", "text_b": "title", "label": "label"}
ONE, TWO = (["好", "差"], None), (["甲", "丙"], ["乙", "丁"])
PAIR, TAGS = "pair_classification", "token_classification"


def read(path, table, task_type="classification", unit="character"):
    labels, by_token = LABELS[task_type], task_type == TAGS
    manifest = Manifest(
        task="t",
        task_type=task_type,
        labels=labels,
        table=table,
        unit=unit if by_token else None,
        max_length_tokens=8,
        metric=METRIC[task_type],
        precision="fp32",
        parameters=1,
        inputs=[{"name": name, "dtype": "int64", "shape": [-1, -1]} for name in ("input_ids", "token_type_ids")],
        outputs=[{"name": "logits", "dtype": "float32", "shape": [-1] * (1 + by_token) + [len(labels)]}],
        parity={},
        versions={},
    )
    return read_rows(manifest, path)


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("table", "name", "content", "rows"),
    [
        (BY_PLACE, "a.txt", "好\n差\n", ONE),
        (BY_PLACE, "a.txt", "\ufeff好\r\n差", ONE),
        (BY_PLACE, "a.txt", "好\n差\n".encode("utf-16"), ONE),
        (BY_PLACE, "a.txt", "好\n差\n".encode("gb18030"), ONE),
        (BY_PLACE, "a.json", '[{"text": "好"}, {"text": "差"}]', ONE),
        (BY_PLACE, "a.tsv", "好\tpos\n差\t\n", ONE),
        (BY_PLACE, "a.tsv", "好\tpos\n差\tno label of the task\n", ONE),
        (BY_PLACE, "a.tsv", "text\tlabel\n好\tpos\n差\tneg\n", ONE),
        (BY_PLACE, "a.tsv", "review\tstars\n好\tpos\n差\tneg\n", ONE),
        (BY_PLACE, "a.csv", "好,pos\n差,neg\n", ONE),
        (BY_PLACE, "a.csv", '"一, ""二""\n三"\n差\n', (['一, "二"\n三', "差"], None)),
        (BY_PLACE, "a.tsv", '"好\tpos\n差"\tneg\n', (['"好', '差"'], None)),
        ({**BY_PLACE, "header": True}, "a.txt", "好\n差\n", ONE),
        ({**BY_PLACE, "header": True}, "a.tsv", "x\tpos\n好\tpos\n差\tneg\n", ONE),
        ({**BY_PLACE, "header": False}, "a.txt", "text\n", (["text"], None)),
        ({**BY_PLACE, "label_aliases": {"1": "pos"}}, "a.tsv", "好\t1\n差\tneg\n", ONE),
        (LABEL_FIRST, "a.txt", "好\n差\n", ONE),
        (LABEL_FIRST, "a.tsv", "pos\t好\nneg\t差\n", ONE),
        (BY_NAME, "a.txt", "好\n差\n", ONE),
        (BY_NAME, "a.tsv", "id\tstars\treview\n1\t?\t好\n2\t\t差\n", ONE),
        (BY_NAME, "a.tsv", "review\n好\n差\n", ONE),
        (BY_NAME, "a", "stars,review\npos,好\nneg,差\n", ONE),
        (BY_NAME, "a.jsonl", '{"review": "好", "stars": 5}\n{"id": 1, "review": "差"}\n', ONE),
        (BY_PLACE, "a.jsonl", '{"text": "好"}\n{"text": "差", "label": "?"}\n', ONE),
        (BY_PLACE, "a", '{"sentence": "好"}\n{"sentence": "差"}\n', ONE),
        (BY_PLACE, "a.txt", "{好}\n{差}\n", (["{好}", "{差}"], None)),
    ],
)
def test_single_texts(tmp_path, table, name, content, rows):
    assert read(write(tmp_path, name, content), table) == rows


@pytest.mark.parametrize(
    ("table", "name", "content"),
    [
        (PAIRS, "a.txt", "甲\t乙\n丙\t丁\n"),
        (PAIRS, "a.tsv", "甲\t乙\tpos\n丙\t丁\t相同\n"),
        (PAIRS, "a.tsv", "sentence1\tsentence2\tlabel\n甲\t乙\tpos\n丙\t丁\tneg\n"),
        (PAIRS, "a.tsv", "text_a\ttext_b\n甲\t乙\n丙\t丁\n"),
        (PAIRS, "a.csv", "甲,乙\n丙,丁\n"),
        ({}, "a.txt", "甲\t乙\n丙\t丁\n"),
        ({"text": 0, "label": 1}, "a.jsonl", '{"text": "甲", "text_b": "乙"}\n{"text": "丙", "text_b": "丁"}'),
        (PAIR_NAMES, "a.tsv", "title\tquery\tlabel\n乙\t甲\t1\n丁\t丙\t0\n"),
        (PAIR_NAMES, "a.tsv", "甲\t乙\n丙\t丁\n"),
        (PAIR_NAMES, "a.jsonl", '{"query": "甲", "title": "乙"}\n{"query": "丙", "title": "丁"}'),
    ],
)
@pytest.mark.parametrize("task_type", [PAIR, "pair_regression"])
def test_pairs(tmp_path, table, name, content, task_type):
    assert read(write(tmp_path, name, content), table, task_type) == TWO


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "在北京\n好\n", ["在北京", "好"]),
        ("a.conll", "在 O\n北 B-LOC\n京 I-X\n\n好 O\n", ["在北京", "好"]),
        ("a.txt", "在 O\n北 B-LOC\n京 I-LOC\n\n好 O\n", ["在北京", "好"]),
        ("a.tsv", "在\x02北\x02京\tO\x02B-LOC\x02I-LOC\n好\tO\n", ["在北京", "好"]),
        ("a.jsonl", '{"tokens": ["在", "北", "京"]}\n{"tokens": "好", "tags": ["O"]}\n', ["在北京", "好"]),
        ("a.txt", "今天 天气\n", ["今天 天气"]),
    ],
)
def test_a_tagger_s_rows_are_raw_text_or_words(tmp_path, name, content, texts):
    table = {**BY_PLACE, "format": "conll"}
    if name.endswith("jsonl"):
        table |= {"text": "tokens", "label": "tags"}
    assert read(write(tmp_path, name, content), table, TAGS) == (texts, None)


@pytest.mark.parametrize(
    ("task_type", "table", "name", "content", "what"),
    [
        ("classification", BY_PLACE, "a.txt", "甲\t乙\n", ":1: two columns, and in the label's is '乙'"),
        ("classification", BY_PLACE, "a.txt", "好\n\n差\n", ":2: empty line"),
        ("classification", BY_PLACE, "a.txt", "好\n\u200b\n", ":2: the text is empty"),
        ("classification", BY_PLACE, "a.txt", "好\n".encode() + b"\xff\n", ":2: not UTF-8"),
        ("classification", BY_PLACE, "a.txt", "好\r差\r", ":1: its lines end in CR alone"),
        ("classification", BY_PLACE, "a.txt", "好\n\x1b[31m差\n", ":2: control character U+001B at position 0"),
        ("classification", BY_PLACE, "a.jsonl", '{"text": "\\ud83d"}\n', ":1: half a surrogate pair U+D83D"),
        ("classification", BY_PLACE, "a.txt", "", "the file is empty"),
        ("classification", BY_PLACE, "a.txt", "\n", ":1: empty line"),
        ("classification", BY_PLACE, "a.txt", "好\n".encode("utf-16")[:-1], "not UTF-16 text"),
        ("classification", BY_PLACE, "a.bio", "好 O\n", "a file of tagged words"),
        ("classification", BY_PLACE, "a.jsonl", '{"a": "好"}\n', ":1: no field 'text'; found 'a'"),
        ("classification", BY_PLACE, "a.jsonl", '{"text": "好"\n', ":1: not JSON: the file ends inside an object"),
        ("classification", BY_PLACE, "a.jsonl", '{"text": 5}\n', ":1: text is 5, not a string"),
        ("classification", BY_NAME, "a.tsv", "text\tstars\n好\tpos\n", "no column 'review'"),
        (PAIR, PAIRS, "a.tsv", "甲\t\n", ":1: the text is empty (second text)"),
        (PAIR, PAIRS, "a.txt", "甲\n", "there is no column 1: 1 columns"),
        (PAIR, PAIRS, "a.txt", "甲\t乙\n丙\n", ":2: expected 2 columns as on line 1"),
        (TAGS, {**BY_PLACE, "format": "conll"}, "a.conll", "今天 天气\n今天\n", ":2: one column only"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(tmp_path, task_type, table, name, content, what):
    with pytest.raises(InputError) as error:
        read(write(tmp_path, name, content), table, task_type)
    assert what in str(error.value) and str(tmp_path) in str(error.value) and "remedy: " in str(error.value)


@pytest.fixture
def piped(tmp_path):
    """A pipe into which a text is written, with a byte order mark."""

    def piped(content):
        os.mkfifo(tmp_path / "pipe")
        data = b"\xef\xbb\xbf" + content.encode()
        threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data], daemon=True).start()
        return tmp_path / "pipe"

    return piped


@pytest.mark.parametrize("content", ["好\n差\n", '{"text": "好"}\n{"text": "差"}\n', "text\tlabel\n好\tpos\n差\tneg\n"])
def test_a_pipe_is_read_once(piped, content):
    assert read(piped(content), BY_PLACE) == ONE


def test_a_pipe_without_a_bundle_is_read_once_too(piped):
    texts, texts_b = read_texts(piped("\n".join(["甲\t乙", *["丙\t丁"] * 100_000])))  # more than is read at once
    assert (texts[0], len(texts), texts_b[0], len(texts_b)) == ("甲", 100_001, "乙", 100_001)


def test_texts_without_a_bundle(tmp_path):
    assert read_texts(write(tmp_path, "a.txt", "text\n差\n")) == (["text", "差"], None)
    assert read_texts(write(tmp_path, "a.txt", "甲\t乙\tpos\n丙\t丁\tneg\n")) == TWO
    rows = "".join(json.dumps({"text": a, "text_b": b}) + "\n" for a, b in zip(*TWO, strict=True))
    assert read_texts(write(tmp_path, "a.jsonl", rows)) == TWO
    with pytest.raises(InputError, match=r"a.txt:2: the text is empty \(second text\)"):
        read_texts(write(tmp_path, "a.txt", "甲\t乙\n丙\t\n"))


def test_every_column_of_a_manifest_is_a_field_of_the_layout():
    more = {"label_aliases", "separator", "drop_labels", "max_bad_rows", "text_c"}
    of_training = {"soft_labels"}  # which no manifest names, and prediction does not read
    assert set(BY_PLACE) | more | of_training == set(TableFormat.__dataclass_fields__)
