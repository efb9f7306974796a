"""Sixty files as people and tools write them, each read exactly: text, label or tags, and nothing lost."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.errors import Problems
from paddle_ernie_tiny.kinds import KINDS

from .files_as_they_are import (
    ARRAY,
    BIO,
    CSV,
    JSONL,
    NAMED,
    PLACES,
    READ,
    SENTENCE,
    SENTENCE_READ,
    STUDIO,
    TAGGED,
    TAGS,
    TSV,
    as_read,
    dataset,
    jsonl,
    label_studio,
    parquet,
    put,
    span,
    xlsx,
    zipped,
)

LATIN = "我用iPhone 15 Pro，好"


@dataclass
class Case:
    """A file: its name, its content, how it is laid out, what it holds, and what is said of it."""

    name: str
    content: Any
    table: dict = field(default_factory=lambda: NAMED)
    rows: list = field(default_factory=lambda: READ)
    labels: list | None = field(default_factory=lambda: ["0", "1"])
    kind: str = "classification"
    said: str = ""


def tagged(name, content, table=NAMED, rows=SENTENCE_READ, labels=TAGS, said=""):
    return Case(name, content, table, rows, labels, "token_classification", said)


PAIR = [(("甲", "乙"), 1), (("丙", "丁"), 0)]
CASES = [
    Case("tsv/a.tsv", TSV),
    Case("tsv by place, without a header/a.tsv", "房间很大\t1\n早餐太差\t0\n", PLACES),
    Case("tsv by place, with a header/a.tsv", TSV, PLACES),
    Case("tsv with Windows line ends and a mark/a.tsv", "\ufeff" + TSV.replace("\n", "\r\n")),
    Case("tsv without a line end/a.tsv", TSV[:-1]),
    Case("tsv with quotes that are text/a.tsv", 'text\tlabel\n"房间\t1\n', rows=[('"房间', 1)]),
    Case("tsv with blank lines/a.tsv", TSV.replace("\n", "\n\n")),
    Case("tsv in txt/a.txt", TSV),
    Case("tsv of upper-case suffix/A.TSV", TSV),
    Case("the label before the text/a.tsv", "1\t房间很大\n0\t早餐太差\n", {"text": 1, "label": 0}),
    Case("the label is the last column/a.tsv", "7\t房间很大\t1\n8\t早餐太差\t0\n", {"text": 1, "label": -1}),
    Case("more columns than are used/a.tsv", "id\ttext\tlabel\n7\t房间很大\t1\n8\t早餐太差\t0\n"),
    Case("semicolons/a.csv", CSV.replace(",", ";"), {**NAMED, "separator": ";"}),
    Case("bars/a.txt", CSV.replace(",", "|"), {**NAMED, "separator": "|"}),
    Case("csv/a.csv", CSV),
    Case("csv that a spreadsheet saved/a.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
    Case("csv with a comma and a quote in a text/a.csv", 'text,label\n"大, ""很""大",1\n', rows=[('大, "很"大', 1)]),
    Case("csv with a line end in a text/a.csv", 'text,label\n"大\n很大",1\n差,0\n', rows=[("大\n很大", 1), ("差", 0)]),
    Case("GB18030/a.tsv", TSV.encode("gb18030"), said="it is not UTF-8, and is read as GB18030"),
    Case("GB18030 with its mark/a.tsv", ("\ufeff" + TSV).encode("gb18030"), said="read as GB18030"),
    Case("two byte order marks/a.tsv", ("\ufeff\ufeff" + TSV).encode()),
    Case("GB18030 csv/a.csv", CSV.encode("gb18030"), said="GB18030"),
    Case("GB18030 after 999 ASCII rows/a.tsv", ("text\tlabel\n" + "ok\t1\n" * 999 + "大\t1\n很\t0\n").encode("gb18030"),
         rows=[("ok", 1)] * 999 + [("大", 1), ("很", 0)], said="GB18030"),
    Case("UTF-16, little end first/a.tsv", TSV.encode("utf-16"), said="it is read as UTF-16"),
    Case("UTF-16, big end first/a.tsv", b"\xfe\xff" + TSV.encode("utf-16-be"), said="it is read as UTF-16"),
    Case("UTF-16 csv/a.csv", CSV.encode("utf-16"), said="UTF-16"),
    Case("gzip of tsv/a.tsv.gz", zipped(TSV)),
    Case("gzip of csv/a.csv.gz", zipped(CSV)),
    Case("gzip of jsonl/a.jsonl.gz", zipped(JSONL)),
    Case("gzip of an array/a.json.gz", zipped(ARRAY)),
    Case("gzip without its suffix/a.tsv", zipped(TSV)),
    Case("jsonl/a.jsonl", JSONL),
    Case("jsonl in json/a.json", JSONL),
    Case("ndjson with blank lines/a.ndjson", JSONL.replace("\n", "\n\n")),
    Case("a JSON array over lines/a.json", ARRAY),
    Case("a JSON array on one line/a.json", ARRAY.replace("\n", "")),
    Case("a JSON array with a mark/a.json", "\ufeff" + ARRAY),
    Case("labels as JSON numbers/a.jsonl", jsonl({"text": "大", "label": 1}, {"text": "差", "label": 0}),
         rows=[("大", 1), ("差", 0)]),
    Case("labels as JSON truth values/a.jsonl", jsonl({"text": "大", "label": True}, {"text": "差", "label": False}),
         rows=[("大", 1), ("差", 0)], labels=["false", "true"]),
    Case("scores/a.jsonl", jsonl({"text": "大", "label": 4.5}), rows=[("大", 4.5)], labels=None, kind="regression"),
    Case("fields inside others/a.jsonl", jsonl({"data": {"text": "大"}, "meta": {"y": 1}}),
         {"text": "data.text", "label": "meta.y"}, [("大", 1)]),
    Case("a field whose name has a dot/a.jsonl", jsonl({"a.b": "大", "label": 1}), {"text": "a.b", "label": "label"},
         [("大", 1)]),
    Case("doccano's classes/a.jsonl", jsonl({"id": 1, "text": "大", "label": ["1"]}), rows=[("大", 1)]),
    Case("Label Studio's choices/a.json", label_studio([{"value": {"choices": ["1"]}, "type": "choices"}]),
         {"text": "data.text", "label": "annotations.0.result.0.value.choices"}, [(SENTENCE, 1)]),
    Case("Label Studio's choices, json-min/a.json", '[{"id": 1, "text": "大", "sentiment": "1", "annotator": 1}]',
         {"text": "text", "label": "sentiment"}, [("大", 1)]),
    Case("pairs/a.tsv", "甲\t乙\t1\n丙\t丁\t0\n", {"text": 0, "text_b": 1, "label": 2}, PAIR),
    Case("a label that marks such rows/a.jsonl", jsonl({"text": "大", "label": "1"}, {"text": "", "label": "-"}),
         {**NAMED, "drop_labels": ["-"]}, [("大", 1)], said="1 rows with the label '-' are left out"),
    Case("bad rows that may be left out/a.tsv", "text\tlabel\n" + "大\t1\n" * 9 + "\t0\n",
         {**NAMED, "max_bad_rows": 0.1}, [("大", 1)] * 9, said="1 of 10 rows are bad and left out: "),
    Case("parquet/a.parquet", parquet()),
    Case("parquet with numbers/a.parquet", parquet([{"text": "大", "label": 1}]), rows=[("大", 1)]),
    Case("a folder of `datasets`/folder", dataset()),
    Case("a folder of `datasets` with named classes/folder", dataset([{"text": "大", "label": 1}], names=["差", "好"]),
         rows=[("大", 1)], labels=["差", "好"]),
    Case("xlsx/a.xlsx", xlsx(["text", "label"], ["房间很大", "1"], ["早餐太差", "0"])),
    Case("xlsx with numbers and an empty row/a.xlsx", xlsx(["房间很大", 1], [], ["早餐太差", 0]), PLACES),
    Case("xlsx of two sheets/a.xlsx", xlsx(["text", "label"], ["大", 1], more=["old"]), rows=[("大", 1)],
         said="the sheet 'Sheet' is read alone, not old"),
    tagged("conll/a.conll", BIO, {}, TAGGED),
    tagged("conll with blanks between/a.bio", BIO.replace("\t", " "), {}, TAGGED),
    tagged("conll of four columns/a.conll", "-DOCSTART- -X- O O\n\n王 NN I-NP B-PER\n芳 NN I-NP I-PER\n", {},
           [(("王", "芳"), (1, 2))]),
    tagged("conll whose tag is the second column/a.conll", "王\tB-PER\tx\n芳\tI-PER\ty\n", {"label": 1},
           [(("王", "芳"), (1, 2))]),
    tagged("conll with a number before the word/a.conll", "1\t王\tB-PER\n2\t芳\tI-PER\n", {"text": 1, "label": 2},
           [(("王", "芳"), (1, 2))]),
    tagged("conll with a tagged blank/a.bio", "王 B-PER\n  I-PER\n芳 I-PER\n", {}, [(("王", "芳"), (1, 2))]),
    tagged("gzip of conll/a.bio.gz", zipped(BIO), {}, TAGGED),
    tagged("GB18030 conll/a.bio", BIO.encode("gb18030"), {}, TAGGED, said="GB18030"),
    tagged("CLUENER/a.json", jsonl({"text": SENTENCE, "label": {"PER": {"王芳": [[0, 1]]}}})),
    tagged("CLUENER without an entity/a.json", jsonl({"text": "好", "label": {}}), rows=[(("好",), (0,))]),
    tagged("CLUENER with a word twice/a.json",
           jsonl({"text": "王芳找王芳", "label": {"PER": {"王芳": [[0, 1], [3, 4]]}}}),
           rows=[(("王", "芳", "找", "王", "芳"), (1, 2, 0, 1, 2))]),
    tagged("doccano/a.jsonl", jsonl({"id": 1, "text": SENTENCE, "label": [[0, 2, "PER"]]})),
    tagged("doccano with relations/a.jsonl", jsonl(
        {"text": SENTENCE, "entities": [{"id": 3, "label": "PER", "start_offset": 0, "end_offset": 2}], "relations": []}
    ), {"text": "text", "label": "entities"}),
    tagged("doccano with Latin words and blanks/a.jsonl", jsonl({"text": LATIN, "label": [[2, 15, "PER"]]}),
           rows=[(("我", "用", "iPhone", "15", "Pro", "，", "好"), (0, 0, 1, 2, 2, 0, 0))]),
    tagged("a span that ends inside a word/a.jsonl", jsonl({"text": "Parisian", "label": [[0, 5, "PER"]]}),
           rows=[(("Paris", "ian"), (1, 0))]),
    tagged("Label Studio/a.json", label_studio([span(0, 2, "PER")]), STUDIO),
    tagged("Label Studio, annotated twice alike/a.json", label_studio([span(0, 2, "PER")], [span(0, 2, "PER")]),
           STUDIO),
    tagged("Label Studio, json-min/a.json", '[{"id": 1, "text": "王芳来了", "label": '
           '[{"start": 0, "end": 2, "text": "王芳", "labels": ["PER"]}], "annotator": 1}]'),
    tagged("words and tags in lists/a.jsonl", jsonl({"tokens": list(SENTENCE), "tags": ["B-PER", "I-PER", "O", "O"]}),
           {"text": "tokens", "label": "tags"}),
    tagged("words and tags in parquet/a.parquet",
           parquet([{"text": list(SENTENCE), "label": ["B-PER", "I-PER", "O", "O"]}])),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.rpartition("/")[0])
def test_a_file_is_read_exactly(case, tmp_path):
    path = tmp_path / case.name.rpartition("/")[2]
    put(path, case.content)
    problems, table = Problems(case.table.get("max_bad_rows")), TableFormat(**case.table)
    rows = KINDS[case.kind].read(path, table, case.labels, True, problems)
    assert [as_read(row) for row in rows] == case.rows
    said = " ".join(note.what for note in problems.notes)
    assert case.said in said and bool(case.said) == bool(said), "what is not said is as it was expected"


def test_there_are_sixty_of_them():
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("given", [["a.tsv", "b.jsonl"], "*.*", "sub/../*.[tj]s*"])
def test_several_files_are_one_split(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    put(tmp_path / "a.tsv", TSV)
    put(tmp_path / "b.jsonl", JSONL)
    rows = KINDS["classification"].read(given, TableFormat(**NAMED), ["0", "1"])
    assert [as_read(row) for row in rows] == READ + READ
    assert KINDS["classification"].infer_labels(given, TableFormat(**NAMED)) == ["0", "1"]


def test_types_of_spans_have_both_tags_in_every_split(tmp_path):
    put(tmp_path / "a.jsonl", jsonl({"text": "来A", "label": [[1, 2, "LOC"]]}))
    kind = KINDS["token_classification"]
    labels = kind.infer_labels(tmp_path / "a.jsonl", TableFormat(**NAMED))
    assert labels == ["O", "B-LOC", "I-LOC"]
    rows = kind.read(tmp_path / "a.jsonl", TableFormat(**NAMED), labels)
    assert kind.unit(rows) == "mixed", "raw text is cut as these texts were, at prediction too"
