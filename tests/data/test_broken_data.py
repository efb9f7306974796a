"""Broken data sets: each gives the stated error, or is read as stated. None is misread in silence."""

import json
import time
from dataclasses import dataclass, field

import pytest

from paddle_ernie_tiny.config import check_config
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.data.token_rows import read_token_examples
from paddle_ernie_tiny.errors import InputError, InputErrors
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.token_classification import misplaced_tags

LABELS = ["0", "1"]
TAGS = ["O", "B-PER", "I-PER"]
ROWS = TableFormat(text="text", label="label")
PLACES = TableFormat(text=0, label=1, header=False)
LAST = TableFormat(text=0, label=2, header=False)
PAIRS = TableFormat(text=0, text_b=1, label=2, header=False)
BIG = "很好" * 1_700_000


def read_examples(path, table, labels):
    """Rows with one of the labels, or with scores if there are none."""
    return KINDS["regression" if labels is None else "classification"].read(path, table, labels)


@dataclass
class Case:
    """A file, how it is read, and what must come of it: an error's place and words, or rows."""

    name: str
    content: bytes | str
    place: str | None = None  # of the error, such as ":3"
    what: str = ""
    rows: list | None = None
    file: str = "a.tsv"
    table: TableFormat = field(default_factory=lambda: ROWS)
    labels: list | None = field(default_factory=lambda: LABELS)
    read: object = read_examples


def lines(*rows, end="\n") -> str:
    return end.join(rows) + end


HEAD = "text\tlabel"
CASES = [
    Case("last line cut off inside the row", lines(HEAD, "好\t1") + "差", ":3", "expected 2 columns"),
    Case("last line without a line end", lines(HEAD, "好\t1") + "差\t0", rows=[("好", 1), ("差", 0)]),
    Case(
        "JSON cut off", '{"text": "好", "label": "1"}\n{"text": "差", "la', ":2", "Unterminated string", file="a.jsonl"
    ),
    Case("byte order mark", b"\xef\xbb\xbf" + lines(HEAD, "好\t1").encode(), rows=[("好", 1)]),
    Case("Latin-1", lines(HEAD, "café\t1").encode("latin-1"), ":2", "not UTF-8"),
    Case("GB18030", lines(HEAD, "很好\t1").encode("gb18030"), rows=[("很好", 1)]),
    Case("UTF-16", lines(HEAD, "好\t1").encode("utf-16"), rows=[("好", 1)]),
    Case("a tab inside a text", lines(HEAD, "好\t很好\t1"), ":2", "expected 2 columns"),
    Case("labels off by one", lines(HEAD, "好\t2", "差\t1"), ":2", "unknown label '2'"),
    Case("zero bytes", b"", "", "empty"),
    Case("only a header", lines(HEAD), "", "no rows besides the header"),
    Case("only blank lines", "\n \n\n", "", "blank lines"),
    Case("a line of 10 MB", lines(HEAD, f"{BIG}\t1"), rows=[(BIG, 1)]),
    Case("CRLF", lines(HEAD, "好\t1", "差\t0", end="\r\n"), rows=[("好", 1), ("差", 0)]),
    Case("lone CR", lines(HEAD, "好\t1", end="\r"), ":1", "no column 'label'"),
    Case("lone CR, by position", lines("好\t1", "差\t0", end="\r"), ":1", "end in CR alone", table=LAST),
    Case("a header with one name twice", lines("text\ttext\tlabel", "好\t差\t1"), ":1", "2 columns are called 'text'"),
    Case("a header in the middle", lines(HEAD, "好\t1", HEAD, "差\t0"), ":3", "unknown label 'label'"),
    Case("an unclosed quote in csv", 'text,label\n"好,1\n差,0\n', ":2", "not csv", file="a.csv"),
    Case("a quote in tsv is text", lines(HEAD, '"好\t1'), rows=[('"好', 1)]),
    Case("a separator at the end", lines(HEAD, "好\t1\t"), ":2", "expected 2 columns"),
    Case("no label", lines(HEAD, "好\t"), ":2", "no label"),
    Case("blanks around a label", lines(HEAD, "好\t 1 "), rows=[("好", 1)]),
    Case("full-width digits", lines(HEAD, "好\t１"), ":2", "unknown label '１'"),
    Case("a NUL byte", lines(HEAD, "好\x00的\t1"), ":2", "control character"),
    Case("a text of zero-width characters", lines(HEAD, "\u200b\u200d\t1"), ":2", "empty text"),
    Case("an empty text", lines(HEAD, "\t1"), ":2", "empty text"),
    Case("an unknown column", lines("sentence\tlabel", "好\t1"), ":1", "no column 'text'"),
    Case("a column that is not there", lines("好\t1"), ":1", "there is no column 2", table=PAIRS),
    Case("text and label swapped", lines("1\t好"), ":1", "unknown label '好'", table=PLACES),
    Case(
        "JSON labels as number and text",
        '{"text": "好", "label": 1}\n{"text": "差", "label": "0"}\n',
        rows=[("好", 1), ("差", 0)],
        file="a.jsonl",
    ),
    Case("a JSON label with a fraction", '{"text": "好", "label": 1.0}\n', ":1", "unknown label '1.0'", file="a.jsonl"),
    Case(
        "a JSON truth value as label", '{"text": "好", "label": true}\n', ":1", "unknown label 'true'", file="a.jsonl"
    ),
    Case("a JSON text of null", '{"text": null, "label": 1}\n', ":1", "empty text", file="a.jsonl"),
    Case("a JSON field missing", '{"sentence": "好", "label": 1}\n', ":1", "no field 'text'", file="a.jsonl"),
    Case("half a surrogate pair", '{"text": "好\\ud83d", "label": 1}\n', ":1", "half a surrogate pair", file="a.jsonl"),
    Case("another control character, as in XNLI", lines(HEAD, "好\b的\t1"), rows=[("好\b的", 1)]),
    Case("a JSON array over lines", '[\n{"text": "好", "label": 1}\n]\n', rows=[("好", 1)], file="a.json"),
    Case(
        "two objects on a line",
        '{"text": "好", "label": 1} {"text": "差", "label": 0}\n',
        rows=[("好", 1), ("差", 0)],
        file="a.jsonl",
    ),
    Case(
        "objects over several lines",
        '{\n "text": "好",\n "label": 1\n}\n{\n "text": "差",\n "label": 0\n}',
        rows=[("好", 1), ("差", 0)],
        file="a.json",
    ),
    Case(
        "an object that is not closed",
        '{"text": "好", "label": 1}\n{"text": "差",\n"label": 0\n',
        ":2",
        "ends inside an object",
        file="a.json",
    ),
    Case(
        "a damaged object between whole ones",
        '{"text": "好", "label": 1}\n{"text" "差"}\n{"text": "差", "label": 0}\n',
        ":2",
        "not JSON",
        file="a.jsonl",
    ),
    Case("a JSON key twice", '{"text": "好", "text": "差", "label": 1}\n', ":1", "key is given twice", file="a.jsonl"),
    Case("100,000 brackets", '{"text": ' + "[" * 100_000 + "\n", ":1", "nested too deeply", file="a.jsonl"),
    Case("a JSON label of 5,000 digits", '{"text": "好", "label": ' + "9" * 5000 + "}", ":1", "4300", file="a.jsonl"),
    Case("a label of 5,000 digits", lines(HEAD, "好\t" + "9" * 5000), ":2", "unknown label '999"),
    Case(
        "an object that ends where no other begins",
        '{"text": "好",\n"label"\n{"text": "差", "label": 0}\n',
        ":1",
        "not closed",
        file="a.jsonl",
    ),
    Case(
        "brackets and quotes inside JSON texts",
        '{"text": "}]\\"{",\n"label":\n 1} {"text": "\\\\",\n\n"label": 0\n}',
        rows=[('}]"{', 1), ("\\", 0)],
        file="a.jsonl",
    ),
    Case("the same text with two labels", lines(HEAD, "好\t1", "好\t0"), rows=[("好", 1), ("好", 0)]),
    Case("a score with a comma", lines(HEAD, "好\t4,5"), ":2", "'4,5' is not a number", labels=None),
    Case("a score that is no number", lines(HEAD, "好\tnan"), ":2", "'nan' is not a number", labels=None),
    Case("an infinite score", lines(HEAD, "好\tinf"), ":2", "'inf' is not a number", labels=None),
    Case(
        "an unknown tag",
        lines("王 B-PER", "明 I-PRE"),
        ":2",
        "did you mean 'I-PER'",
        file="a.bio",
        labels=TAGS,
        read=read_token_examples,
    ),
    Case(
        "a word without a tag", lines("王 B-PER", "明"), ":2", "one column only", file="a.bio", read=read_token_examples
    ),
    Case(
        "more words than tags",
        lines(HEAD, "王\x02明\x02来\tB-PER\x02I-PER"),
        ":2",
        "3 words, but 2 tags",
        labels=TAGS,
        read=read_token_examples,
    ),
    Case(
        "no blank line between sentences",
        lines(*["王 O"] * 10_001),
        ":1",
        "more than 10000",
        file="a.bio",
        labels=TAGS,
        read=read_token_examples,
    ),
    Case(
        "a truncated tag",
        lines("王 B-PER", "明 I-"),
        ":2",
        "unknown tag 'I-'",
        file="a.bio",
        labels=TAGS,
        read=read_token_examples,
    ),
    Case(
        "an alias of no label",
        lines(HEAD, "好\t1"),
        "label_aliases",
        "'yes' is no label",
        table=TableFormat(text="text", label="label", label_aliases={"2": "yes"}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_broken_file_is_refused_or_read_as_stated(case, tmp_path):
    path = tmp_path / case.file
    path.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    if case.rows is not None:
        assert [(e.text, e.label) for e in case.read(path, case.table, case.labels)] == case.rows
        return
    with pytest.raises(InputError) as error:
        case.read(path, case.table, case.labels)
    first = error.value.errors[0] if isinstance(error.value, InputErrors) else error.value
    assert case.what in f"{first.what} {first.remedy}", str(first)
    assert first.where.endswith(case.place) if case.place.startswith(":") else case.place in first.where
    assert first.remedy


def test_there_are_enough_of_them():
    assert len(CASES) >= 30 and len({case.name for case in CASES}) == len(CASES)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "train.tsv").write_text("x")
    with pytest.raises(InputError, match="a folder, not a file"):
        read_examples(tmp_path, ROWS, LABELS)


def test_tags_that_skip_are_read_as_they_stand_and_named(tmp_path):
    (tmp_path / "a.bio").write_text(lines("来 O", "明 I-PER", "", "王 B-PER", "明 I-PER"), encoding="utf-8")
    examples = read_token_examples(tmp_path / "a.bio", TableFormat(), TAGS)
    assert [e.tags for e in examples] == [(0, 2), (1, 2)]
    assert misplaced_tags(examples, TAGS) == [(1, "I-PER at '明' after O")]


def task(tmp_path, train: str, dev: str, **more):
    for name, content in (("train", train), ("dev", dev)):
        (tmp_path / f"{name}.tsv").write_text(content, encoding="utf-8")
    return check_config(
        {
            "output_dir": str(tmp_path / "run"),
            "task": {"name": "own", **more},
            "data": {
                "train": str(tmp_path / "train.tsv"),
                "dev": str(tmp_path / "dev.tsv"),
                "columns": {"text": "text", "label": "label"},
            },
            "teacher": {"model": "x"},
            "stages": [{"stage": "task_specific", "training": {"max_steps": 1}}],
        },
        "own.yaml",
    )


@pytest.mark.parametrize(
    ("train", "dev", "what"),
    [
        (lines(HEAD, "好\t1", "差\t0"), lines(HEAD), "no rows besides the header"),
        (lines(HEAD, "好\t1", "很好\t1"), lines(HEAD, "差\t0"), "no training row has the label '0'"),
        (lines(HEAD, "好\t1", "差\t0"), lines(HEAD, "差\t2"), "unknown label '2'"),
    ],
)
def test_splits_that_do_not_fit_together(train, dev, what, tmp_path):
    with pytest.raises(InputError, match=what):
        load_task_data(task(tmp_path, train, dev, labels=LABELS))


def test_json_escapes_are_whole(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "好\n的\t", "label": "1"}) + "\n")
    assert read_examples(tmp_path / "a.jsonl", ROWS, LABELS)[0].text == "好\n的\t"


def test_a_long_json_text_over_many_lines_is_read_once(tmp_path):
    text = "好" * 1_000_000
    rows = [f'{{"text": "{text}",\n' + "\n" * 900 + f'"a}}": {i},\n"label": 1}}\n' for i in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(rows), encoding="utf-8")
    start = time.process_time()
    assert [e.line for e in read_examples(tmp_path / "a.jsonl", ROWS, LABELS)] == list(range(1, 8 * 903, 903))
    assert time.process_time() - start < 5, "decoding it again for each line takes minutes"
