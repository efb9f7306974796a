"""A model folder as transformers (PyTorch) loads it, written from a folder of any form that is read here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.text_tokenizer import TextTokenizer
from ..errors import InputError
from ..files import sync, write_json
from ..kinds import Kind
from ..models.architectures import (
    FAMILIES,
    MASKED_LM,
    READING_HEAD,
    READING_LABELS,
    SENTENCE_HEAD,
    TOKEN_HEAD,
    expected_shapes,
    in_torch_terms,
    kind_of_model,
    label_names,
    torch_config,
)
from ..models.build import check_model, head_outputs, load_tokenizer, plain_name, read_model_config
from ..models.weights import CONFIG, WEIGHTS, has_masked_lm_head, read_weights, write_tokenizer, write_weights

_POOLER = "pooler.dense"
_PRETRAINING = (MASKED_LM, "ForPretraining", "ForPreTraining")
_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


@dataclass(frozen=True)
class Leaving:
    """A model that is written for transformers.

    head: how its class ends, "" for the encoder alone. kind: of a classifier, whose labels are `labels`; None: of a
    masked language model or an encoder. config: complete, in the terms of this toolkit.
    """

    folder: Path
    config: dict[str, Any]
    head: str
    kind: Kind | None
    labels: list[str]
    tokenizer: TextTokenizer

    @property
    def family(self) -> str:
        """A row of `FAMILIES`."""
        return self.config["model_type"]

    @property
    def reads(self) -> bool:
        """Is it a reader, which transformers has a class for?"""
        return self.head == TOKEN_HEAD and self.labels == READING_LABELS

    @property
    def parameters(self) -> int:
        """Number of weights of transformers' class."""
        return sum(math.prod(shape) for shape in expected_shapes(self.config, self.head, len(self.labels)).values())


def read_leaving(folder: Path) -> Leaving:
    """A model folder, looked at but for the values of its weights.

    Raises InputError for a folder that is not complete, a head that transformers computes otherwise or that is none of
    this toolkit's, and a model that only PaddleNLP has.
    """
    config = read_model_config(folder)
    name = (config.get("architectures") or [""])[0]
    head = next((head for head in (SENTENCE_HEAD, TOKEN_HEAD) if head in name), "")
    if not head and "For" in name and not name.endswith(_PRETRAINING):
        remedy = f"give a model of a class ...{SENTENCE_HEAD}, ...{TOKEN_HEAD} or ...{MASKED_LM}, or an encoder"
        raise InputError(f"the head of {name} is not supported", str(folder), remedy)
    if not head and head_outputs(folder):
        what = "the weights hold a classifier, which `architectures` of config.json does not name"
        such = FAMILIES[config["model_type"]].classes + SENTENCE_HEAD
        raise InputError(what, str(folder), f"name its class there, such as {such}")
    labels = (label_names(config, str(folder), head_outputs(folder) or 2) or []) if head else []
    kind = kind_of_model(config, head, labels) if head else None
    if head and kind is None:
        what = f"{name} with {len(labels)} labels is no kind of task here"
        raise InputError(what, str(folder), "give a model of a task in `task.kind`")
    if not head and has_masked_lm_head(folder):
        head = MASKED_LM
    torch_config(config, head, str(folder / CONFIG))
    check_model(folder, head, len(labels), (_POOLER,) if kind is None or kind.unread else ())
    return Leaving(folder, config, head, kind, labels, load_tokenizer(folder))


def torch_weights(model: Leaving) -> dict[str, np.ndarray]:
    """The weights that transformers' class has, with its names and orientation, float32.

    A masked language model's decoder is tied, so it is not among them; nor is the pooler of a token classifier.
    Raises InputError for a decoder that is not tied.
    """
    given = {plain_name(name, model.family): value for name, value in read_weights(model.folder).items()}
    table = given["embeddings.word_embeddings.weight"]
    for name in ("cls.predictions.decoder.weight", "lm_head.decoder.weight"):
        if model.head == MASKED_LM and not np.array_equal(table, given.get(name, table)):
            what = f"{name} is not the table of word embeddings, which PaddleNLP's class takes in its place"
            raise InputError(what, str(model.folder), "give a model whose decoder is tied")
    wanted = set(expected_shapes(model.config, model.head, len(model.labels)))
    pooler = {name for name in given if name.startswith(_POOLER)}
    wanted = wanted - pooler if model.head == TOKEN_HEAD else wanted | pooler if not model.head else wanted
    weights = {name: value for name, value in given.items() if name in wanted}
    named = in_torch_terms(weights, lambda v: np.ascontiguousarray(v.T), f"{model.family}." if model.head else "")
    return {name.replace("classifier.", "qa_outputs."): v for name, v in named.items()} if model.reads else named


def write_torch_folder(model: Leaving, folder: Path, max_length_tokens: int) -> None:
    """Writes config.json, model.safetensors and the tokenizer's files into an empty folder, down to the disk.

    max_length_tokens: where transformers cuts a row if it is told to truncate.
    """
    config = torch_config(model.config, model.head, str(model.folder))
    if model.reads:
        config["architectures"] = [name.replace(TOKEN_HEAD, READING_HEAD) for name in config["architectures"]]
    if model.kind is not None:
        config["id2label"] = {str(place): label for place, label in enumerate(model.labels)}
        config["label2id"] = {label: place for place, label in enumerate(model.labels)}
        if model.head == SENTENCE_HEAD:
            config["problem_type"] = model.kind.problem_type
    write_json(folder / CONFIG, config)
    write_weights(torch_weights(model), folder / WEIGHTS, "pt")
    sync(folder / WEIGHTS)
    length = {"model_max_length": max_length_tokens, "model_input_names": _INPUTS, "padding_side": "right"}
    options = write_tokenizer(model.tokenizer, FAMILIES[model.family].classes, folder, **length)
    special = {key: value for key, value in options.items() if key.endswith(("_token", "_special_tokens"))}
    write_json(folder / "special_tokens_map.json", special)
