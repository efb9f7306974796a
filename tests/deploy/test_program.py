"""A bundle whose files have the right SHA-256 but are not its own is refused before it answers."""

import json
import shutil

import numpy as np
import pytest

from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.deploy.bundle import read_manifest, write_manifest
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.row_files import evaluate
from paddle_ernie_tiny.engines import PaddleEngine
from paddle_ernie_tiny.errors import InputError


@pytest.fixture
def changed(classifier, tmp_path):
    """A copy of a bundle with other files, or other fields, which its manifest vouches for."""

    def change(files=None, **fields):
        folder = shutil.copytree(classifier.folder, tmp_path / "bundle")
        manifest = read_manifest(folder)
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content(folder) if callable(content) else content)
        for name, value in fields.items():
            setattr(manifest, name, value)
        write_manifest(folder, manifest)
        return folder

    return change


def _flipped(folder, place):
    content = bytearray((folder / "model.pdiparams").read_bytes())
    content[place] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.pdmodel", b"", "not a program"),
        ("model.pdmodel", bytes(range(1, 256)) * 40, "not a program"),  # ended the process with a signal
        ("model.pdmodel", lambda folder: (folder / "model.pdmodel").read_bytes()[:5000], "not a program"),
        ("model.pdiparams", b"", "not the weights"),
        ("model.pdiparams", lambda folder: (folder / "model.pdiparams").read_bytes()[:-9], "not the weights"),
        ("model.pdiparams", lambda folder: (folder / "model.pdiparams").read_bytes() + b"\0", "not the weights"),
        ("model.pdiparams", lambda folder: _flipped(folder, 0), "not the weights"),  # version
        ("model.pdiparams", lambda folder: _flipped(folder, 7), "not the weights"),  # level of nesting: terabytes
        ("model.pdiparams", lambda folder: _flipped(folder, 12), "not the weights"),  # version of the tensor
        ("tokenizer.json", b"{}", "cannot be read"),
    ],
)
def test_files_that_are_damaged_and_signed_are_refused(changed, name, content, message):
    with pytest.raises(InputError, match=message) as refused:
        Predictor(changed({name: content}))
    assert "\n" not in refused.value.what and refused.value.remedy


def test_a_program_of_another_task_is_refused(changed, pair_regressor, tagger):
    for other, gives in ((pair_regressor, r"\[-1, 1\]"), (tagger, r"\[-1, -1, 3\]")):
        names = ("model.pdmodel", "model.pdiparams")
        folder = changed({name: (other.folder / name).read_bytes() for name in names})
        with pytest.raises(InputError, match=f"gives {gives}: not what manifest.json says"):
            Predictor(folder)
        shutil.rmtree(folder)


def test_more_tokens_than_the_model_has_places_for_are_refused(changed):
    with pytest.raises(InputError, match="cannot be loaded and run"):
        Predictor(changed(max_length_tokens=33))  # it has 32 positions


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(changed):
    tokenizer = WordPieceTokenizer([*"[PAD] [UNK] [CLS] [SEP] [MASK]".split(), *map(str, range(9999))])

    def other(folder):
        tokenizer.save(folder)
        return (folder / "tokenizer.json").read_bytes()

    with pytest.raises(InputError, match="cannot be loaded and run"):
        Predictor(changed({"tokenizer.json": other}))


def test_token_ids_with_a_gap_are_refused(changed):
    def other(folder):
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        content["model"]["vocab"]["天"] = 10**6  # the ids after its own were moved up without a word
        return json.dumps(content).encode()

    with pytest.raises(InputError, match="token ids are not 0, 1, 2"):
        Predictor(changed({"tokenizer.json": other}))


def test_weights_that_are_no_numbers_are_refused(changed):
    def damaged(folder):  # in the middle of the table of embeddings: few rows would show it
        content = (folder / "model.pdiparams").read_bytes()
        return content[:2000] + b"\xff" * 40 + content[2040:]

    with pytest.raises(InputError, match="a weight is not a finite number"):
        Predictor(changed({"model.pdiparams": damaged}))


def test_an_output_that_is_no_number_gives_an_error_and_no_answer(classifier, tmp_path, monkeypatch):
    rows = tmp_path / "rows.tsv"
    rows.write_text("天地玄黄宇宙洪荒\ta\n", encoding="utf-8")
    monkeypatch.setattr(PaddleEngine, "__call__", lambda self, ids, types: np.full((len(ids), 3), np.nan, np.float32))
    for ask in (lambda: Predictor(classifier.folder).predict(["天地"]), lambda: evaluate(classifier.folder, rows)):
        with pytest.raises(InputError, match="output is not a finite number"):
            ask()
