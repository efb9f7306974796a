"""The manifest vouches for every file, and a bundle appears only whole."""

import json

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
            inputs=[],
            outputs=[],
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
