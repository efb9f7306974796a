"""The weights of a model folder: reading, checking, giving them to a model, and writing a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ..data.tokenization import WordPieceTokenizer
from ..distributed import is_main
from ..errors import InputError
from ..files import new_folder, sha256, write_json

ALLOW_PICKLE = "ERNIE_TINY_ALLOW_PICKLE"
CONFIG, WEIGHTS, PROJECTIONS = "config.json", "model.safetensors", "projections.safetensors"


def read_weights(folder: Path, trusted: bool = False) -> dict:
    """Name to array of a model folder: safetensors; PaddleNLP's `model_state.pdparams` only if the user trusts it.

    Reading a .pdparams file unpickles it, and a pickle runs whatever code its maker put into it. `trusted` is for
    what PaddleNLP itself has downloaded and read. Raises InputError for a pickle without the user's word for it.
    """
    safetensors_file, pdparams = folder / WEIGHTS, folder / "model_state.pdparams"
    if safetensors_file.is_file():
        return load_file(str(safetensors_file))
    if pdparams.is_file():
        if not trusted and os.environ.get(ALLOW_PICKLE) != "1":
            what = "these weights are a pickle, which can run any code when it is read"
            remedy = f"give the model as {WEIGHTS}, or set {ALLOW_PICKLE}=1 if you trust where the file comes from"
            raise InputError(what, str(pdparams), remedy)
        import paddle

        return paddle.load(str(pdparams), return_numpy=True)
    raise InputError(f"no weights ({WEIGHTS} or model_state.pdparams)", str(folder), "give a complete model folder")


def has_masked_lm_head(folder: Path) -> bool:
    """Does the folder hold the head that predicts words? Reads no weights of a safetensors file, only names."""
    file = folder / WEIGHTS
    names = safe_open(str(file), "np").keys() if file.is_file() else read_weights(folder)
    return any(name.startswith(("cls.", "lm_head.")) for name in names)


def model_fingerprint(folder: Path) -> str:
    """SHA-256 of what decides a model folder's answers: configuration, weights and vocabulary."""
    names = (CONFIG, "model_config.json", WEIGHTS, "model_state.pdparams", "vocab.txt")
    return sha256(*(folder / name for name in names if (folder / name).is_file()))


def set_weights(model: Any, weights: dict, where: str, optional: tuple[str, ...] = ("pooler",)) -> list[str]:
    """Gives a model its weights, or those of a bare encoder; returns what is missing and not `optional`.

    A weight that goes by several names may be given under any of them. What is optional and missing keeps its value.
    Raises InputError for a weight of another shape, or two values for one weight.
    """
    own, prefix = model.state_dict(), f"{model.base_model_prefix}."
    if not any(name.startswith(prefix) for name in weights):
        weights = {prefix + name: value for name, value in weights.items()}
    names_of: dict[int, list[str]] = {}
    for name, value in own.items():
        names_of.setdefault(id(value), []).append(name)
    missing, complete, remedy = [], {}, "config.json and the weights belong to different models"
    for names in names_of.values():
        given = [weights[name] for name in names if name in weights]
        if not given and not any(part in names[0] for part in optional):
            missing.append(names[0])
        for value in given:
            shape, wanted = list(value.shape), list(own[names[0]].shape)
            if shape != wanted:
                what = f"{names[0]} has shape {shape}, the configuration says {wanted}"
                remedy += ", or the task has another number of labels" if "classifier" in names[0] else ""
                raise InputError(what, where, remedy)
            if (value != given[0]).any():
                raise InputError(f"{' = '.join(names)} should be one weight, but the values differ", where, remedy)
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


def write_weights(weights: dict[str, np.ndarray], file: Path) -> None:
    """Writes a safetensors file with its folder's permissions for reading; safetensors lets its owner alone read it."""
    save_file(weights, str(file), metadata={"format": "np"})
    file.chmod(file.parent.stat().st_mode & 0o666)


def save_model(model: Any, tokenizer: WordPieceTokenizer, folder: Path, projections: dict | None = None) -> None:
    """Writes a PaddleNLP folder (config.json, model.safetensors, vocabulary), whole or not at all.

    Of several processes only the main one writes. `projections` are a student's width projections by name.
    """
    if not is_main():
        return
    model.config.architectures = [type(model).__name__]
    with new_folder(folder, marker=CONFIG) as temporary:
        model.config.save_pretrained(str(temporary))
        write_weights(to_numpy(model.state_dict()), temporary / WEIGHTS)
        tokenizer.save(temporary)
        family = type(model).__name__.split("For")[0].removesuffix("Model")
        special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
        options = {"do_lower_case": tokenizer.lowercase, "tokenizer_class": f"{family}Tokenizer", **special}
        write_json(temporary / "tokenizer_config.json", options)
        if projections:
            write_weights(projections, temporary / PROJECTIONS)
