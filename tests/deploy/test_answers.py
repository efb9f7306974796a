"""Predictions over files: one reader with training, every row at its place, whole lines, memory that does not grow."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from paddle_ernie_tiny.deploy.answers import AnswerLines, predict_file
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.errors import InputError, InputErrors

from ..data.files_as_they_are import jsonl, parquet, put, xlsx, zipped

GOOD = [{"id": 7, "text": "天地玄黄"}, {"id": "x8", "text": "寒来暑往"}]


@pytest.fixture(scope="module")
def predictors(bundles):
    return {name: Predictor(bundles[name]) for name in ("classification", "pairs", "regression", "tags")}


@pytest.fixture
def ask(predictors, tmp_path):
    def answers(name, content, kind="classification", form="jsonl", top=None, batch_size=2):
        put(tmp_path / name, content)
        out, predictor = tmp_path / "out", predictors[kind]
        predict_file(predictor, tmp_path / name, out, AnswerLines(predictor, form, top, "utf-8"), batch_size)
        text = out.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()] if form == "jsonl" else text

    return answers


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl(*GOOD)),
        ("a.jsonl.gz", zipped(jsonl(*GOOD))),
        ("a.json", json.dumps(GOOD)),
        ("a.tsv", "text\tid\tlabel\n天地玄黄\t7\tpositive\n寒来暑往\tx8\t?\n"),
        ("a.csv", "id,text\n7,天地玄黄\nx8,寒来暑往\n".encode("gb18030")),
        ("a.xlsx", xlsx(["id", "text"], [7, "天地玄黄"], ["x8", "寒来暑往"])),
        ("a.parquet", parquet([{**row, "id": str(row["id"])} for row in GOOD])),
    ],
)
def test_every_format_and_its_ids(predictors, ask, name, content):
    manifest = predictors["classification"].manifest
    kept, manifest.table = manifest.table, {**manifest.table, "text": "text", "label": "label"}
    try:
        rows = ask(name, content)
    finally:
        manifest.table = kept
    assert [(str(row["id"]), row["text"]) for row in rows] == [("7", "天地玄黄"), ("x8", "寒来暑往")]
    answer = predictors["classification"].predict(["天地玄黄"])[0]
    assert rows[0]["label"] == answer.label and list(rows[0])[:2] == ["id", "text"]


def test_answers_are_those_of_one_text_at_a_time_and_in_order(predictors, ask):
    texts = ["天地玄黄" * (1 + i % 5) + "宇宙洪荒"[: i % 4] for i in range(150)]
    rows = ask("a.txt", "\n".join(texts))
    assert [row["text"] for row in rows] == texts
    for row, text in list(zip(rows, texts, strict=True))[::37]:
        assert row["probability"] == pytest.approx(
            predictors["classification"].predict([text])[0].probability, abs=1e-5
        )


def test_a_refused_row_keeps_its_place(ask, tmp_path):
    with pytest.raises(InputErrors) as caught:
        ask("a.txt", "天\n\n地\n\u200b\n黄\n\n".encode() + b"\xff\n" + "宇\n".encode())
    assert not (tmp_path / "out").exists(), "an output is whole or not there"
    rows = [json.loads(line) for line in (tmp_path / "out.part").read_text(encoding="utf-8").splitlines()]
    assert [row.get("text", row.get("line")) for row in rows] == ["天", 2, "地", 4, "黄", 6, 7, "宇"]
    assert rows[1] == {"line": 2, "error": "empty line"} and rows[3] == {"line": 4, "error": "the text is empty"}
    assert str(caught.value).startswith("4 problems found:") and "(2 alike: lines 2, 6)" in str(caught.value)


def test_thousands_of_refused_rows_are_all_at_their_places(ask, tmp_path):
    with pytest.raises(InputErrors, match=r"3000 alike: lines 1, 2, 3 \.\.\."):
        ask("a.txt", "\n" * 3000 + "天\n")
    lines = (tmp_path / "out.part").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("line") for line in lines] == [*range(1, 3001), None]


def test_what_is_damaged_further_down_keeps_the_answers_before(ask, tmp_path):
    with pytest.raises(InputError, match="the gzip file is damaged or cut off"):
        ask("a.txt.gz", zipped(("天地" * 200 + "\n") * 2000)[:-20], batch_size=32)
    lines = (tmp_path / "out.part").read_text(encoding="utf-8").splitlines()
    assert lines and all(json.loads(line)["text"] == "天地" * 200 for line in lines)


def test_both_faults_of_a_pair_are_one_row(ask, tmp_path):
    with pytest.raises(InputErrors):
        ask("a.tsv", "天\t地\n\u200b\t\u200b\n", "pairs")
    rows = [json.loads(line) for line in (tmp_path / "out.part").read_text(encoding="utf-8").splitlines()]
    assert rows[1] == {"line": 2, "error": "the text is empty; the text is empty (second text)"}


def test_csv_and_tsv_have_columns(ask):
    rows = list(csv.DictReader(io.StringIO(ask("a.jsonl", jsonl(*GOOD, {"text": '玄,"\n黄'}), form="csv", top=2))))
    assert list(rows[0]) == ["id", "text", "label", "probability", "label_2", "probability_2", "truncated", "error"]
    cut = list(csv.DictReader(io.StringIO(ask("a.txt", "天" * 400 + "\n天\n", form="csv"))))
    assert [row["truncated"] for row in cut] == ["true", ""]
    assert [row["id"] for row in rows] == ["7", "x8", ""] and rows[2]["text"] == '玄,"\n黄'
    assert float(rows[0]["probability"]) + float(rows[0]["probability_2"]) == pytest.approx(1, abs=1e-5)
    head, first = ask("a.jsonl", jsonl({"text": "玄\t黄\n\\"}), form="tsv").splitlines()
    assert (
        head.split("\t") == ["id", "text", "label", "probability", "truncated", "error"]
        and first.split("\t")[1] == "玄\\t黄\\n\\\\"
    )
    rows = list(csv.DictReader(io.StringIO(ask("a.txt", "天地", "tags", form="csv"))))
    assert isinstance(json.loads(rows[0]["entities"]), list)
    rows = list(csv.DictReader(io.StringIO(ask("a.tsv", "天\t地\n", "regression", form="csv"))))
    assert (rows[0]["text"], rows[0]["text_b"]) == ("天", "地") and float(rows[0]["score"]) == float(rows[0]["score"])


def test_top_gives_the_most_likely_labels(ask):
    whole, first = ask("a.txt", "天地")[0], ask("a.txt", "天地", top=1)[0]
    assert first["probabilities"] == {whole["label"]: whole["probability"]}
    for kind in ("tags", "regression"):
        with pytest.raises(InputError, match="gives no probabilities"):
            ask("a.txt", "天\t地", kind, top=1)
    with pytest.raises(InputError, match="unknown format 'xml'"):
        ask("a.txt", "天", form="xml")


def predict(bundle, *arguments, **more):
    command = [sys.executable, "-m", "paddle_ernie_tiny", "predict", str(bundle), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_file", [False, True])
def test_ctrl_c_leaves_whole_lines(bundles, tmp_path, number, to_file):
    (tmp_path / "in.txt").write_text("天地玄黄宇宙洪荒\n" * 400_000, encoding="utf-8")
    (tmp_path / "out").write_text("kept")
    process = predict(
        bundles["classification"], "--input", tmp_path / "in.txt", *(["--output", tmp_path / "out"] * to_file)
    )
    if to_file:
        while not [path for path in tmp_path.glob(".out.*.tmp") if path.stat().st_size > 10_000]:
            assert process.poll() is None
            time.sleep(0.05)
    else:
        assert os.read(process.stdout.fileno(), 10)
    process.send_signal(number)
    rest, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number, told
    if to_file:
        assert (tmp_path / "out").read_text() == "kept" and f"{tmp_path / 'out.part'}, in whole lines" in told.decode()
        lines = (tmp_path / "out.part").read_bytes()
    else:
        lines = b"\n" + rest.partition(b"\n")[2] if rest else b"\n"
    assert lines.endswith(b"\n")
    for line in lines.decode().splitlines():
        assert not line or json.loads(line)["text"] == "天地玄黄宇宙洪荒"
