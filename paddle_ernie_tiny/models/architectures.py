"""The table of architectures that are read and written: what transformers calls their weights, and what these are.

PaddleNLP and transformers (PyTorch) compute the same models under other names, and PyTorch keeps the weight of a linear
layer transposed. `build.py` and `weights.py` read this table, so that the rest need not know who wrote a folder;
`deploy/torch_folder.py` writes by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..kinds import KINDS, Kind
from ..text_rule import is_blank, refused_character

MASKED_LM = "ForMaskedLM"
SENTENCE_HEAD, TOKEN_HEAD = "ForSequenceClassification", "ForTokenClassification"
EMBEDDINGS, HEAD = "embeddings", "head"  # of int8: the parts of a model beside those of its encoder's layers
READING_HEAD, READING_LABELS = "ForQuestionAnswering", ["start", "end"]  # the token head with two outputs

_SEVERAL = "multi_label_classification"  # problem_type of a model that gives a row several labels

# of files that were converted from TensorFlow; and of PyTorch's readers, whose head PaddleNLP calls as the others
_OLDER_NAMES = ((".gamma", ".weight"), (".beta", ".bias"), ("qa_outputs.", "classifier."))
# Parts of names in PyTorch, and in PaddleNLP; each that fits is replaced, one after another, in either direction.
_NAMES = (
    ("encoder.layer.", "encoder.layers."),
    ("attention.self.query", "self_attn.q_proj"),
    ("attention.self.key", "self_attn.k_proj"),
    ("attention.self.value", "self_attn.v_proj"),
    ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "linear1"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
    ("embeddings.LayerNorm", "embeddings.layer_norm"),
    ("cls.predictions.transform.dense", "cls.predictions.transform"),
    ("cls.predictions.transform.LayerNorm", "cls.predictions.layer_norm"),
    ("cls.predictions.bias", "cls.predictions.decoder_bias"),
)
# Matrices that PyTorch and PaddleNLP keep in the same orientation: tables with a row per token, position or segment.
_TABLES = ("_embeddings.weight", "decoder.weight", "lm_head.weight")

# What transformers takes where config.json does not say it. Only these keys, and those of `_OPTIONAL`, are read of a
# configuration: others have no effect here (`dtype`, `gradient_checkpointing`), or change the form of the answers to
# tuples (`use_cache`, `output_hidden_states`, `output_attentions`, `return_dict`, `torchscript`).
_SIZES = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_DEFAULTS = {
    **_SIZES,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
}
_OPTIONAL = ("classifier_dropout", "dropout", "tie_word_embeddings", "pool_act", "cls_token_id", "task_id")
_ACTIVATIONS = ("gelu", "relu", "silu", "swish", "tanh")  # those that are the same function in both libraries
_BERT_LM = ("cls.predictions", "transform", "decoder_bias")
_RESTORE = "restore the model's own file"
_REFUSED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
# far more than any model has: a damaged number is found before a name is made for each of so many
_MOST_LAYERS, _MOST_LABELS = 1000, 1_000_000
_MAY_BE_NONE = ("pad_token_id", "num_hidden_layers")  # numbers that may be 0


@dataclass(frozen=True)
class Family:
    """A row of the table.

    classes: how PaddleNLP's classes begin. defaults: beside or in place of the common ones. pooler: does a sentence
    classifier read a pooler? If not, its head has a dense layer of its own. first_position: the position of the first
    token, None: the padding id + 1, as positions are counted in RoBERTa.
    """

    classes: str
    defaults: dict[str, Any] = field(default_factory=dict)
    pooler: bool = True
    first_position: int | None = 0


_ELECTRA = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "embedding_size": 128}
FAMILIES = {
    "bert": Family("Bert"),  # also MacBERT, MiniLM, and the Chinese RoBERTa, which is a BERT by its weights
    "ernie": Family("Ernie", {"task_type_vocab_size": 3, "use_task_id": False}),
    "roberta": Family("Roberta", {"pad_token_id": 1}, pooler=False, first_position=None),
    "electra": Family("Electra", _ELECTRA, pooler=False),
}


def family_of(architectures: list[str] | None) -> str | None:
    """The family of a configuration's first class name, such as "BertForMaskedLM"; None: none of the table."""
    name = (architectures or [""])[0].lower()
    return next((family for family in FAMILIES if name.startswith(family)), None)


def complete_config(config: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration with the defaults of its family, which is set as `model_type`; a reader's with the token head.

    Raises InputError for a family that is not in the table, or a property that would change the model's answers and
    that PaddleNLP's class does not have.
    """
    classes = config.get("architectures")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise InputError(f"architectures is {classes!r:.80}, no list of class names", where, _RESTORE)
    family = config.get("model_type") or family_of(classes)
    if not isinstance(family, str) or family not in FAMILIES:
        raise InputError(f"model type {family!r} is not supported", where, f"use one of: {', '.join(FAMILIES)}")
    given = {key: value for key, value in config.items() if value is not None}
    if classes and READING_HEAD in classes[0]:
        given["architectures"] = [classes[0].replace(READING_HEAD, TOKEN_HEAD), *classes[1:]]
        given |= {"id2label": dict(enumerate(READING_LABELS)), "label2id": None, "num_labels": 2}
    config = {**_DEFAULTS, **FAMILIES[family].defaults, **given, "model_type": family}
    for key, plain in _REFUSED.items():
        if config.get(key, plain) != plain:
            raise InputError(f"{key} is {config[key]!r}, only {plain!r} is supported", where, "use another model")
    if config["hidden_act"] not in _ACTIVATIONS:
        what = f"hidden_act is {config['hidden_act']!r}, supported are {', '.join(_ACTIVATIONS)}"
        raise InputError(what, where, "use another model")
    classifies = any(SENTENCE_HEAD in name for name in config.get("architectures") or ())
    if family == "electra" and classifies and config["hidden_act"] != "gelu":
        what = f"hidden_act is {config['hidden_act']!r}: its sentence head would not be the same function here"
        raise InputError(what, where, "use a model with hidden_act gelu")
    optional: dict[str, Any] = {key: 0.1 for key in ("classifier_dropout", "dropout") if key in given}
    for key, default in {**_DEFAULTS, **FAMILIES[family].defaults, **optional}.items():
        value, least = config[key], int(type(default) is int and key not in _MAY_BE_NONE)
        number = type(value) is int or (type(default) is not int and type(value) is float)
        most = _MOST_LAYERS if key == "num_hidden_layers" else 1 if key.endswith(("_prob", "dropout")) else math.inf
        fits = number and least <= value <= most and value != math.inf
        if type(default) in (int, float) and not fits:
            raise InputError(f"{key} is {value!r}, such as {default!r} is expected", where, _RESTORE)
    for key, of in (("hidden_size", "num_attention_heads"), ("vocab_size", "pad_token_id")):
        if config[key] % config[of] if key == "hidden_size" else config[of] >= config[key]:
            raise InputError(f"{key} {config[key]} does not go with {of} {config[of]}", where, _RESTORE)
    return config


def taken_values(config: dict[str, Any]) -> dict[str, Any]:
    """What PaddleNLP's configuration class is given of a complete configuration."""
    keys = {*_DEFAULTS, *FAMILIES[config["model_type"]].defaults, *_OPTIONAL}
    return {key: value for key, value in config.items() if key in keys}


def label_names(config: dict[str, Any], where: str, outputs: int = 2) -> list[str] | None:
    """The names of a configuration's labels, by id; None for a model without them.

    Understands a mapping, a list, `label2id` alone, and a classifier without any: both libraries leave a map out that
    is their default, LABEL_0 and so on; it has `outputs` of them if nothing says how many. Raises InputError for a map
    that cannot be read or does not name each output once.
    """
    names, ids = config.get("id2label"), config.get("label2id")
    try:
        if not names and ids:
            names = {number: name for name, number in ids.items()}
        if isinstance(names, dict):
            names = {int(key): name for key, name in names.items()}
            names = [names[place] for place in range(len(names))]
        count = int(config.get("num_labels") or config.get("num_classes") or outputs)
        if not 0 < count <= _MOST_LABELS:
            raise ValueError(count)
        names = [] if not names else [name if isinstance(name, str) else str(int(name)) for name in [*names]]
    except (AttributeError, LookupError, TypeError, ValueError):
        what = "the map of labels cannot be read: it does not name the outputs 0, 1, 2 ..."
        raise InputError(what, where, 'give id2label as {"0": "first", ...}') from None
    if names:
        check_label_names(names, where)
        return names
    heads = (SENTENCE_HEAD, TOKEN_HEAD)
    if not any(head in name for name in config.get("architectures") or () for head in heads):
        return None
    return default_labels(count)


def kind_of_model(config: dict[str, Any], head: str, labels: list[str]) -> Kind | None:
    """The kind of task of a model with this head, by the end of its class's name, and these labels; None: none.

    What a kind without labels calls its outputs (start and end) says that they are no labels; one output is a score.
    """
    fitting = [kind for kind in KINDS.values() if kind.head in head and is_of_kind(config, kind)]
    own = [kind for kind in fitting if not kind.has_labels and len(kind.outputs) == len(labels)]
    own = [kind for kind in own if len(labels) == 1 or list(kind.outputs) == labels]
    return next(iter([*own, *(kind for kind in fitting if kind.has_labels and len(labels) > 1)]), None)


def is_of_kind(config: dict[str, Any], kind: Kind) -> bool:
    """Do both, or neither, a model's configuration and a kind of task say that a row has several labels?"""
    return (config.get("problem_type") == _SEVERAL) == (kind.problem_type == _SEVERAL)


def check_label_names(names: list[str], where: str) -> None:
    """Raises InputError for a name that is given twice, is blank, or holds characters that no text may hold."""
    seen: set[str] = set()
    for place, name in enumerate(names):
        what = "an empty name" if is_blank(name) else refused_character(name)
        if what or name in seen:
            raise InputError(f"label {place} is {name!r:.80}: {what or 'a name twice'}", where, "name each output once")
        seen.add(name)


def default_labels(count: int) -> list[str]:
    """What both libraries call the labels of a classifier whose labels have no names."""
    return [f"LABEL_{i}" for i in range(count)]


def usable_positions(config: dict[str, Any]) -> int:
    """The longest row in tokens that a model has positions for."""
    first = FAMILIES[config["model_type"]].first_position
    return config["max_position_embeddings"] - (config["pad_token_id"] + 1 if first is None else first)


def check_room(config: dict[str, Any], lengths: dict[str, int], pairs: bool, folder: Path, segments: int = 2) -> None:
    """Raises InputError if rows of these lengths in tokens (by setting), or pairs of texts, have no embeddings.

    segments: how many token types the tokenizer gives a pair.
    """
    positions = usable_positions(config)
    for where, length in lengths.items():
        if length > positions:
            what = f"{length} is more than the model's {positions} positions ({folder})"
            raise InputError(what, where, f"use at most {positions}")
    if pairs and config["type_vocab_size"] < segments:
        what = "the task has pairs of texts, but the model has only one segment (type_vocab_size 1)"
        raise InputError(what, str(folder), "use a model with two segments, or write both texts into one column")


def expected_shapes(config: dict[str, Any], head: str = "", labels: int = 0) -> dict[str, list[int]]:
    """PaddleNLP's names (of the encoder without its prefix) and shapes of a model's weights.

    head: "" for the encoder alone, MASKED_LM, or a classifier's with `labels` outputs. The encoder's pooler is listed
    where the family has one.
    """
    family, hidden = FAMILIES[config["model_type"]], config["hidden_size"]
    own = {key: config[key] for key in family.defaults}
    width = own.get("embedding_size", hidden)
    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    if own.get("use_task_id"):
        tables["task_type"] = "task_type_vocab_size"
    shapes = {f"embeddings.{name}_embeddings.weight": [config[size], width] for name, size in tables.items()}

    def norm(name: str, size: int = hidden) -> None:
        shapes.update({f"{name}.weight": [size], f"{name}.bias": [size]})

    def linear(name: str, inputs: int = hidden, outputs: int = hidden) -> None:
        shapes.update({f"{name}.weight": [inputs, outputs], f"{name}.bias": [outputs]})

    norm("embeddings.layer_norm", width)
    if width != hidden:
        linear("embeddings_project", width)
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}")
        linear(f"{layer}.linear1", outputs=config["intermediate_size"])
        linear(f"{layer}.linear2", inputs=config["intermediate_size"])
        norm(f"{layer}.norm1")
        norm(f"{layer}.norm2")
    if family.pooler:
        linear("pooler.dense")
    if head == MASKED_LM:
        names = ("lm_head", "dense", "bias") if family.classes == "Roberta" else _BERT_LM
        linear(f"{names[0]}.{names[1]}")
        norm(f"{names[0]}.layer_norm")
        shapes[f"{names[0]}.{names[2]}"] = [config["vocab_size"]]
    elif head == SENTENCE_HEAD and not family.pooler:
        linear("classifier.dense")
        linear("classifier.out_proj", outputs=labels)
    elif head:
        linear("classifier", outputs=labels)
    return shapes


def in_paddle_terms(values: dict[str, Any], turn: Callable[[Any], Any], where: str) -> dict[str, Any]:
    """Arrays or shapes by name, with PaddleNLP's names and orientation; unchanged if they have them already.

    `turn` transposes a value. Raises InputError for weights of both libraries in one folder.
    """
    if not any(".layer." in name or "LayerNorm" in name for name in values):
        return values
    translated: dict[str, Any] = {}
    for name, value in values.items():
        own = _paddle_name(name)
        if own in translated or (own == name and ".layers." in name):
            raise InputError(f"{name} is there under two names", where, "give a folder as one library has saved it")
        translated[own] = turn(value) if own.endswith(".weight") and not own.endswith(_TABLES) else value
    return translated


def _paddle_name(name: str) -> str:
    for theirs, own in (*_OLDER_NAMES, *_NAMES):
        name = name.replace(theirs, own)
    return name


def in_torch_terms(values: dict[str, Any], turn: Callable[[Any], Any], prefix: str) -> dict[str, Any]:
    """Arrays or shapes under the names of `expected_shapes`, with PyTorch's names and orientation.

    The way back of `in_paddle_terms`. prefix: of the encoder's weights ("bert."), "" for the encoder alone.
    """
    translated = {}
    for name, value in values.items():
        theirs = prefix + name if name.startswith(("embeddings", "encoder.", "pooler.")) else name
        for torch, own in _NAMES:
            theirs = theirs.replace(own, torch)
        translated[theirs] = turn(value) if name.endswith(".weight") and not name.endswith(_TABLES) else value
    return translated


def torch_config(config: dict[str, Any], head: str, where: str) -> dict[str, Any]:
    """The configuration of transformers' class with this head that computes the same as PaddleNLP's.

    config: a complete one. Raises InputError for a property that only PaddleNLP's class has.
    """
    family, activation = config["model_type"], config["hidden_act"]
    if not config["num_hidden_layers"]:
        what = "a model without layers is the mean of its embeddings, and transformers has no such model"
        raise InputError(what, where, "serve it as a bundle (ernie-tiny export), or give the student layers")
    pooled = FAMILIES[family].pooler and head in ("", SENTENCE_HEAD)
    lacking = {
        "pool_act": config.get("pool_act", "tanh") != "tanh" and family == "bert" and pooled,
        "task_id": bool(config.get("task_id")) and bool(config.get("use_task_id")),
        "hidden_act": activation != "gelu" and family == "electra" and head == SENTENCE_HEAD,  # of its head
    }
    for key, is_lacking in lacking.items():
        if is_lacking:
            what = f"{key} is {config[key]!r}; transformers' {FAMILIES[family].classes} has no such property"
            raise InputError(what, where, "such a model cannot leave PaddleNLP with the same answers")
    taken = {key: value for key, value in taken_values(config).items() if key not in _OPTIONAL}
    if config.get("classifier_dropout") is not None:
        taken["classifier_dropout"] = config["classifier_dropout"]
    name = FAMILIES[family].classes + (head or "Model")
    return {"architectures": [name], "model_type": family, "position_embedding_type": "absolute", **taken}
