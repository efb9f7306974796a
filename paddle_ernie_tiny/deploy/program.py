"""A bundle's program: looked at before Paddle runs it, and tried on one row before anything is answered."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..data.text_tokenizer import TextTokenizer
from ..engines import MODEL_STEM, Engine
from ..errors import ErnieTinyError, InputError
from .bundle import Manifest

_REMEDY = "export the bundle again"


def check_program(folder: Path, manifest: Manifest) -> None:
    """Raises InputError unless the program has the manifest's inputs and output, by name and shape, and its weights.

    Paddle does not look: some files that are no program end the process, a program of another task answers, and weights
    that are cut short or no numbers are taken.
    """
    from google.protobuf.message import DecodeError
    from paddle.base.proto import framework_pb2

    file, program = folder / f"{MODEL_STEM}.pdmodel", framework_pb2.ProgramDesc()
    used, specs = {""}, {}
    try:
        program.ParseFromString(file.read_bytes())
        (block,) = program.blocks
        tensors = {variable.name: variable.type.dense_tensor.tensor for variable in block.vars}
        specs = {name: (tensor.data_type, list(tensor.dims)) for name, tensor in tensors.items()}
        inputs = {op.outputs[0].arguments[0] for op in block.ops if op.type == "feed"}
        (output,) = (op.inputs[0].arguments[0] for op in block.ops if op.type == "fetch")
        found = {name: specs[name] for name in inputs}, specs[output]
        used = {name for op in block.ops for side in (*op.inputs, *op.outputs) for name in side.arguments}
    except (DecodeError, ValueError, LookupError):
        pass
    if not used <= specs.keys():
        raise InputError("not a program that Paddle can run", str(file), _REMEDY)
    types = framework_pb2.VarType
    wanted = {each["name"]: (types.INT64, each["shape"]) for each in manifest.inputs}
    if found != (wanted, (types.FP32, manifest.outputs[0]["shape"])):
        what = f"the program takes {sorted(inputs)} and gives {specs[output][1]}: not what manifest.json says"
        raise InputError(what, str(file), _REMEDY)
    _check_weights(folder / f"{MODEL_STEM}.pdiparams", sum(variable.persistable for variable in block.vars) - 2)


def _check_weights(file: Path, count: int) -> None:
    """Raises InputError unless the file holds `count` tensors to its end, all of finite numbers.

    Of each tensor: two versions and a level of nesting (16 bytes, all 0; Paddle allocates by what they say), the size
    of its description, the description, its values.
    """
    from google.protobuf.message import DecodeError
    from paddle.base.proto import framework_pb2

    description, place, types = framework_pb2.VarType.TensorDesc(), 0, framework_pb2.VarType.Type
    try:
        content = np.memmap(file, np.uint8, "r")
        left = len(content)
        for _ in range(count):
            versions, size = struct.unpack("<16si", content[place : place + 20].tobytes())
            if any(versions):
                raise ValueError
            description.ParseFromString(content[place + 20 : place + 20 + size].tobytes())
            place += 20 + size
            dtype = types.Name(description.data_type).lower().replace("fp", "float")
            values = np.frombuffer(content, dtype, math.prod(description.dims), place)
            place += values.nbytes
            if not np.isfinite(values).all():
                raise InputError("a weight is not a finite number", str(file), _REMEDY)
        left -= place
    except (DecodeError, ValueError, TypeError, OSError, struct.error):
        left = -1
    if left != 0:
        raise InputError("these are not the weights of model.pdmodel, or not all of them", str(file), _REMEDY)


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turns whatever Paddle raises for a program that it cannot load or run into an InputError."""
    try:
        yield
    except (ErnieTinyError, MemoryError, ImportError):
        raise
    except Exception as error:  # its classes follow no rule: IndexError, OSError, RuntimeError, ValueError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        # OpenVINO begins with places in its source
        reason = next((line for line in lines if not line.startswith("Exception from ")), lines[0])[:200]
        raise InputError(f"the model cannot be loaded and run: {reason}", str(folder), _REMEDY) from error


def try_engine(engine: Engine, tokenizer: TextTokenizer, manifest: Manifest, folder: Path) -> None:
    """One forward pass over a row of the greatest length, with the last token of the vocabulary in it.

    Raises InputError if it has no place for such a row, or gives logits of another shape.
    """
    length = manifest.max_length_tokens
    ids = np.full((1, length), tokenizer.unk_id, dtype=np.int64)
    ids[0, 0], ids[0, 1], ids[0, -1] = tokenizer.cls_id, tokenizer.vocab_size - 1, tokenizer.sep_id
    with loading(folder):
        logits = engine(ids, np.zeros_like(ids))
    expected = (1, length, len(manifest.labels)) if manifest.kind.by_token else (1, len(manifest.labels))
    if logits.shape != expected:
        raise InputError(f"the model gives logits {logits.shape}, expected {expected}", str(folder), _REMEDY)


def require_finite(logits: np.ndarray, where: str) -> None:
    """Raises InputError for logits that are not all finite numbers, of which no answer can be made."""
    if not np.isfinite(logits).all():
        raise InputError("the model's output is not a finite number: its weights are damaged", where, _REMEDY)
