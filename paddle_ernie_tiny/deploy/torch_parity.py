"""The gate of a folder for transformers: the same token ids, logits and labels as here, or the folder is not kept."""

from __future__ import annotations

import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..data.rows import EncodedRows
from ..errors import ErnieTinyError, GateError, InputError
from ..files import at
from ..models.architectures import MASKED_LM
from ..models.build import load_classifier, load_encoder, load_masked_lm
from ..processes import run_python
from .parity import parity_of, require_parity
from .torch_answers import CANNOT_IMPORT
from .torch_folder import Leaving

_PROGRAM = Path(__file__).with_name("torch_answers.py")
_NEEDED = ("torch", "transformers")
_SAMPLES = (
    "The room was spacious, and the breakfast was very good!",
    "房间很宽敞，不过隔音太差。早餐丰富，服务員很好！",
    "Apple😀 2026№5 costs 100% of a naïve café's €3.50",
    "ＡＢＣ１２３ ｶﾀｶﾅ Straße İstanbul ΑΣ 𠀀",
    "zero\u200bwidth\ttab\nline \u3000 end",
    "",
)
_WIDE_ROWS = 32  # of outputs that are as wide as a vocabulary: at most so many rows of a file


def torch_python(python: str | None) -> str | None:
    """The interpreter that has torch and transformers: the one given, or this one; None: there is none."""
    return python or (sys.executable if all(find_spec(name) for name in _NEEDED) else None)


def sample_rows(model: Leaving) -> list[list[str]]:
    """Rows that try a tokenizer: scripts, symbols, special tokens, its own words, a text that is too long, pairs."""
    tokenizer = model.tokenizer
    uncut = sorted(tokenizer.never_cut)
    words = [piece for piece in tokenizer.pieces if piece and not piece.startswith("##") and piece not in uncut]
    own = [" ".join(words[start :: len(words) // 12 + 1]) for start in range(0, len(words), len(words) // 4 + 1)]
    uncut.remove(tokenizer.tokens[tokenizer.pad_id])
    own += [" ".join(uncut[:20]), "天".join(uncut[:20]), " ".join(uncut[:20]).swapcase()]
    texts = [*_SAMPLES, *own]
    rows = [[text] for text in texts]
    if model.config["type_vocab_size"] >= tokenizer.segments:
        rows += [list(pair) for pair in zip(texts, texts[::-1], strict=True)]
    return [*rows, [" ".join(words) + " 长" * model.config["max_position_embeddings"]]]


def compare(
    model: Leaving,
    folder: Path,
    out: Path,
    python: str,
    rows: list[list[str]],
    max_length_tokens: int,
    tolerance: float,
) -> dict[str, Any]:
    """How far transformers' answers to rows of one or two texts are from ours; rows of `sample_rows` come on top.

    folder: as written, which becomes `out` later. Two kinds of rows are left out: pairs that have to be cut
    (transformers may keep one token more of the second text, and one less of the first), and texts with the padding
    token in them (its embedding is 0 in Paddle). Raises GateError if token ids or labels differ, logits by
    more than the tolerance, or transformers does not take the folder's weights; InputError for an interpreter without
    torch.
    """
    rows = [*sample_rows(model), *(rows[:_WIDE_ROWS] if model.kind is None else rows)]
    kept, ids, types = [], [], []
    for row in rows:
        second = None if len(row) == 1 else row[1:]
        encoded = model.tokenizer.encode(row[:1], second, max_length_tokens)
        if model.tokenizer.pad_id not in encoded.input_ids[0] and (second is None or not encoded.truncated):
            kept.append(row)
            ids += encoded.input_ids
            types += encoded.token_type_ids
    theirs, about = _their_answers(folder, out, python, kept)
    strange = about["missing_keys"] + about["unexpected_keys"]
    if model.kind is None:  # nothing here reads its pooler, which may be missing
        strange = [name for name in strange if "pooler" not in name]
    if strange:
        what = f"transformers' weights are not those of the folder: {', '.join(strange[:5])}; nothing was written"
        raise GateError(what, str(out), "report this, with the model's config.json")
    for row, own, (other, _) in zip(kept, ids, theirs, strict=True):
        if own != other.tolist():
            what = f"the token ids of {row!r:.200} are {own[:20]} here and {other.tolist()[:20]} in transformers"
            raise GateError(f"{what}; nothing was written", str(out), "report this text and the vocabulary")
    outputs = _own_answers(model, EncodedRows(ids, types))
    parity = parity_of([output for _, output in theirs], outputs, tolerance, model.kind)
    require_parity(parity, out, "transformers and PaddleNLP", "written")
    if model.kind is None or not model.kind.has_labels:
        parity["label_agreement"] = None
    elif parity["label_agreement"] < 1:
        what = f"only {parity['label_agreement']:.4f} of the labels are the same in transformers; nothing was written"
        raise GateError(what, str(out), "give other rows: two labels of such a row have nearly the same logit")
    return {**parity, "torch": about["torch"], "transformers": about["transformers"]}


def _their_answers(
    folder: Path, out: Path, python: str, rows: list[list[str]]
) -> tuple[list[tuple[Any, Any]], dict[str, Any]]:
    """Each row's token ids and outputs [answers, width] of transformers, and what it says of the folder."""
    with tempfile.TemporaryDirectory(prefix="ernie-tiny-") as name:
        asked, answered = Path(name) / "rows.json", Path(name) / "answers.npz"
        with at(out):
            asked.write_text(json.dumps(rows), encoding="utf-8")
        done = run_python(python, _PROGRAM, str(folder.absolute()), str(asked), str(answered), folder=Path(name))
        if done.returncode == CANNOT_IMPORT:
            remedy = "install torch and transformers there, or give another one with --python"
            raise InputError(done.stderr.strip().splitlines()[-1], python, remedy)
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-20:]) or "no output"
            raise ErnieTinyError(f"transformers did not read the folder; its last output:\n{last}", str(out))
        with np.load(answered) as file:
            answers = [(file[f"{row}.ids"], file[f"{row}.output"]) for row in range(len(rows))]
            return answers, json.loads(str(file["about"]))


def _own_answers(model: Leaving, rows: EncodedRows) -> list[np.ndarray]:
    """Each row's outputs [answers, width] of PaddleNLP's model: one answer, or one per token."""
    import paddle

    from ..training.batches import input_batches

    paddle.set_device("cpu")
    if model.kind is not None:
        network = load_classifier(model.folder, model.labels, model.kind)
    else:
        network = load_masked_lm(model.folder) if model.head == MASKED_LM else load_encoder(model.folder)
    network.eval()
    outputs: list[np.ndarray] = [np.empty(0)] * len(rows)
    with paddle.no_grad():
        for indices, inputs in input_batches(rows, model.tokenizer.pad_id, 16):
            given = network(**inputs)
            given = given[0] if isinstance(given, (tuple, list)) else given
            for index, output in zip(indices, given.numpy(), strict=True):
                outputs[index] = output[: len(rows.input_ids[index])] if output.ndim == 2 else output[None]
    return outputs
