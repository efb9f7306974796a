"""The manifest vouches for every file, and a bundle appears only whole."""

import json
import re

import pytest

from paddle_ernie_tiny.deploy.bundle import MANIFEST, Manifest, read_manifest, write_manifest
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.files import new_folder
from paddle_ernie_tiny.kinds.metrics import softmax


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.pdiparams").write_bytes(b"weights")
    write_manifest(
        folder,
        Manifest(
            task="t",
            task_type="classification",
            labels=["a", "b"],
            max_length_tokens=8,
            metric="accuracy",
            precision="fp32",
            parameters=1,
            inputs=[{"name": name, "dtype": "int64", "shape": [-1, -1]} for name in ("input_ids", "token_type_ids")],
            outputs=[{"name": "logits", "dtype": "float32", "shape": [-1, 2]}],
            parity={},
            table={},
            versions={},
        ),
    )
    return folder


def test_round_trip(folder):
    manifest = read_manifest(folder)
    assert manifest.labels == ["a", "b"]
    # SHA-256 of b"weights", computed with sha256sum
    assert manifest.files == {"model.pdiparams": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"}


def test_an_unknown_format_and_a_broken_manifest_are_refused(folder):
    path = folder / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, "format_version": 99}), encoding="utf-8")
    with pytest.raises(InputError, match="bundle format 99 is not known"):
        read_manifest(folder)
    path.write_text(json.dumps({**values, "surprise": 1}), encoding="utf-8")
    with pytest.raises(InputError, match="not a readable manifest"):
        read_manifest(folder)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not a readable manifest"):
        read_manifest(folder)


def test_a_format_of_the_future_is_named_even_where_its_keys_are_not_known(folder):
    path = folder / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, "format_version": 2, "new_key": 1}), encoding="utf-8")
    with pytest.raises(InputError, match="bundle format 2 is not known"):
        read_manifest(folder)


OUTPUT = {"name": "logits", "dtype": "float32", "shape": [-1, 2]}
COUNTS = ("tokens_before", "tokens_after", "parameters_before", "parameters_after", "rows_as_before")
PRUNED = {
    **dict.fromkeys(COUNTS, 1),
    "splits": {"dev": {"rows": 1, "rows_changed": 0, "score_before": 1.0, "score_after": 1.0}},
}
SENSE = [
    # the key, what it says instead, and what the refusal names
    ("labels", ["a", "a"], "label names must differ"),
    ("labels", ["a"], "at least two labels"),
    ("labels", ["a", "b", "c"], "outputs: expected one of float32 [-1, 3]: 3 labels are named"),
    ("labels", "ab", "labels: Input should be a valid list"),
    ("labels", [1, 2], "labels.0: Input should be a valid string"),
    ("labels", ["a", " "], "labels.1: it is empty"),
    ("labels", ["a", "b\x1b[31m"], "labels.1: control character U+001B at position 1"),
    ("task_type", "ranking", "unknown kind of task 'ranking'"),
    ("task_type", "regression", "metric 'accuracy' does not score regression"),
    ("task_type", "token_classification", "metric 'accuracy' does not score token_classification"),
    ("task_type", 3, "task_type: Input should be a valid string"),
    ("max_length_tokens", -1, "max_length_tokens: Input should be greater than or equal to 4"),
    ("max_length_tokens", 10**9, "max_length_tokens: Input should be less than or equal to 65536"),
    ("max_length_tokens", "8", "max_length_tokens: Input should be a valid integer"),
    ("max_length_tokens", True, "max_length_tokens: Input should be a valid integer"),
    ("precision", "fp64", "precision: Input should be 'fp32', 'int8' or 'bf16'"),
    ("precision", "int8", "precision is int8, but quantization is None"),
    ("metric", "nonsense", "metric 'nonsense' does not score classification"),
    ("parameters", None, "parameters: Input should be a valid integer"),
    ("architecture", {"hidden_size": 8}, "architecture: expected a whole number above 0 for each of num_hidden_layers"),
    ("architecture", {"graph": 1}, "architecture: graph: expected served or plain"),
    ("vocabulary", {**PRUNED, "splits": {}}, "vocabulary.splits: Dictionary should have at least 1 item"),
    ("vocabulary", {**PRUNED, "tokens_after": "5"}, "vocabulary.tokens_after: Input should be a valid integer"),
    ("vocabulary", {**PRUNED, "more": 1}, "vocabulary.more: Extra inputs are not permitted"),
    ("unit", "word", "unit is 'word' for a classification task"),
    ("long_text", "middle", "long_text: Input should be 'truncate', 'head_tail' or 'windows'"),
    ("inputs", [], "inputs: expected input_ids and token_type_ids"),
    ("outputs", [OUTPUT, OUTPUT], "outputs: expected one of float32 [-1, 2]"),
    ("outputs", [{**OUTPUT, "dtype": "int64"}], "outputs: expected one of float32 [-1, 2]"),
    ("outputs", [{**OUTPUT, "name": None}], "outputs: expected one of float32 [-1, 2]"),
    ("table", {"text_b": 1}, "table names a second text, but task_type is classification"),
    ("parity", {"rows": float("nan")}, "parity.rows: Input should be a finite number"),
    ("table", {"text": True}, "table: text.str: Input should be a valid string"),
    ("table", {"colour": 1}, "table: colour: Unexpected keyword argument"),
    ("format_version", True, "bundle format True is not known"),
    ("format_version", 1.0, "bundle format 1.0 is not known"),
    ("files", {"../out.txt": "0" * 64}, "'../out.txt' is not the name of a file in the bundle's own folder"),
    ("files", {"/etc/passwd": "0" * 64}, "'/etc/passwd' is not the name of a file"),
    ("files", {"a\0b": "0" * 64}, "control character U+0000 at position 1"),
    ("files", {"a" * 300: "0" * 64}, "is not the name of a file"),
    ("files", {"model.pdiparams": None}, "files.model.pdiparams: Input should be a valid string"),
]


@pytest.mark.parametrize(
    ("key", "value", "message"), SENSE, ids=[f"{key} {str(value)[:30]}" for key, value, _ in SENSE]
)
def test_a_field_of_a_wrong_type_or_without_sense_is_refused(folder, key, value, message):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        read_manifest(folder)
    assert "manifest.json" in refused.value.where and refused.value.remedy and "\n" not in refused.value.what


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "pair_token_classification", "unit": "word"}, "a row of token_classification is one text"),
        ({"task_type": "token_classification"}, "unit is None for a token_classification task"),
        ({"task_type": "token_classification", "unit": "word"}, "outputs: expected one of float32 [-1, -1, 2]"),
        (
            {"task_type": "token_classification", "unit": "word", "long_text": "head_tail"},
            "long_text is head_tail for a token_classification task",
        ),
        (
            {"task_type": "regression", "metric": "pearson"},
            "output of a regression task is score, but the labels are a, b",
        ),
        (
            {"task_type": "pair_reading", "metric": "answer_f1", "labels": ["a", "a"]},
            "the output of a reading task is start, end, but the labels are a, a",
        ),
    ],
)
def test_fields_must_fit_together(folder, changes, message):
    path, metric = folder / "manifest.json", {"metric": "entity_f1"}
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **metric, **changes}), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        read_manifest(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"[" * 200_000, b'{"format_version": ' + b"9" * 5000 + b"}"])
def test_what_is_no_manifest_is_refused_in_one_line(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match="not a readable manifest") as refused:
        read_manifest(folder)
    assert len(refused.value.what) < 200


def test_a_missing_altered_or_further_file_is_refused(folder):
    weights, further = folder / "model.pdiparams", folder / "tokenizer.json"
    further.write_text("{}")
    with pytest.raises(InputError, match="tokenizer.json: not a file of this bundle"):
        read_manifest(folder)
    further.rename(folder / ".hidden")  # as file managers leave behind; nothing reads those
    assert read_manifest(folder).task == "t"
    weights.write_bytes(b"Weights")
    with pytest.raises(InputError, match="altered after export"):
        read_manifest(folder)
    weights.unlink()
    with pytest.raises(InputError, match="a file of the bundle is missing"):
        read_manifest(folder)


def test_publishing_replaces_an_older_folder_whole(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    for name, text in (("file", "1"), ("left-over", "x"), (MANIFEST, "{}")):
        (place / name).write_text(text)
    with new_folder(place, marker=MANIFEST) as temporary:
        (temporary / "file").write_text("2")
    assert [p.name for p in place.iterdir()] == ["file"]
    assert (place / "file").read_text() == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["place"]


def test_softmax_by_hand():
    import numpy as np

    np.testing.assert_allclose(softmax(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]])), [[0.25, 0.75], [0.5, 0.5]])
