"""Writes a bundle as a folder that Paddle Serving 0.9.0 serves in pipeline mode, raw text in and labels out.

The folder stands alone: model, tokenizer, service, client and scripts; the toolkit is not installed where it runs
(Paddle Serving wants an older Python). Copies of the toolkit's own modules turn text into ids and logits into answers.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from string import Template
from typing import Any

from .. import kinds
from ..deploy.bundle import Manifest, read_manifest
from ..engines import MODEL_STEM, open_paddle
from ..errors import InputError
from ..files import new_folder, write_json, write_text

_PACKAGE = Path(__file__).resolve().parents[1]
# What the folder holds of the toolkit, as it is; the relative imports hold in any package. It runs on Python 3.9.
TEXT_MODULES = (
    *("errors.py", "files.py", "text_rule.py", "data/__init__.py"),
    *(f"data/{name}.py" for name in ("tokenization", "text_tokenizer", "byte_level", "vocabulary", "windows")),
    *(f"kinds/{path.name}" for path in sorted((_PACKAGE / "kinds").glob("*.py"))),
)
_LISTED = 100  # labels in the README, at most
_TYPES = {"int64": 0, "float32": 1, "int32": 2}  # Paddle Serving's numbers


def export_paddle_serving(
    bundle: str | os.PathLike, out: str | os.PathLike, http_port: int = 9292, rpc_port: int = 9293, threads: int = 1
) -> Path:
    """Writes the folder `out`, whole or not at all, and returns it.

    Raises InputError when the bundle is incomplete or altered or of a kind that the service cannot answer, when
    the ports are equal, or when `out` is not empty.
    """
    bundle, out = Path(bundle), Path(out)
    manifest = read_manifest(bundle)
    _check(bundle, manifest, http_port, rpc_port)
    with new_folder(out) as folder:
        output = model_output(bundle)
        _write_model(bundle, folder, manifest, output)
        for name in TEXT_MODULES:
            (folder / "text" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(_PACKAGE / name, folder / "text" / name)
        (folder / "text" / "__init__.py").touch()
        shutil.copy(bundle / "tokenizer.json", folder)
        settings = {key: getattr(manifest, key) for key in ("task", "pair", "labels", "unit", "max_length_tokens")}
        settings |= {"long_text": manifest.reading, "kind": manifest.kind.name, "output": output}
        settings["settings"] = manifest.settings
        write_json(folder / "service.json", settings)
        _write_service(folder, manifest, {"http_port": http_port, "rpc_port": rpc_port, "threads": threads})
    return out


def _check(bundle: Path, manifest: Manifest, http_port: int, rpc_port: int) -> None:
    # an extension's module is not in the folder, and may need anything
    own = [kind for kind in kinds.KINDS.values() if type(kind).__module__.startswith(f"{kinds.__name__}.")]
    known = [kind.name for kind in own] + [f"pair_{kind.name}" for kind in own if kind.may_pair]
    if manifest.task_type not in known:
        what = f"the service cannot answer task type {manifest.task_type!r}"
        remedy = f"it knows {', '.join(known)}; serve a kind of task that an extension adds with ernie-tiny serve"
        raise InputError(what, str(bundle), remedy)
    if manifest.precision != "fp32":
        what = (
            f"a bundle of precision {manifest.precision!r} would not give its own answers: Paddle Serving 0.9 cannot "
            "switch on the int8 kernels of a CPU"
        )
        raise InputError(what, str(bundle), "give the fp32 bundle, or serve this one with ernie-tiny serve")
    if not (bundle / f"{MODEL_STEM}.pdmodel").is_file():
        raise InputError("no model.pdmodel; Paddle Serving reads nothing else", str(bundle), "export with Paddle 3.1")
    if http_port == rpc_port:
        raise InputError(f"HTTP and gRPC are both to use port {http_port}", "--rpc-port", "give two ports")


def model_output(bundle: Path) -> str:
    """The exported graph's own name of its output, which Paddle Serving fetches it by."""
    return open_paddle(bundle, "cpu", 1, "fp32").output_name


def model_config(feeds: list[dict[str, Any]], fetches: list[dict[str, Any]]) -> Any:
    """The protobuf message `GeneralModelConfig` of Paddle Serving, from inputs and outputs as a manifest lists them.

    Sizes that may vary (-1) are left out. Raises InputError for an unknown dtype.
    """
    # Paddle Serving's own generated module needs an old protobuf
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    schema = Path(__file__).with_name("general_model_config.textproto").read_text(encoding="utf-8")
    file = text_format.Parse(schema, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.GeneralModelConfig"))()
    for side, variables in (("feed", feeds), ("fetch", fetches)):
        for variable in variables:
            if variable["dtype"] not in _TYPES:
                what = f"dtype {variable['dtype']!r} of {variable['name']}"
                raise InputError(what, "manifest.json", f"known: {', '.join(_TYPES)}")
            added = getattr(message, f"{side}_var").add(name=variable["name"], is_lod_tensor=False)
            added.alias_name = added.name  # what a client says; the local predictor needs it to be the graph's name
            added.shape.extend(size for size in variable["shape"] if size != -1)
            setattr(added, f"{side}_type", _TYPES[variable["dtype"]])
    return message


def _write_model(bundle: Path, folder: Path, manifest: Manifest, output: str) -> None:
    from google.protobuf import text_format

    (fetch,) = manifest.outputs
    message = model_config(manifest.inputs, [{**fetch, "name": output}])
    for side in ("server", "client"):
        place = folder / f"serving_{side}"
        place.mkdir()
        write_text(place / f"serving_{side}_conf.prototxt", text_format.MessageToString(message))
        (place / f"serving_{side}_conf.stream.prototxt").write_bytes(message.SerializeToString())
    for suffix in ("pdmodel", "pdiparams"):
        shutil.copy(bundle / f"{MODEL_STEM}.{suffix}", folder / "serving_server" / f"inference.{suffix}")


def _write_service(folder: Path, manifest: Manifest, options: dict[str, int]) -> None:
    templates = Path(__file__).with_name("folder")
    example = {"text": "你好，世界", "text_b": "大家好"} if manifest.pair else {"text": "你好，世界"}
    fields = {key: json.dumps([text], ensure_ascii=False) for key, text in example.items()}
    values = {
        **options,
        "task": manifest.task,
        "labels": ", ".join(manifest.labels[:_LISTED]) + " ..." * (len(manifest.labels) > _LISTED),
        "request": json.dumps({"key": [*fields], "value": [*fields.values()]}, ensure_ascii=False),
        "arguments": " ".join(f'"{text}"' for text in example.values()),
        "answer": manifest.kind.example_answer,
    }
    for name in ("config.yml", "client.py", "README.md"):
        write_text(folder / name, Template((templates / name).read_text(encoding="utf-8")).substitute(values))
    for name in ("service.py", "compatibility.py", "start.sh", "stop.sh"):
        shutil.copyfile(templates / name, folder / name)
    for name in ("start.sh", "stop.sh"):
        (folder / name).chmod(0o755)
    names = ("requirements.txt", f"requirements-{manifest.kind.name}.txt")  # what all need, and this kind besides
    lists = [(templates / name).read_text(encoding="utf-8") for name in names if (templates / name).is_file()]
    write_text(folder / "requirements.txt", "".join(lists))
