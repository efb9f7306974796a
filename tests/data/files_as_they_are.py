"""Builders of small files in the forms in which tools write them; every text was written for these tests."""

import gzip
import json

ROWS = [{"text": "房间很大", "label": "1"}, {"text": "早餐太差", "label": "0"}]
READ = [("房间很大", 1), ("早餐太差", 0)]
TSV = "text\tlabel\n房间很大\t1\n早餐太差\t0\n"
CSV = "text,label\n房间很大,1\n早餐太差,0\n"
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=2)
BIO = "王\tB-PER\n芳\tI-PER\n来\tO\n\n好\tO\n"
TAGS = ["O", "B-PER", "I-PER"]
TAGGED = [(("王", "芳", "来"), (1, 2, 0)), (("好",), (0,))]
SENTENCE = "王芳来了"
SENTENCE_READ = [(("王", "芳", "来", "了"), (1, 2, 0, 0))]
NAMED = {"text": "text", "label": "label"}
PLACES = {"text": 0, "label": 1}
STUDIO = {"text": "data.text", "label": "annotations"}


def jsonl(*rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def zipped(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)  # the same bytes at any time


def parquet(rows=ROWS, schema=None):
    def write(path):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path)

    return write


def xlsx(*rows, more=()):
    def write(path):
        import openpyxl

        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        for title in more:
            book.create_sheet(title).append(["text", "label"])
        book.save(path)

    return write


def dataset(rows=ROWS, splits=None, names=None):
    """A folder as `datasets`' save_to_disk writes it; with `splits`, of several."""

    def write(path):
        import datasets

        part = datasets.Dataset.from_list(rows)
        if names is not None:
            part = part.cast_column("label", datasets.ClassLabel(names=names))
        if splits is not None:
            part = datasets.DatasetDict(dict.fromkeys(splits, part))
        part.save_to_disk(path)

    return write


def cut(write, share: float = 0.5):
    """The file that `write` makes, cut off."""

    def cut_off(path):
        write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return cut_off


def label_studio(*results, text=SENTENCE, key="annotations", **more) -> str:
    """A task as Label Studio's JSON export writes it, with one annotation for each of `results`."""
    annotations = [{"id": i, "result": result, **more} for i, result in enumerate(results)]
    return json.dumps([{"id": 7, "data": {"text": text}, key: annotations, "predictions": []}], ensure_ascii=False)


def span(start, end, name, text="王芳"):
    value = {"start": start, "end": end, "text": text, "labels": [name]}
    return {"value": value, "id": "x", "from_name": "label", "to_name": "text", "type": "labels"}


def put(path, content) -> None:
    """Writes a text, bytes, or what a builder makes."""
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def as_read(example):
    """The text or texts of a row that was read, and its label or tags, to compare with what was written."""
    text = example.text if example.text_b is None else (example.text, example.text_b)
    return (tuple(text) if isinstance(text, list) else text), example.label
