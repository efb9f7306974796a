"""Vocabulary pruning: a model folder with only the tokens that a corpus uses, and a reserve.

Exact on the corpus: WordPiece takes the longest piece that the vocabulary has, and with fewer pieces the one that it
took before is still the longest, so a text whose pieces are all kept is cut as before and has the same logits. In
other texts a word that needs a dropped piece is cut into shorter ones, or becomes [UNK]. Of byte pairs, what the merges
make on the way to a kept token is kept too, so the same holds.
"""

from __future__ import annotations

import shutil
import string
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from ..data.text_tokenizer import TextTokenizer
from ..errors import InputError
from ..files import new_folder, require_replaceable, write_json
from .architectures import FAMILIES
from .build import load_tokenizer, read_model_config
from .weights import CONFIG, PROJECTIONS, WEIGHTS, read_weights, write_tokenizer, write_weights

_LINES = 2000  # tokenised at a time
# Arrays with a row (or an entry) per token: the embeddings, and the head that predicts tokens.
_BY_TOKEN = ("word_embeddings", "decoder", "lm_head.bias")


def prune_vocabulary(model: Path, out: Path, lines: Iterable[str], keep: int = 0) -> dict[str, int]:
    """Writes the model folder `out` with the tokens of `lines` and a reserve (`kept_tokens`); ids keep their order.

    Returns what `write_pruned` does, and "tokens_used". Raises InputError as it does, and for a corpus that is empty.
    """
    require_replaceable(out, marker=None)
    tokenizer = load_tokenizer(model)
    used = used_tokens(tokenizer, lines)
    if not used.any():
        raise InputError("no text in the corpus", "corpus", "give text files, one passage per line")
    return {**write_pruned(model, out, kept_tokens(tokenizer, used, keep)), "tokens_used": int(used.sum())}


def used_tokens(tokenizer: TextTokenizer, lines: Iterable[str]) -> np.ndarray:
    """Which tokens occur in texts: bool [vocabulary]."""
    used, rest = np.zeros(tokenizer.vocab_size, dtype=bool), iter(lines)
    while batch := list(islice(rest, _LINES)):
        for ids in tokenizer.encode_plain(batch):
            used[ids] = True
    return used


def kept_tokens(tokenizer: TextTokenizer, used: np.ndarray, keep: int = 0) -> np.ndarray:
    """The ids that stay, int64, rising: those that are used (bool [vocabulary]), and the reserve.

    The reserve: special tokens; single ASCII characters, also as later pieces of words (`##a`), so that Latin words
    and numbers stay readable; and the first `keep` others in the vocabulary's order.
    """
    ascii_characters = set(string.digits + string.ascii_letters + string.punctuation)
    reserve = {*tokenizer.never_cut, *ascii_characters, *(f"##{c}" for c in ascii_characters)}
    chosen = used | np.array([token in reserve for token in tokenizer.tokens])
    chosen[np.flatnonzero(~chosen)[:keep]] = True
    return np.array(sorted(tokenizer.needed(set(np.flatnonzero(chosen).tolist()))))


def check_positions(family: str, tokenizer: TextTokenizer, kept: np.ndarray, where: str) -> None:
    """Raises InputError if the padding token would get another id in a family that counts positions from it."""
    if FAMILIES[family].first_position is None and (kept < tokenizer.pad_id).sum() != tokenizer.pad_id:
        what = "tokens before the padding one would go, and positions are counted from its id"
        raise InputError(what, where, f"keep at least {tokenizer.pad_id} more tokens")


def write_pruned(model: Path, out: Path, kept: np.ndarray) -> dict[str, int]:
    """Writes the model folder `out` with the tokens of `model` whose ids `kept` names (as `kept_tokens` gives them).

    Returns tokens and parameters before and after (the head that predicts tokens does not count). Raises InputError
    when `out` exists with something in it, or the model is none whose vocabulary can be pruned so.
    """
    tokenizer, config = load_tokenizer(model), read_model_config(model)
    weights = read_weights(model)
    pruned = {name: _prune(name, value, config["vocab_size"], kept, model) for name, value in weights.items()}
    if all(pruned[name] is weights[name] for name in weights):
        raise InputError("no word embeddings among the weights", str(model), f"give a model of: {', '.join(FAMILIES)}")
    check_positions(config["model_type"], tokenizer, kept, str(model))
    new_id = {int(old): new for new, old in enumerate(kept)}
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            config[key] = new_id.get(value, value)
    with new_folder(out) as temporary:
        write_json(temporary / CONFIG, {**config, "vocab_size": len(kept)})
        write_weights(pruned, temporary / WEIGHTS)
        write_tokenizer(tokenizer.keep(kept.tolist()), FAMILIES[config["model_type"]].classes, temporary)
        if (model / PROJECTIONS).is_file():
            shutil.copy2(model / PROJECTIONS, temporary / PROJECTIONS)
    return {
        "tokens_before": tokenizer.vocab_size,
        "tokens_after": len(kept),
        "parameters_before": _parameters(weights),
        "parameters_after": _parameters(pruned),
    }


def _prune(name: str, value: np.ndarray, rows: int, kept: np.ndarray, where: Path) -> np.ndarray:
    if not any(part in name for part in _BY_TOKEN):
        return value
    axes = [axis for axis, size in enumerate(value.shape) if size == rows]
    if not axes:
        what = f"{name} has shape {list(value.shape)}, the configuration's vocabulary {rows} tokens"
        raise InputError(what, str(where), "config.json and the weights belong to different models")
    return np.ascontiguousarray(value.take(kept, axis=axes[0]))


def _parameters(weights: dict) -> int:
    return sum(int(value.size) for name, value in weights.items() if not name.startswith(("cls.", "lm_head.")))
