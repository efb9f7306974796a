"""Models that leave Paddle: folders as transformers saves them, and what is written of them for it."""

import json

import numpy as np

from paddle_ernie_tiny.data.tokenization import TextRules, WordPieceTokenizer
from paddle_ernie_tiny.deploy.torch_folder import read_leaving, write_torch_folder
from paddle_ernie_tiny.models.architectures import FAMILIES, MASKED_LM, SENTENCE_HEAD, TOKEN_HEAD, complete_config
from paddle_ernie_tiny.models.build import _new_model
from paddle_ernie_tiny.models.weights import save_model
from tests.torch_folders import SIZES, WORDS, roberta_folder, torch_folder, write

LABELS = ["差", "好", "不知道"]
PARTS = [
    (f, h) for f in FAMILIES for h in ("", SENTENCE_HEAD, TOKEN_HEAD, MASKED_LM) if (f, h) != ("electra", MASKED_LM)
]


def head_shapes(family, head):
    """Names and shapes in PyTorch's terms of what a head adds to the encoder; of sentences, see `torch_folder`."""
    if head == TOKEN_HEAD:
        return {"classifier.weight": (len(LABELS), 8), "classifier.bias": (len(LABELS),)}
    if head != MASKED_LM:
        return {}
    if family == "roberta":
        dense, norm, bias = "lm_head.dense", "lm_head.layer_norm", "lm_head.bias"
    else:
        transform = "cls.predictions.transform"
        dense, norm, bias = f"{transform}.dense", f"{transform}.LayerNorm", "cls.predictions.bias"
    shapes = {f"{dense}.weight": (8, 8), f"{dense}.bias": (8,), f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    return {**shapes, bias: (len(WORDS),)}


def theirs(folder, family, head):
    """A folder as transformers' class with this head saves it; its weights by name."""
    name = f"{FAMILIES[family].classes}{head or 'Model'}"
    names = {"id2label": dict(enumerate(LABELS))} if head in (SENTENCE_HEAD, TOKEN_HEAD) else {}
    labels = len(LABELS) if head == SENTENCE_HEAD else 0
    weights = torch_folder(folder, family, labels, architectures=[name], **names)
    if head == TOKEN_HEAD:
        weights = {name: value for name, value in weights.items() if "pooler" not in name}
    if not head:
        weights = {name.removeprefix(f"{family}."): value for name, value in weights.items()}
    rng = np.random.default_rng(3)
    for name, shape in head_shapes(family, head).items():
        weights[name] = rng.normal(0, 0.4, shape).astype(np.float32)
    write(folder, weights)
    return weights


def changed(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")


def byte_level_roberta(folder):
    """A sentence classifier with a byte-level tokenizer that has an added word; its weights by name."""
    own = {"max_position_embeddings": 66, "id2label": dict(enumerate(LABELS))}
    return roberta_folder(folder, 3, ["newword"], architectures=["RobertaForSequenceClassification"], **own)


def written(folder, out, length=16):
    out.mkdir()
    write_torch_folder(read_leaving(folder), out, length)
    return out


RULES = {
    "ours": TextRules(),
    "cased": TextRules(False),
    "BERT's": TextRules(bert=True, strip_accents=False),
    "more special tokens": TextRules(special=("[E1]",)),
}
TEXTS = ["Apples😀 天地", "[E1]a5[SEP] 玄 b", "", "É\u0301a\u200b"]


def folders_of(rules, tmp_path):
    """The tokenizer with these rules, saved in final/, bundle/ and hf/ as a run, its bundle and export-hf have it."""
    words = [*WORDS, "apple", "##s", "a", "5", "😀", *RULES[rules].special]
    tokenizer = WordPieceTokenizer(words, rules=RULES[rules])
    model = _new_model(complete_config({"model_type": "bert", **SIZES, "vocab_size": len(words)}, ""), "Model")
    save_model(model, tokenizer, tmp_path / "final")
    tokenizer.save(tmp_path / "bundle")
    written(tmp_path / "final", tmp_path / "hf")
    return tokenizer
