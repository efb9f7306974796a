"""Eighty broken files: each refused with file, place and a remedy, and read exactly once the remedy is followed.

`fix` is what a user does who reads the remedy: the file written again, or other keys of the layout.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.errors import InputError, InputErrors
from paddle_ernie_tiny.kinds import KINDS

from .files_as_they_are import (
    ARRAY,
    BIO,
    CSV,
    JSONL,
    NAMED,
    PLACES,
    READ,
    ROWS,
    SENTENCE_READ,
    STUDIO,
    TAGGED,
    TAGS,
    TSV,
    as_read,
    cut,
    dataset,
    jsonl,
    label_studio,
    parquet,
    put,
    span,
    xlsx,
    zipped,
)


@dataclass
class Case:
    """A file with one fault: what is said, where, with which remedy; and the file or layout that follows it."""

    name: str
    content: Any
    what: str
    remedy: str
    fix: Any
    place: str = ""
    table: dict = field(default_factory=lambda: NAMED)
    rows: list = field(default_factory=lambda: READ)
    labels: list | None = field(default_factory=lambda: ["0", "1"])
    kind: str = "classification"


def tagged(name, content, what, remedy, fix, place="", table=None, rows=SENTENCE_READ):
    table = NAMED if table is None else table
    return Case(name, content, what, remedy, fix, place, table, rows, TAGS, "token_classification")


ONE = [("大", 1)]
HEAD = "text\tlabel\n"
UNMARKED = "UTF-16 without its byte order mark"
GOOD = HEAD + "大\t1\n"
SPAN = jsonl({"text": "王芳来了", "label": [[0, 2, "PER"]]})
CLUENER = jsonl({"text": "王芳来了", "label": {"PER": {"王芳": [[0, 1]]}}})
TWO = jsonl({"text": "大", "label": 1}, {"text": "差", "label": 0})
READ_TWO = [("大", 1), ("差", 0)]


def rows(what, remedy, broken, fixed, name, place, **more):
    """A fault of one row of a tsv file."""
    return Case(f"{name}/a.tsv", HEAD + broken, what, remedy, HEAD + fixed, place, **more)


CASES = [
    # encodings and whole files
    Case("Latin-1/a.tsv", (HEAD + "café\t1\n").encode("latin-1"), "not UTF-8", "as UTF-8", HEAD + "café\t1\n", ":2",
         rows=[("café", 1)]),
    Case("Big5/a.tsv", (HEAD + "這個時間沒有關係\t1\n").encode("big5"), "not UTF-8", "UTF-8",
         HEAD + "這個時間沒有關係\t1\n", ":2", rows=[("這個時間沒有關係", 1)]),
    Case("Shift JIS/a.tsv", (HEAD + "部屋がとても広いです\t1\n").encode("shift_jis"), "not UTF-8", "UTF-8",
         HEAD + "部屋がとても広いです\t1\n", ":2", rows=[("部屋がとても広いです", 1)]),
    Case("EUC-KR/a.tsv", (HEAD + "방이 아주 넓고 조식도 좋아요\t1\n").encode("euc-kr"), "not UTF-8", "UTF-8",
         HEAD + "방이 아주 넓고 조식도 좋아요\t1\n", ":2", rows=[("방이 아주 넓고 조식도 좋아요", 1)]),
    Case("one damaged line of UTF-8/a.tsv", (HEAD + "大\t1\n").encode() + b"\xe5\xa5\t0\n", "not UTF-8", "UTF-8",
         HEAD + "大\t1\n好\t0\n", ":3", rows=[("大", 1), ("好", 0)]),
    Case("UTF-16 cut off/a.tsv", GOOD.encode("utf-16")[:-1], "not UTF-16", "save the file as UTF-8", GOOD, rows=ONE),
    Case("UTF-16 without its mark/a.tsv", GOOD.encode("utf-16-le"), UNMARKED, "save the file as UTF-8", GOOD, rows=ONE),
    Case("Chinese UTF-16 without its mark/a.tsv", ("评论\t标签\n" + "很好\t1\n" * 9).encode("utf-16-be"), UNMARKED,
         "save the file as UTF-8", GOOD, rows=ONE),
    Case("gzip cut off/a.tsv.gz", zipped(TSV)[:-9], "damaged or cut off", "unpacked", zipped(TSV)),
    Case("gzip with a changed byte/a.tsv.gz", zipped(TSV)[:-8] + b"\0" * 8, "damaged", "copy it again", zipped(TSV)),
    Case("nothing/a.tsv", b"", "the file is empty", "at least one row", TSV),
    Case("blank lines alone/a.tsv", "\n \n\n", "only blank lines", "at least one row", TSV),
    Case("a header alone/a.tsv", HEAD, "no rows besides the header", "at least one row", TSV),
    Case("an unknown suffix/a.data", TSV, "unknown file type '.data'", "say which format", {**NAMED, "format": "tsv"}),
    Case("an old workbook's suffix/a.xls", b"\xd0\xcf\x11\xe0", "a .xls file is not read", "as .xlsx, .csv or .jsonl",
         {**NAMED, "format": "tsv"}, rows=None),
    Case("lone CR/a.tsv", "大\t1\r差\t0\r", "end in CR alone", "LF as the line end", "大\t1\n差\t0\n", ":1",
         {"text": 0, "label": 2}, None),
    # separators and columns
    Case("semicolons/a.csv", CSV.replace(",", ";"), "no column 'text'", "separator: ';'", {**NAMED, "separator": ";"},
         ":1"),
    Case("bars/a.tsv", TSV.replace("\t", "|"), "no column 'text'", "separator: '|'", {**NAMED, "separator": "|"}, ":1"),
    Case("tabs in csv/a.csv", TSV, "no column 'text'", "format: tsv", {**NAMED, "format": "tsv"}, ":1"),
    Case("commas in tsv/a.tsv", CSV, "no column 'text'", "format: csv", {**NAMED, "format": "csv"}, ":1"),
    Case("semicolons by place/a.csv", "房间很大;1\n早餐太差;0\n", "there is no column 1", "separator: ';'",
         {**PLACES, "separator": ";"}, ":1", PLACES),
    Case("a misspelt column/a.tsv", TSV.replace("text", "txet"), "no column 'text'", "did you mean 'txet'?",
         {**NAMED, "text": "txet"}, ":1"),
    Case("a column of another case/a.tsv", TSV.replace("label", "Label"), "no column 'label'", "did you mean 'Label'?",
         {**NAMED, "label": "Label"}, ":1"),
    Case("names without a header/a.tsv", "房间很大\t1\n早餐太差\t0\n", "no column 'text'", "by position, from 0",
         PLACES,
         ":1"),
    Case("names, and header: false/a.tsv", TSV, "said to have no header", "set header to true",
         {**NAMED, "header": True},
         "", {**NAMED, "header": False}),
    Case("a column twice/a.tsv", "text\ttext\tlabel\n大\t大大\t1\n", "2 columns are called 'text'", "position, from 0",
         {"text": 1, "label": 2}, ":1", rows=[("大大", 1)]),
    Case("a position beyond/a.tsv", "大\t1\n", "there is no column 2: 2 columns", "correct the position", PLACES, ":1",
         {"text": 0, "label": 2}, ONE),
    Case("a position before/a.tsv", "大\t1\n", "there is no column -1", "correct the position", PLACES, ":1",
         {"text": 0, "label": -3}, ONE),
    Case("positions in jsonl/a.jsonl", JSONL, "jsonl has names", "the first row has 'text, label'", NAMED, "", PLACES),
    Case("positions in parquet/a.parquet", parquet(), "parquet has names", "'text, label'", NAMED, "", PLACES),
    Case("a misspelt field/a.jsonl", JSONL, "no field 'txt'", "did you mean 'text'?", NAMED, ":1",
         {"text": "txt", "label": "label"}),
    Case("a field inside another/a.jsonl", jsonl({"data": {"text": "大"}, "label": 1}), "no field 'text'",
         "column's name",
         {"text": "data.text", "label": "label"}, ":1", rows=ONE),
    Case("a header that has a label's name/a.tsv", "大\tlable\n大\t1\n", "unknown label 'lable'", "set header to true",
         {**PLACES, "header": True}, ":1", PLACES, ONE),
    Case("text and label swapped/a.tsv", TSV, "unknown label '房间很大'", "use one of 0, 1", NAMED, ":2",
         {"text": "label", "label": "text"}),
    # rows of tables
    rows("expected 2 columns as on line 1, found 3", "no text may hold the separator", "大\t很\t1\n", "大 很\t1\n",
         "a tab in a text", ":2", rows=[("大 很", 1)]),
    rows("expected 2 columns as on line 1, found 1", "the same columns", "大\n", "大\t1\n", "a row cut off", ":2",
         rows=ONE),
    rows("expected 2 columns", "the same columns", "大\t1\t\n", "大\t1\n", "a tab at the end", ":2", rows=ONE),
    rows("empty text", "give every row its text", "\t1\n", "大\t1\n", "no text", ":2", rows=ONE),
    rows("empty text", "give every row its text", "\u200b\u200d\t1\n", "大\t1\n", "nothing to be seen", ":2", rows=ONE),
    rows("no label", "give every row a label", "大\t\n", "大\t1\n", "no label", ":2", rows=ONE),
    rows("unknown label '2'", "use one of 0, 1", "大\t2\n", "大\t1\n", "a label of no name", ":2", rows=ONE),
    rows("unknown label '-'", "use one of 0, 1", "大\t-\n大\t1\n", "大\t1\n", "no agreement", ":2", rows=ONE),
    rows("unknown label '1.0'", "did you mean '1'?", "大\t1.0\n", "大\t1\n", "a label with a fraction", ":2", rows=ONE),
    rows("unknown label '01'", "did you mean '1'?", "大\t01\n", "大\t1\n", "a label with a nought", ":2", rows=ONE),
    rows("unknown label '１'", "use one of 0, 1", "大\t１\n", "大\t1\n", "a full-width digit", ":2", rows=ONE),
    rows("unknown label 'label'", "use one of 0, 1", "大\t1\n" + HEAD, "大\t1\n", "a header in the middle", ":3",
         rows=ONE),
    rows("control character U+0000", "restore the file", "大\x00\t1\n", "大\t1\n", "a NUL", ":2", rows=ONE),
    rows("label '高' is not a number", "give a score", "大\t高\n", "大\t4.5\n", "a score in words", ":2",
         rows=[("大", 4.5)], labels=None, kind="regression"),
    rows("label '4,5' is not a number", "give a score", "大\t4,5\n", "大\t4.5\n", "a comma in a score", ":2",
         rows=[("大", 4.5)], labels=None, kind="regression"),
    rows("label 'nan' is not a number", "give a score", "大\tnan\n", "大\t4.5\n", "a score that is none", ":2",
         rows=[("大", 4.5)], labels=None, kind="regression"),
    rows("is beyond 1e+15", "scale the scores", "大\t1e30\n", "大\t1.0\n", "a huge score", ":2", rows=[("大", 1.0)],
         labels=None, kind="regression"),
    Case("an empty second text/a.tsv", "甲\t\t1\n", "empty second text", "its text", "甲\t乙\t1\n", ":1",
         {"text": 0, "text_b": 1, "label": 2}, [(("甲", "乙"), 1)]),
    Case("an open quote/a.csv", 'text,label\n"大,1\n', "not csv", "close every quote", 'text,label\n"大",1\n', ":2",
         rows=ONE),
    Case("a quote inside a field/a.csv", 'text,label\n"大"很,1\n', "not csv", "write a quote in a field twice",
         'text,label\n"""大""很",1\n', ":2", rows=[('"大"很', 1)]),
    # JSON
    Case("a line cut off/a.jsonl", '{"text": "大", "lab\n', "not JSON", "one JSON object per line",
         jsonl({"text": "大", "label": 1}), ":1", rows=ONE),
    Case("quotes of Python/a.jsonl", "{'text': '大', 'label': 1}\n", "not JSON", "one JSON object per line",
         jsonl({"text": "大", "label": 1}), ":1", rows=ONE),
    Case("an array without its end/a.json", ARRAY[:-1], "the array is not closed", "restore the file's end", ARRAY,
         ":9"),
    Case("an array without a comma/a.json", ARRAY.replace("},", "}"), "no single comma", "one array of objects", ARRAY),
    Case("an array with a comma too many/a.json", ARRAY.replace("\n]", ",\n]"), "a comma after the last item",
         "take it out", ARRAY),
    Case("text after an array/a.json", ARRAY + "\nend", "no single comma", "one array of objects", ARRAY),
    Case("lists in place of objects/a.jsonl", '["大", 1]\n', "a JSON str, not an object", "one JSON object per line",
         jsonl({"text": "大", "label": 1}), "", rows=ONE),
    Case("one object of all rows/a.json", json.dumps({"data": ROWS}, ensure_ascii=False), "no field 'text'", "",
         ARRAY, ":1"),
    Case("a key twice/a.jsonl", '{"text": "大", "text": "差", "label": 1}\n', "a key is given twice", "JSON object",
         jsonl({"text": "大", "label": 1}), ":1", rows=ONE),
    Case("half a surrogate pair/a.jsonl", '{"text": "大\\ud83d", "label": 1}\n', "half a surrogate pair",
         "restore the file", jsonl({"text": "大", "label": 1}), ":1", rows=ONE),
    Case("a text that is a number/a.jsonl", TWO.replace('"差"', "5"), "text is 5, not a string", "its text", TWO, ":2",
         rows=READ_TWO),
    Case("a text that is null/a.jsonl", TWO.replace('"差"', "null"), "empty text", "take the row out", TWO, ":2",
         rows=READ_TWO),
    Case("several labels/a.jsonl", TWO.replace("0}", '["0", "1"]}'), "2 labels in one row", "give every row one label",
         TWO, ":2", rows=READ_TWO),
    Case("a label that is an object/a.jsonl", jsonl({"text": "大", "label": {"name": "1"}}),
         "the label is {'name': '1'}",
         "label.name", {"text": "text", "label": "label.name"}, ":1", rows=ONE),
    Case("a missing field further down/a.jsonl", TWO.replace('"label": 0', '"lable": 0'), "no field 'label'",
         "did you mean 'lable'?", TWO, ":2", rows=READ_TWO),
    # parquet, workbooks, folders
    Case("parquet cut off/a.parquet", cut(parquet()), "not a readable parquet file", "copy it again", parquet()),
    Case("text called parquet/a.parquet", TSV, "not a readable parquet file", "no parquet file",
         {**NAMED, "format": "tsv"}),
    Case("an empty cell in parquet/a.parquet", parquet([{"text": None, "label": "1"}]), "empty text", "its text",
         parquet(),
         ":1"),
    Case("a workbook cut off/a.xlsx", cut(xlsx(["text", "label"], ["大", 1])), "not a readable xlsx", "save it again",
         xlsx(["text", "label"], ["大", 1]), rows=ONE),
    Case("an empty cell in a workbook/a.xlsx", xlsx(["text", "label"], ["大", None]), "no label",
         "give every row a label",
         xlsx(["text", "label"], ["大", 1]), ":2", rows=ONE),
    Case("an empty workbook/a.xlsx", xlsx(), "only blank lines", "at least one row",
         xlsx(["text", "label"], ["大", 1]), rows=ONE),
    Case("a folder of several splits/folder", dataset(splits=["train", "test"]), "a folder of several splits",
         "folder/train", "train"),
    # tags and spans
    tagged("a word without a tag/a.bio", "王\tB-PER\n芳\n", "one column only: '芳'", "write a word, a tab", BIO, ":2",
           {},
           TAGGED),
    tagged("an unknown tag/a.bio", BIO.replace("I-PER", "I-PRE"), "unknown tag 'I-PRE'", "did you mean 'I-PER'", BIO,
           ":2",
           {}, TAGGED),
    tagged("a blank in a word, between blanks/a.bio", "王 B-PER\n芳 芳 I-PER\n",
           "expected 2 columns as on line 1, found 3",
           "put tabs between them", "王\tB-PER\n芳 芳\tI-PER\n", ":2", {}, [(("王", "芳 芳"), (1, 2))]),
    tagged("an entity that begins with a blank/a.bio", "  B-PER\n王 I-PER\n", "begins or ends with a blank",
           "take the blank and its tag out", "王 B-PER\n", ":1", {}, [(("王",), (1,))]),
    tagged("a column that conll lacks/a.bio", BIO, "there is no column 3", "leave it out", {}, ":1", {"label": 3},
           TAGGED),
    tagged("another line end/a.bio", BIO.replace("\n", "\u2028", 1), "another line end: U+2028", "LF", BIO, ":1", {},
           TAGGED),
    tagged("fewer tags than words/a.jsonl", jsonl({"text": "王芳来了", "label": ["B-PER", "I-PER"]}),
           "4 words, but 2 tags",
           "give every word one tag", SPAN, ":1"),
    tagged("tags that are a mixture/a.jsonl", jsonl({"text": "王芳来了", "label": ["O", [0, 2, "PER"]]}),
           "the tags are",
           "a text with spans", SPAN, ":1"),
    tagged("spans that overlap/a.jsonl", jsonl({"text": "王芳来了", "label": [[0, 2, "PER"], [1, 3, "PER"]]}),
           "spans overlap", "correct the row's spans", SPAN, ":1"),
    tagged("a span beyond its text/a.jsonl", SPAN.replace("2,", "9,"), "is not in the text, of 4 characters",
           "take the row",
           SPAN, ":1"),
    tagged("a span without a type/a.jsonl", SPAN.replace(', "PER"', ""), "not a span of start, end and type", "spans",
           SPAN,
           ":1"),
    tagged("CLUENER with another word/a.json", CLUENER.replace("[[0, 1]]", "[[1, 2]]"), "but the file says '王芳'",
           "correct the row's spans", CLUENER, ":1"),
    tagged("CLUENER with an end behind it/a.json", CLUENER.replace("[[0, 1]]", "[[0, 2]]"), "but the file says '王芳'",
           "correct", CLUENER, ":1"),
    tagged("Label Studio, annotated twice differently/a.json", label_studio([span(0, 2, "PER")], []),
           "2 annotations that differ", "take the row out", label_studio([span(0, 2, "PER")]), ":1", STUDIO),
    tagged("Label Studio with two types/a.json",
           label_studio([{"value": {"start": 0, "end": 2, "labels": ["A", "B"]}}]),
           "a span of 2 types", "correct the row's spans", label_studio([span(0, 2, "PER")]), ":1", STUDIO),
    tagged("spans of an unknown type/a.jsonl", SPAN.replace("PER", "PRE"), "unknown tag 'B-PRE'",
           "did you mean 'B-PER'",
           SPAN, ":1"),
]  # fmt: skip


def read(case, path, table):
    return KINDS[case.kind].read(path, TableFormat(**table), case.labels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.rpartition("/")[0])
def test_a_fault_is_refused_and_its_remedy_works(case, tmp_path):
    path = tmp_path / case.name.rpartition("/")[2]
    put(path, case.content)
    with pytest.raises(InputError) as caught:
        read(case, path, case.table)
    first = caught.value.errors[0] if isinstance(caught.value, InputErrors) else caught.value
    assert case.what in first.what and case.remedy in first.remedy and first.remedy, str(first)
    assert first.where == f"{path}{case.place}" or (not case.place and first.where.startswith(str(path))), first.where
    assert len(first.what) < 200 and ("header" not in first.remedy or path.suffix in (".tsv", ".csv"))
    table = case.fix if isinstance(case.fix, dict) else case.table
    if isinstance(case.fix, str) and path.is_dir():
        path = path / case.fix
    elif not isinstance(case.fix, dict):
        put(path, case.fix)
    if case.rows is not None:
        assert [as_read(row) for row in read(case, path, table)] == case.rows


def test_there_are_eighty_of_them():
    assert len(CASES) >= 80 and len({case.name for case in CASES}) == len(CASES)
