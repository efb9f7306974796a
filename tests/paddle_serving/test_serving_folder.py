"""What the folder for Paddle Serving says of the model, and what is refused before anything is written."""

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from google.protobuf import text_format

from paddle_ernie_tiny.data.tokenization import train_vocabulary
from paddle_ernie_tiny.deploy.bundle import Manifest, write_manifest
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.kinds.classification import Classification
from paddle_ernie_tiny.kinds.metrics import METRICS, metrics_of
from paddle_ernie_tiny.paddle_serving import serving_folder
from paddle_ernie_tiny.paddle_serving.serving_folder import export_paddle_serving, model_config

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


def variable(name, dtype, shape):
    return {"name": name, "dtype": dtype, "shape": shape}


@pytest.fixture
def message():
    feeds = [variable("input_ids", "int64", [-1, -1]), variable("scale", "float32", [-1, 5])]
    return model_config(feeds, [variable("linear_9.tmp_1", "int32", [-1, 3, 4])])


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
        model_config([variable("x", "float64", [-1])], [])


def make_bundle(folder, **changes):
    """A bundle whose graph is empty: enough for what is refused before the graph is read."""
    folder.mkdir()
    train_vocabulary(["好 不 好"] * 3, 20).save(folder)
    (folder / "model.pdmodel").write_bytes(b"")
    (folder / "model.pdiparams").write_bytes(b"")
    kind = KINDS[changes.get("task_type", "classification").removeprefix("pair_")]
    labels = changes.get("labels", ["a", "b"] if kind.has_labels else ["score"])
    values = dict(
        task="tiny",
        task_type="classification",
        labels=labels,
        max_length_tokens=16,
        metric=metrics_of(kind.name)[0],
        precision="fp32",
        parameters=1,
        inputs=[variable(name, "int64", [-1, -1]) for name in ("input_ids", "token_type_ids")],
        outputs=[variable("logits", "float32", [-1] * (1 + kind.by_token) + [len(labels)])],
        parity={},
        table={},
        versions={},
    )
    write_manifest(folder, Manifest(**{**values, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"precision": "int8", "quantization": {}}, {}, "precision 'int8' would not give its own answers"),
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
    bundle = make_bundle(tmp_path / "bundle")
    monkeypatch.setattr(serving_folder, "model_output", lambda bundle: "logits")
    monkeypatch.setattr(serving_folder, "write_text", Mock(side_effect=OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        export_paddle_serving(bundle, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_folder_holds_the_toolkit_s_modules_as_they_are(tmp_path, monkeypatch, project_root):
    labels = ["O", "B-地", "I-地"]
    changes = {"task_type": "token_classification", "unit": "character", "labels": labels}
    bundle = make_bundle(tmp_path / "bundle", **changes)
    monkeypatch.setattr(serving_folder, "model_output", lambda bundle: "linear_1.tmp_1")
    out = export_paddle_serving(bundle, tmp_path / "out", http_port=8001, rpc_port=8002, threads=3)
    assert (out / "text" / "__init__.py").is_file()
    for name in serving_folder.TEXT_MODULES:
        assert (out / "text" / name).read_bytes() == (project_root / "paddle_ernie_tiny" / name).read_bytes()
    settings = json.loads((out / "service.json").read_text(encoding="utf-8"))
    assert settings["labels"] == labels and settings["output"] == "linear_1.tmp_1" and settings["unit"] == "character"
    assert settings["kind"] == "token_classification" and settings["pair"] is False
    for side in ("server", "client"):
        text = (out / f"serving_{side}" / f"serving_{side}_conf.prototxt").read_text()
        assert 'name: "linear_1.tmp_1"' in text and "shape: 3" in text
    assert "seqeval==" in (out / "requirements.txt").read_text(), "entities are read by seqeval"
    config = (out / "config.yml").read_text()
    assert "http_port: 8001" in config and "rpc_port: 8002" in config and "thread_num: 3" in config
    assert (out / "start.sh").stat().st_mode & 0o111 and (out / "stop.sh").stat().st_mode & 0o111


@pytest.mark.parametrize("task_type", ["classification", "pair_classification", "regression", "pair_regression"])
def test_every_kind_of_the_toolkit_is_answered(tmp_path, monkeypatch, task_type):
    bundle = make_bundle(tmp_path / "bundle", task_type=task_type)
    monkeypatch.setattr(serving_folder, "model_output", lambda bundle: "linear_1.tmp_1")
    out = export_paddle_serving(bundle, tmp_path / "out")
    settings = json.loads((out / "service.json").read_text(encoding="utf-8"))
    pair = task_type.startswith("pair_")
    assert settings["kind"] == task_type.removeprefix("pair_") and settings["pair"] is pair
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert KINDS[settings["kind"]].example_answer in readme and ("text_b" in readme) is pair
    assert "seqeval" not in (out / "requirements.txt").read_text()


class Stars(Classification):
    """A kind of task as an extension adds it: its module is not among those that are copied."""

    name = "stars"


def test_a_kind_of_an_extension_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, Stars.name, Stars())
    monkeypatch.setitem(METRICS, "stars", replace(METRICS["accuracy"], name="stars", kinds=("stars",)))
    bundle = make_bundle(tmp_path / "bundle", task_type="stars")
    with pytest.raises(InputError, match="cannot answer task type 'stars'") as caught:
        export_paddle_serving(bundle, tmp_path / "out")
    assert "extension" in caught.value.remedy and "stars" not in caught.value.remedy
    assert not (tmp_path / "out").exists()


# --- the Python that the folder runs on ------------------------------------------------------------------------------


def test_what_runs_there_is_written_for_python_3_9(project_root):
    package = project_root / "paddle_ernie_tiny"
    files = [package / name for name in serving_folder.TEXT_MODULES]
    files += (package / "paddle_serving" / "folder").glob("*.py")
    wrong = []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
        wrong += [f"{file.name}:{line}: {what}" for line, what in newer_than_python_3_9(tree)]
    assert not wrong, "\n".join(wrong)


FUTURE = "from __future__ import annotations"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def f(a, b):\n    return zip(a, b, strict=True)", "zip(strict=)"),
        ("Either = int | str", "X | Y"),
        ("def f(a):\n    return isinstance(a, Path | None)", "X | Y"),
        ("@dataclass(frozen=True, slots=True)\nclass A:\n    pass", "dataclass(slots=)"),
        ("def f(a: int | None):\n    return a", "X | Y"),
        (f"{FUTURE}\ndef f(a: int | None) -> dict | None:\n    b: int | str = a\n    return {{}} | a | b", None),
        ("if TYPE_CHECKING:\n    Either = int | str", None),
    ],
)
def test_what_is_newer_than_python_3_9_is_seen(code, what):
    assert [found for _, found in newer_than_python_3_9(ast.parse(code))] == ([what] if what else [])


def test_what_is_copied_imports_nothing_else_of_the_toolkit_when_it_is_loaded(project_root):
    package = project_root / "paddle_ernie_tiny"
    for name in serving_folder.TEXT_MODULES:
        tree = ast.parse((package / name).read_text(encoding="utf-8"))
        for node in nodes_that_run(tree, functions=False, annotations=False):
            if isinstance(node, ast.ImportFrom) and node.level:
                for module in imported_modules(package, package / name, node):
                    assert module in serving_folder.TEXT_MODULES, f"{name}:{node.lineno} imports {module}"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert "paddle_ernie_tiny" not in str(names), f"{name}:{node.lineno} is not a relative import"


def newer_than_python_3_9(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of calls and types that parse on Python 3.9 and fail when they run."""
    lazy = FUTURE in ast.unparse(tree)
    for node in nodes_that_run(tree, functions=True, annotations=not lazy):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for name, keyword in (("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")):
                if node.func.id == name and keyword in [given.arg for given in node.keywords]:
                    yield node.lineno, f"{name}({keyword}=)"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            if any(is_type(side) for side in (node.left, node.right)):
                yield node.lineno, "X | Y"


def is_type(node: ast.AST) -> bool:
    """Does this look like a type: None, or a name such as `int`, `Path` or `list[int]`?"""
    if isinstance(node, ast.Subscript):
        node = node.value
    builtin = ("int", "float", "str", "bytes", "bool", "list", "dict", "tuple", "set")
    named = isinstance(node, ast.Name) and (node.id in builtin or node.id[:1].isupper() and not node.id.isupper())
    return named or isinstance(node, ast.Constant) and node.value is None


def nodes_that_run(tree: ast.AST, functions: bool, annotations: bool) -> Iterator[ast.AST]:
    """The nodes of a module but what is for type checkers; also of its functions, and of its annotations?"""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns") and not annotations:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
            if not functions and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            yield node
            yield from nodes_that_run(node, functions, annotations)


def imported_modules(package: Path, file: Path, node: ast.ImportFrom) -> Iterator[str]:
    """The files, by their paths in the package, that a relative import loads."""
    base = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
    for alias in node.names:
        inner = base / alias.name
        for found in (inner.with_suffix(".py"), inner / "__init__.py", base.with_suffix(".py"), base / "__init__.py"):
            if found.is_file():
                yield found.relative_to(package).as_posix()
                break
        else:
            raise AssertionError(f"{file}:{node.lineno}: no module for {alias.name}")
