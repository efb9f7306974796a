"""One rule says which texts are refused, and every place where text enters keeps to it."""

import json
import re
import sys
import unicodedata

import pytest

from paddle_ernie_tiny.data.corpus import read_lines
from paddle_ernie_tiny.data.readers import infer_labels, read_examples
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.deploy.answers import predict_rows
from paddle_ernie_tiny.deploy.row_files import read_texts
from paddle_ernie_tiny.deploy.server.messages import Problem, read_request, request_shapes
from paddle_ernie_tiny.deploy.server.options import ServeOptions
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.text_rule import INVISIBLE, PATTERN, is_blank, refused_character, text_fault

# text: what is wrong with it as a text to be answered, and as a row of training data
RULE = {
    "房间很宽敞": (None, None),
    "a\tb\r\nc": (None, None),
    "👍\u200b\u202e\ue000\ufffe": (None, None),  # invisible ones beside what is seen, private use, no character
    "a\x00b": ("control character U+0000 at position 1", "control character U+0000 at position 1"),
    "ab\x07": ("control character U+0007 at position 2", None),
    "\x1b[31m": ("control character U+001B at position 0", None),
    "a\x0b": ("control character U+000B at position 1", None),
    "a\x7f": ("control character U+007F at position 1", None),
    "a\x85b": ("control character U+0085 at position 1", None),
    "\x9b31m": ("control character U+009B at position 0", None),
    "a\ud83d": ("half a surrogate pair U+D83D at position 1", "half a surrogate pair U+D83D at position 1"),
    "": ("the text is empty", "empty"),
    " \t\u3000\u2028": ("the text is empty", "empty"),
    "\u200b\ufeff\u2060\u00ad": ("the text is empty", "empty"),
}


@pytest.mark.parametrize("text", RULE)
def test_the_rule(text):
    asked, data = RULE[text]
    assert (text_fault(text) or (None,))[0] == asked
    assert refused_character(text, data=True) == (None if data == "empty" else data)
    if "\ud83d" not in text:  # which no JSON holds
        assert bool(re.search(PATTERN, text)) == (asked is None), "the schema says the same"


def test_what_is_invisible_is_what_unicode_calls_format_characters():
    formats = {chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    assert all(map(is_blank, formats)) and all(re.fullmatch(f"[{INVISIBLE}]", character) for character in formats)


@pytest.mark.parametrize("text", [text for text in RULE if RULE[text][0]])
def test_arguments_files_and_http_refuse_the_same(text, tmp_path):
    with pytest.raises(InputError, match="predict: " + re.escape(RULE[text][0])):
        predict_rows("no bundle is opened", text, None, None)
    with pytest.raises(InputError, match="predict: " + re.escape(RULE[text][0])):
        predict_rows("no bundle is opened", "a", text, None)
    body = json.dumps({"text": text}).encode()
    with pytest.raises(Problem) as problem:
        read_request(body, request_shapes({"a": False}, ServeOptions()))
    if "surrogate" in RULE[text][0]:  # no JSON to begin with, and no file in UTF-8 has one
        assert problem.value.code == "not_json"
        return
    assert (problem.value.code, problem.value.message) == ("invalid_request", RULE[text][0])
    path = tmp_path / "rows.txt"
    path.write_bytes(f"good\n{text}\n".encode())
    if text.strip() and "\t" not in text:
        with pytest.raises(InputError, match="rows.txt:2: " + re.escape(RULE[text][0])):
            read_texts(path)


def test_texts_of_a_pair_are_both_looked_at(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("a\tb\na\t\u200b\n", encoding="utf-8")
    with pytest.raises(InputError, match="pairs.txt:2: the text is empty"):
        read_texts(path)


def test_training_data_and_corpora_are_refused_only_where_they_are_damaged(tmp_path):
    rows, corpus, table = tmp_path / "rows.tsv", tmp_path / "corpus.txt", TableFormat(text=0, label=1)
    for text, found in (("a\x08b", ["a\x08b"]), ("a\x00b", None)):
        rows.write_text(f"{text}\t1\n", encoding="utf-8")
        corpus.write_text(f"{text}\n", encoding="utf-8")
        if found:
            assert [row.text for row in read_examples(rows, table, lambda name: int(name))] == found
            assert list(read_lines(corpus)) == found
            continue
        with pytest.raises(InputError, match="rows.tsv:1: control character U\\+0000"):
            read_examples(rows, table, lambda name: int(name))
        with pytest.raises(InputError, match="corpus.txt:1: control character U\\+0000"):
            list(read_lines(corpus))


def test_labels_hold_no_control_characters(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("x\tgood\ny\tb\x07d\n", encoding="utf-8")
    with pytest.raises(InputError, match="rows.tsv:2: control character U\\+0007 at position 1 of the label"):
        infer_labels(path, TableFormat(header=False, text=0, label=1))
    with pytest.raises(ValueError, match="control character U\\+0007"):
        KINDS["classification"].check_labels(["good", "b\x07d"], "accuracy")
