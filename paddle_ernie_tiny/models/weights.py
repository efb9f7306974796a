"""The weights of a model folder: reading, checking, giving them to a model, and writing a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ..data.text_tokenizer import TextTokenizer
from ..distributed import is_main
from ..errors import InputError
from ..files import known_sha256, new_folder, read_json, write_json
from .architectures import in_paddle_terms

ALLOW_PICKLE = "ERNIE_TINY_ALLOW_PICKLE"
CONFIG, WEIGHTS, PROJECTIONS = "config.json", "model.safetensors", "projections.safetensors"


_INDEX, _PDPARAMS, _TORCH = f"{WEIGHTS}.index.json", "model_state.pdparams", "pytorch_model.bin"
# what `read_tokenizer` may read of a folder
TOKENIZER_FILES = (
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
_FLOATS = ("F64", "F32", "F16", "BF16")


def read_weights(folder: Path, trusted: bool = False) -> dict[str, np.ndarray]:
    """Name to array (float32) of a model folder of PaddleNLP or transformers, in PaddleNLP's names and orientation.

    Reads safetensors, in one file or in several with an index; `model_state.pdparams` and `pytorch_model.bin` only if
    the user trusts them: reading them unpickles, and a pickle runs whatever code its maker put into it. `trusted` is
    for what PaddleNLP itself has downloaded and read. Raises InputError for a pickle without the user's word for it,
    and for files that are missing, damaged or of another kind.
    """
    values: dict[str, np.ndarray] = {}
    files = _weight_files(folder)
    for file in files:
        values |= _read_safetensors(file)
    values = values if files else _read_pickle(folder, trusted)
    return in_paddle_terms(values, lambda value: np.ascontiguousarray(value.T), str(folder))


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """Name to shape, as `read_weights` names and turns them, from the files' headers alone. Raises as it does."""
    shapes: dict[str, list[int]] = {}
    files = _weight_files(folder)
    for file in files:
        shapes |= {name: shape for name, (_, shape) in _header(file).items()}
    if not files:
        shapes = {name: list(value.shape) for name, value in _read_pickle(folder).items()}
    return in_paddle_terms(shapes, lambda shape: shape[::-1], str(folder))


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; none: it has no such file."""
    index = folder / _INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return [folder / WEIGHTS] * (folder / WEIGHTS).is_file()
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise InputError("the index of the weights cannot be read", str(index), "restore the model's own file")
    files = [folder / Path(name).name for name in sorted(set(names.values()))]
    lacking = [file.name for file in files if not file.is_file()]
    if lacking:
        raise InputError(f"files of the weights are missing: {', '.join(lacking)}", str(index), "copy all files")
    return files


def _header(file: Path) -> dict[str, tuple[str, list[int]]]:
    """Data type and shape of a file's weights; counters and masks, which are no numbers of a kind, are left out."""
    try:
        with safe_open(str(file), "np") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  it is no mapping
            found = {name: (part.get_dtype(), list(part.get_shape())) for name, part in parts.items()}
    except (SafetensorError, OSError) as error:
        what = f"these weights cannot be read: {error}"
        raise InputError(what, str(file), "copy the file again: it is cut off or damaged") from None
    for name, (dtype, _) in found.items():
        if dtype.startswith(("F", "BF")) and dtype not in _FLOATS:
            what = f"{name} is of type {dtype}, supported are {', '.join(_FLOATS)}"
            raise InputError(what, str(file), "give the weights in float32, float16 or bfloat16")
    return {name: value for name, value in found.items() if value[0] in _FLOATS}


def _read_safetensors(file: Path) -> dict[str, np.ndarray]:
    values, header = {}, _header(file)
    with safe_open(str(file), "np") as opened:
        for name, (dtype, _) in header.items():
            if dtype != "BF16":
                values[name] = opened.get_tensor(name).astype(np.float32, copy=False)
    if len(values) < len(header):
        with open(file, "rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            entries = json.loads(stream.read(size))
            for name in header.keys() - values.keys():
                start, end = entries[name]["data_offsets"]
                stream.seek(8 + size + start)
                values[name] = _widened(np.frombuffer(stream.read(end - start), "<u2")).reshape(header[name][1])
    return values


def _widened(values: np.ndarray) -> np.ndarray:
    """bfloat16, which NumPy does not have, as float32: it is the upper half of one."""
    return (values.astype("<u4") << 16).view("<f4")


def _read_pickle(folder: Path, trusted: bool = False) -> dict[str, np.ndarray]:
    pickles = [folder / name for name in (_PDPARAMS, _TORCH) if (folder / name).is_file()]
    if not pickles:
        parts = sorted(path.name for path in folder.glob("pytorch_model*"))
        what = f"no weights ({WEIGHTS} or {_PDPARAMS})" + (f", but {parts[0]} of PyTorch" if parts else "")
        remedy = "save it with transformers: model.save_pretrained(folder, safe_serialization=True)"
        raise InputError(what, str(folder), remedy if parts else "give a complete model folder")
    file = pickles[0]
    if not trusted and os.environ.get(ALLOW_PICKLE) != "1":
        what = "these weights are a pickle, which can run any code when it is read"
        library = "transformers (PyTorch)" if file.name == _TORCH else "PaddleNLP"
        remedy = f"give the model as {WEIGHTS}: load it with {library} where you trust it, and call "
        remedy += f"model.save_pretrained(folder, safe_serialization=True); or set {ALLOW_PICKLE}=1 if you trust "
        raise InputError(what, str(file), remedy + "where the file comes from")
    try:
        if file.name == _TORCH:
            from paddlenlp.utils.serialization import load_torch

            values = load_torch(str(file))
        else:
            import paddle

            values = paddle.load(str(file), return_numpy=True)
        arrays = {name: np.asarray(value) for name, value in values.items()}
    except Exception as error:  # whatever a pickle that is damaged, or of something else, makes of it
        what = f"these weights cannot be read: {type(error).__name__}: {str(error)[:200]}"
        raise InputError(what, str(file), f"give the model as {WEIGHTS}") from error
    floats = {name: _widened(value) if value.dtype == np.uint16 else value for name, value in arrays.items()}
    return {name: value.astype(np.float32, copy=False) for name, value in floats.items() if value.dtype.kind == "f"}


def has_masked_lm_head(folder: Path) -> bool:
    """Does the folder hold the head that predicts words? Reads no weights of a safetensors file, only names."""
    return any(name.startswith(("cls.predictions.", "lm_head.")) for name in weight_shapes(folder))


def model_fingerprint(folder: Path) -> str:
    """SHA-256 of what decides a model folder's answers: configuration, weights and tokenizer."""
    weights = [file.name for file in _weight_files(folder)] or [_PDPARAMS, _TORCH]
    names = (CONFIG, "model_config.json", *weights, *TOKENIZER_FILES)
    return known_sha256(*(folder / name for name in names if (folder / name).is_file()))


def missing_weights(
    given: dict[str, list[int]], wanted: dict[str, list[int]], where: str, optional: Iterable[str] = ("pooler",)
) -> list[str]:
    """Names of `wanted` that are not given and not `optional` (parts of names). Raises InputError for other shapes."""
    for name in wanted:
        _require_shape(name, given.get(name, wanted[name]), wanted[name], where)
    return [name for name in wanted if name not in given and not any(part in name for part in optional)]


def _require_shape(name: str, shape: list[int], wanted: list[int], where: str) -> None:
    if shape != wanted:
        remedy = "config.json and the weights belong to different models"
        remedy += ", or the task has another number of labels" if "classifier" in name else ""
        raise InputError(f"{name} has shape {shape}, the configuration says {wanted}", where, remedy)


def set_weights(model: Any, weights: dict, where: str, optional: tuple[str, ...] = ("pooler",)) -> list[str]:
    """Gives a model its weights, or those of a bare encoder; returns what is missing and not `optional`.

    A weight that goes by several names may be given under any of them. What is optional and missing keeps its value.
    Raises InputError for a weight of another shape, or two values for one weight.
    """
    own, prefix = model.state_dict(), f"{model.base_model_prefix}."
    plain = [name for name in weights if name not in own and not name.startswith(prefix)]  # of a bare encoder
    weights = {**weights, **{prefix + name: weights[name] for name in plain}}
    names_of: dict[int, list[str]] = {}
    for name, value in own.items():
        names_of.setdefault(id(value), []).append(name)
    missing, complete = [], {}
    for names in names_of.values():
        given = [weights[name] for name in names if name in weights]
        if not given and not any(part in names[0] for part in optional):
            missing.append(names[0])
        for value in given:
            _require_shape(names[0], list(value.shape), list(own[names[0]].shape), where)
            if (value != given[0]).any():
                what = f"{' = '.join(names)} should be one weight, but the values differ"
                raise InputError(what, where, "config.json and the weights belong to different models")
        complete.update({name: given[0] for name in names if given})
    model.set_state_dict({**own, **complete})
    return missing


def load_state_strictly(layer: Any, file: Path) -> None:
    """`set_state_dict` from a file that raises InputError: Paddle itself only warns and keeps the old weights."""
    own, arrays = layer.state_dict(), load_file(str(file))
    missing, unknown = sorted(set(own) - set(arrays)), sorted(set(arrays) - set(own))
    shapes = sorted(n for n in set(own) & set(arrays) if list(own[n].shape) != list(arrays[n].shape))
    if missing or unknown or shapes:
        what = f"weights do not fit: missing {missing[:3]}, unknown {unknown[:3]}, other shape {shapes[:3]}"
        raise InputError(what, str(file), "the file belongs to another model or configuration")
    layer.set_state_dict(arrays)


def to_numpy(state: dict) -> dict:
    """Contiguous copies of a state dict's tensors."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in state.items()}


def write_weights(weights: dict[str, np.ndarray], file: Path, library: str = "np") -> None:
    """Writes a safetensors file with its folder's permissions for reading; safetensors lets its owner alone read it.

    library: what transformers asks the file for, "pt" for weights in PyTorch's terms.
    """
    save_file(weights, str(file), metadata={"format": library})
    file.chmod(file.parent.stat().st_mode & 0o666)


def save_model(model: Any, tokenizer: TextTokenizer, folder: Path, projections: dict | None = None) -> None:
    """Writes a PaddleNLP folder (config.json, model.safetensors, vocabulary), whole or not at all.

    Of several processes only the main one writes. `projections` are a student's width projections by name.
    """
    if not is_main():
        return
    model.config.architectures = [type(model).__name__]
    with new_folder(folder, marker=CONFIG) as temporary:
        model.config.save_pretrained(str(temporary))
        write_weights(to_numpy(model.state_dict()), temporary / WEIGHTS)
        write_tokenizer(tokenizer, type(model).__name__.split("For")[0].removesuffix("Model"), temporary)
        if projections:
            write_weights(projections, temporary / PROJECTIONS)


def write_tokenizer(tokenizer: TextTokenizer, classes: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Writes a tokenizer's files, for this toolkit, PaddleNLP and transformers; returns tokenizer_config.json.

    classes: how PaddleNLP's class begins ("Bert"). more: further keys of that file. transformers is told to take
    `tokenizer.json` as it is: its own classes would cut words by rules of their own.
    """
    tokenizer.save(folder)
    options = tokenizer.options(classes)
    names = {"init_class": options.get("init_class", options["tokenizer_class"])}
    options |= {**names, "tokenizer_class": "PreTrainedTokenizerFast", **more}
    write_json(folder / "tokenizer_config.json", options)
    return options
