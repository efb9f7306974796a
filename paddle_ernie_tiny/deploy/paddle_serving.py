"""Writes a bundle as a folder that Paddle Serving 0.9.0 serves in pipeline mode, raw text in and labels out.

The folder stands alone: model, tokenizer, service, client and scripts; the toolkit is not installed where it runs
(Paddle Serving wants an older Python). It tokenises with copies of the toolkit's own modules.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from ..errors import InputError
from ..files import write_text
from .bundle import MODEL_STEM, Manifest, read_manifest

TEXT_MODULES = ("errors.py", "files.py", "data/tags.py", "data/tokenization.py", "data/vocabulary.py")
_TYPES = {"int64": 0, "float32": 1, "int32": 2}  # Paddle Serving's numbers
_TASK_TYPES = ("classification", "pair_classification", "regression", "pair_regression", "token_classification")


@dataclass(frozen=True)
class Variable:
    """An input or output of the model as Paddle Serving describes it; sizes that may vary (-1) are left out."""

    name: str
    dtype: str
    shape: list[int]


def export_paddle_serving(
    bundle: str | os.PathLike, out: str | os.PathLike, http_port: int = 9292, rpc_port: int = 9293, threads: int = 1
) -> Path:
    """Writes the folder `out`, whole or not at all.

    Raises InputError when the bundle is incomplete or altered or of a kind that the service cannot answer, when
    the ports are equal, or when `out` is not empty.
    """
    bundle, out = Path(bundle), Path(out)
    manifest = read_manifest(bundle)
    _check(bundle, out, manifest, http_port, rpc_port)
    output = model_output(bundle)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write_model(bundle, temporary, manifest, output)
        _write_text_modules(temporary / "text")
        _write_service(bundle, temporary, manifest, output, http_port, rpc_port, threads)
        if out.exists():
            out.rmdir()  # empty, as checked
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _check(bundle: Path, out: Path, manifest: Manifest, http_port: int, rpc_port: int) -> None:
    if manifest.task_type not in _TASK_TYPES:
        raise InputError(
            f"the service cannot answer task type {manifest.task_type!r}",
            str(bundle),
            f"it knows {', '.join(_TASK_TYPES)}",
        )
    if manifest.precision != "fp32":
        raise InputError(
            f"a bundle of precision {manifest.precision!r} would not give its own answers: Paddle Serving 0.9 cannot "
            "switch on the int8 kernels of a CPU",
            str(bundle),
            "give the fp32 bundle, or serve this one with ernie-tiny serve",
        )
    if not (bundle / f"{MODEL_STEM}.pdmodel").is_file():
        raise InputError(
            "no model.pdmodel, and Paddle Serving reads no other format", str(bundle), "export with Paddle 3.1"
        )
    if http_port == rpc_port:
        raise InputError(f"HTTP and gRPC are both to use port {http_port}", "--rpc-port", "give two ports")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("the folder is not empty", str(out), "stop a service that runs there and choose another one")


def model_output(bundle: Path) -> str:
    """The exported graph's own name of its output, which Paddle Serving fetches it by."""
    from .predictor import create_engine

    (name,) = create_engine(bundle / MODEL_STEM, "cpu", 1).get_output_names()
    return name


def model_config(feeds: list[Variable], fetches: list[Variable]):
    """The protobuf message `GeneralModelConfig` of Paddle Serving. Raises InputError for an unknown dtype."""
    message = _message_class()()
    for variables, field, kind in ((feeds, message.feed_var, "feed_type"), (fetches, message.fetch_var, "fetch_type")):
        for variable in variables:
            if variable.dtype not in _TYPES:
                known = ", ".join(_TYPES)
                raise InputError(f"dtype {variable.dtype!r} of {variable.name}", "manifest.json", f"known: {known}")
            sizes = [size for size in variable.shape if size != -1]
            # alias_name is what a client says; the local predictor needs it to be the graph's name
            field.add(
                name=variable.name,
                alias_name=variable.name,
                is_lod_tensor=False,
                shape=sizes,
                **{kind: _TYPES[variable.dtype]},
            )
    return message


def _message_class():
    # Paddle Serving's schema, built here: its generated module needs an old protobuf.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="general_model_config.proto", package="baidu.paddle_serving.configure", syntax="proto2"
    )
    kind = descriptor_pb2.FieldDescriptorProto
    optional, repeated = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    for name, type_field in (("FeedVar", "feed_type"), ("FetchVar", "fetch_type")):
        message = file.message_type.add(name=name)
        for number, (field, type_, label) in enumerate(
            [
                ("name", kind.TYPE_STRING, optional),
                ("alias_name", kind.TYPE_STRING, optional),
                ("is_lod_tensor", kind.TYPE_BOOL, optional),
                (type_field, kind.TYPE_INT32, optional),
                ("shape", kind.TYPE_INT32, repeated),
            ],
            start=1,
        ):
            message.field.add(name=field, number=number, type=type_, label=label)
    config = file.message_type.add(name="GeneralModelConfig")
    for number, (field, of) in enumerate([("feed_var", "FeedVar"), ("fetch_var", "FetchVar")], start=1):
        type_name = f".{file.package}.{of}"
        config.field.add(name=field, number=number, type=kind.TYPE_MESSAGE, label=repeated, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.GeneralModelConfig"))


def _write_model(bundle: Path, folder: Path, manifest: Manifest, output: str) -> None:
    from google.protobuf import text_format

    feeds = [Variable(**item) for item in manifest.inputs]
    (fetch,) = manifest.outputs
    message = model_config(feeds, [Variable(output, fetch["dtype"], fetch["shape"])])
    for side in ("server", "client"):
        place = folder / f"serving_{side}"
        place.mkdir()
        write_text(place / f"serving_{side}_conf.prototxt", text_format.MessageToString(message))
        (place / f"serving_{side}_conf.stream.prototxt").write_bytes(message.SerializeToString())
    for suffix in ("pdmodel", "pdiparams"):
        shutil.copy(bundle / f"{MODEL_STEM}.{suffix}", folder / "serving_server" / f"inference.{suffix}")


def _write_text_modules(folder: Path) -> None:
    """The modules that turn text into ids, as they are; their relative imports hold in any package."""
    (folder / "data").mkdir(parents=True)
    for name in ("__init__.py", "data/__init__.py"):
        write_text(folder / name, '"""Copies of modules of paddle_ernie_tiny: the same text gives the same ids."""\n')
    package = Path(__file__).resolve().parent.parent
    for name in TEXT_MODULES:
        shutil.copy(package / name, folder / name)


def _write_service(
    bundle: Path, folder: Path, manifest: Manifest, output: str, http_port: int, rpc_port: int, threads: int
) -> None:
    shutil.copy(bundle / "tokenizer.json", folder)
    settings = {
        **{key: getattr(manifest, key) for key in ("task", "task_type", "labels", "unit", "max_length_tokens")},
        "output": output,
    }
    write_text(folder / "service.json", json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
    pair = manifest.task_type.startswith("pair_")
    tagger = manifest.task_type == "token_classification"
    templates = resources.files(__package__) / "paddle_serving_folder"
    values = {
        "http_port": http_port,
        "rpc_port": rpc_port,
        "threads": threads,
        "task": manifest.task,
        "labels": ", ".join(manifest.labels),
        "request": json.dumps(
            {
                "key": ["text", "text_b"] if pair else ["text"],
                "value": [json.dumps([text], ensure_ascii=False) for text in ["你好，世界", "大家好"][: 1 + pair]],
            },
            ensure_ascii=False,
        ),
        "arguments": '"你好，世界" "大家好"' if pair else '"你好，世界"',
        "answer": _example_answer(manifest),
    }
    for name in ("config.yml", "client.py", "README.md"):
        text = (templates / name).read_text(encoding="utf-8")
        write_text(folder / name, Template(text).substitute(values))
    for name in ("service.py", "compatibility.py", "start.sh", "stop.sh"):
        write_text(folder / name, (templates / name).read_text(encoding="utf-8"))
    for name in ("start.sh", "stop.sh"):
        (folder / name).chmod(0o755)
    lists = ["requirements.txt", *(["requirements-entities.txt"] if tagger else [])]
    texts = [(templates / name).read_text(encoding="utf-8") for name in lists]
    write_text(folder / "requirements.txt", "".join(texts))


def _example_answer(manifest: Manifest) -> str:
    """The shape of an answer; the numbers are left open."""
    if manifest.task_type.endswith("token_classification"):
        return '{"entities": [{"label": ..., "start": ..., "end": ..., "text": ..., "probability": ...}]}'
    if manifest.task_type.endswith("regression"):
        return '{"score": ...}'
    probabilities = ", ".join(f"{json.dumps(label, ensure_ascii=False)}: ..." for label in manifest.labels[:2])
    more = ", ..." if len(manifest.labels) > 2 else ""
    return f'{{"label": ..., "probability": ..., "probabilities": {{{probabilities}{more}}}}}'
