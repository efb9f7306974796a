"""The weights of a model folder: reading, checking, giving them to a model, and writing a folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from ..data.tokenization import WordPieceTokenizer
from ..distributed import is_main
from ..errors import InputError
from ..files import sha256

ALLOW_PICKLE = "ERNIE_TINY_ALLOW_PICKLE"


def read_weights(folder: Path, trusted: bool = False) -> dict:
    """Name to array of a model folder: safetensors; PaddleNLP's `model_state.pdparams` only where that is insisted on.

    Reading a .pdparams file unpickles it, and a pickle runs whatever code its maker put into it. `trusted` is for
    what PaddleNLP itself has downloaded and read. Raises InputError for a pickle without the user's word for it.
    """
    safetensors_file, pdparams = folder / "model.safetensors", folder / "model_state.pdparams"
    if safetensors_file.is_file():
        from safetensors.numpy import load_file

        return load_file(str(safetensors_file))
    if pdparams.is_file():
        if not trusted and os.environ.get(ALLOW_PICKLE) != "1":
            raise InputError(
                "these weights are a pickle, which can run any code when it is read",
                str(pdparams),
                f"give the model as model.safetensors, or set {ALLOW_PICKLE}=1 if you trust where the file comes from",
            )
        import paddle

        return paddle.load(str(pdparams), return_numpy=True)
    raise InputError(
        "no weights (model.safetensors or model_state.pdparams)", str(folder), "give a complete model folder"
    )


def has_masked_lm_head(folder: Path) -> bool:
    """Does the folder hold the head that predicts words? Reads no weights of a safetensors file, only names."""
    file = folder / "model.safetensors"
    if file.is_file():
        from safetensors import safe_open

        with safe_open(str(file), "np") as weights:
            names = list(weights.keys())
    else:
        names = list(read_weights(folder))
    return any(name.startswith(("cls.", "lm_head.")) for name in names)


def model_fingerprint(folder: Path) -> str:
    """SHA-256 of what decides a model folder's answers: configuration, weights and vocabulary."""
    names = ("config.json", "model_config.json", "model.safetensors", "model_state.pdparams", "vocab.txt")
    return sha256(*(folder / name for name in names if (folder / name).is_file()))


def with_prefix(state: dict, prefix: str) -> dict:
    """Weights of a bare encoder (`embeddings...`) under the names that they have inside a classifier."""
    if any(name.startswith(prefix) for name in state):
        return state
    return {prefix + name: value for name, value in state.items()}


def set_weights(model, weights: dict, where: str) -> list[str]:
    """Gives a model its weights; returns the names that are missing, the pooler's apart."""
    names_of, missing, complete = {}, [], {}
    own = model.state_dict()
    for name, value in own.items():
        names_of.setdefault(id(value), []).append(name)
    for names in names_of.values():
        given = [weights[name] for name in names if name in weights]
        if not given and "pooler" not in names[0]:
            missing.append(names[0])
        for value in given:
            if list(value.shape) != list(own[names[0]].shape) or (value != given[0]).any():
                raise InputError(
                    f"{' = '.join(names)} should be one weight of shape {list(own[names[0]].shape)}",
                    where,
                    "config.json and the weights belong to different models",
                )
        complete.update({name: given[0] for name in names if given})
    model.set_state_dict({**own, **complete})
    return missing


def load_state_strictly(layer, arrays: dict, where: str) -> None:
    """`set_state_dict` that raises: Paddle itself only warns and keeps the old weights."""
    own = layer.state_dict()
    missing = sorted(set(own) - set(arrays))
    unknown = sorted(set(arrays) - set(own))
    shapes = sorted(n for n in set(own) & set(arrays) if list(own[n].shape) != list(arrays[n].shape))
    if missing or unknown or shapes:
        raise InputError(
            f"weights do not fit: missing {missing[:3]}, unknown {unknown[:3]}, other shape {shapes[:3]}",
            where,
            "the file belongs to another model or configuration",
        )
    layer.set_state_dict(arrays)


def to_numpy(state: dict) -> dict:
    """Contiguous copies of a state dict's tensors."""
    import numpy as np

    return {name: np.ascontiguousarray(value.numpy()) for name, value in state.items()}


def save_model(model, tokenizer: WordPieceTokenizer, folder: Path, extra: dict | None = None) -> None:
    """Writes a PaddleNLP folder (config.json, model.safetensors, vocabulary) in one atomic step.

    Of several processes only the main one writes. `extra` maps a file name to the arrays of one more safetensors
    file, such as width projections.
    """
    from safetensors.numpy import save_file

    if not is_main():
        return
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(str(temporary))
    save_file(to_numpy(model.state_dict()), str(temporary / "model.safetensors"), metadata={"format": "np"})
    tokenizer.save(temporary)
    tokenizer_config = {
        "do_lower_case": tokenizer.lowercase,
        "tokenizer_class": f"{type(model).__name__.split('For')[0].removesuffix('Model')}Tokenizer",
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    (temporary / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1), encoding="utf-8")
    for name, arrays in (extra or {}).items():
        save_file(arrays, str(temporary / name))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
