"""What the folder for Paddle Serving says of the model, and what is refused before anything is written."""

import ast
import json

import pytest
from google.protobuf import text_format

from paddle_ernie_tiny.data.tokenization import train_vocabulary
from paddle_ernie_tiny.deploy import paddle_serving
from paddle_ernie_tiny.deploy.bundle import Manifest, write_manifest
from paddle_ernie_tiny.deploy.paddle_serving import Variable, export_paddle_serving, model_config
from paddle_ernie_tiny.errors import InputError

EXPECTED = """\
feed_var {
  name: "input_ids"
  alias_name: "input_ids"
  is_lod_tensor: false
  feed_type: 0
}
feed_var {
  name: "scale"
  alias_name: "scale"
  is_lod_tensor: false
  feed_type: 1
  shape: 5
}
fetch_var {
  name: "linear_9.tmp_1"
  alias_name: "linear_9.tmp_1"
  is_lod_tensor: false
  fetch_type: 2
  shape: 3
  shape: 4
}
"""


@pytest.fixture
def message():
    feeds = [Variable("input_ids", "int64", [-1, -1]), Variable("scale", "float32", [-1, 5])]
    return model_config(feeds, [Variable("linear_9.tmp_1", "int32", [-1, 3, 4])])


def test_the_text_leaves_out_what_may_vary(message):
    assert text_format.MessageToString(message) == EXPECTED


def test_the_stream_is_the_same_message(message):
    stream = message.SerializeToString()
    # field 1 of the message (tag 0x0A) is the first input: name (0x0A), alias, is_lod_tensor 0, feed_type 0
    assert stream.startswith(b"\x0a\x1a\x0a\x09input_ids\x12\x09input_ids\x18\x00\x20\x00")
    again = type(message)()
    again.ParseFromString(stream)
    assert again == message and text_format.Parse(EXPECTED, type(message)()) == again


def test_a_dtype_that_paddle_serving_does_not_know_is_refused():
    with pytest.raises(InputError, match="float64"):
        model_config([Variable("x", "float64", [-1])], [])


def make_bundle(folder, **changes):
    """A bundle whose graph is empty: enough for what is refused before the graph is read."""
    folder.mkdir()
    train_vocabulary(["好 不 好"] * 3, 20).save(folder)
    (folder / "model.pdmodel").write_bytes(b"")
    (folder / "model.pdiparams").write_bytes(b"")
    values = dict(
        task="tiny",
        task_type="classification",
        labels=["a", "b"],
        max_length_tokens=16,
        metric="accuracy",
        precision="fp32",
        parameters=1,
        inputs=[],
        outputs=[],
        parity={},
        table={},
        versions={},
    )
    write_manifest(folder, Manifest(**{**values, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"task_type": "ranking"}, {}, "cannot answer task type 'ranking'"),
        ({"precision": "int8"}, {}, "precision 'int8' would not give its own answers"),
        ({}, {"http_port": 9000, "rpc_port": 9000}, "both to use port 9000"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, changes, options, message):
    bundle = make_bundle(tmp_path / "bundle", **changes)
    with pytest.raises(InputError, match=message):
        export_paddle_serving(bundle, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        export_paddle_serving(bundle, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "x"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle")  # without inputs and outputs in its manifest
    monkeypatch.setattr(paddle_serving, "model_output", lambda bundle: "logits")
    with pytest.raises(ValueError):
        export_paddle_serving(bundle, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_folder_holds_the_toolkit_s_modules_as_they_are(tmp_path, monkeypatch, project_root):
    output = {"name": "logits", "dtype": "float32", "shape": [-1, 3]}
    inputs = [{"name": "input_ids", "dtype": "int64", "shape": [-1, -1]}]
    labels = ["O", "B-地", "I-地"]
    changes = {"task_type": "token_classification", "unit": "character", "labels": labels}
    bundle = make_bundle(tmp_path / "bundle", inputs=inputs, outputs=[output], **changes)
    monkeypatch.setattr(paddle_serving, "model_output", lambda bundle: "linear_1.tmp_1")
    out = export_paddle_serving(bundle, tmp_path / "out", http_port=8001, rpc_port=8002, threads=3)
    for name in paddle_serving.TEXT_MODULES:
        assert (out / "text" / name).read_bytes() == (project_root / "paddle_ernie_tiny" / name).read_bytes()
    settings = json.loads((out / "service.json").read_text(encoding="utf-8"))
    assert settings["labels"] == labels and settings["output"] == "linear_1.tmp_1" and settings["unit"] == "character"
    for side in ("server", "client"):
        text = (out / f"serving_{side}" / f"serving_{side}_conf.prototxt").read_text()
        assert 'name: "linear_1.tmp_1"' in text and "shape: 3" in text
    assert "seqeval==" in (out / "requirements.txt").read_text(), "entities are read by seqeval"
    config = (out / "config.yml").read_text()
    assert "http_port: 8001" in config and "rpc_port: 8002" in config and "thread_num: 3" in config
    assert (out / "start.sh").stat().st_mode & 0o111 and (out / "stop.sh").stat().st_mode & 0o111


def test_what_runs_there_is_written_for_python_3_9(project_root):
    package = project_root / "paddle_ernie_tiny"
    files = [package / name for name in paddle_serving.TEXT_MODULES]
    for file in files + list((package / "deploy" / "paddle_serving_folder").glob("*.py")):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
