"""Builds teachers and students from PaddleNLP: by name, from a local folder, or from a size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..config import ModelShape
from ..data.tokenization import WordPieceTokenizer
from ..errors import InputError
from ..kinds import KINDS, Kind
from .weights import CONFIG, read_weights, save_model, set_weights

# Families whose encoder PaddleNLP builds alike (`encoder.layers[i].self_attn.{q,k,v}_proj`).
FAMILIES = {"bert": "Bert", "ernie": "Ernie", "roberta": "Roberta"}
_CLASSES = KINDS["classification"]


def resolve_model(name_or_folder: str) -> Path:
    """The local folder of a model; a PaddleNLP name is downloaded into PaddleNLP's own cache.

    Raises InputError when it is neither a folder nor a name that PaddleNLP can resolve.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        if not (folder / CONFIG).is_file() and not (folder / "model_config.json").is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
            what = f"the folder holds no config.json (found: {found})"
            raise InputError(what, str(folder), "give a PaddleNLP model folder")
        return folder
    if name_or_folder.startswith((".", "/", "~")) or name_or_folder.count("/") > 1:
        raise InputError("no such model folder", name_or_folder, "check the path of teacher.model")
    return _download(name_or_folder)


def _download(name: str) -> Path:
    """Lets PaddleNLP fetch a model by name, and keeps it as a folder of the one layout that is read here.

    PaddleNLP's cache holds built-in models without a config.json and with vocabulary files under many names.
    """
    from paddlenlp.transformers import AutoModel, AutoTokenizer
    from paddlenlp.utils.env import MODEL_HOME
    from paddlenlp.utils.log import logger

    logger.set_level("WARNING")
    target = Path(MODEL_HOME) / "paddle_ernie_tiny" / name.replace("/", "--")
    if (target / CONFIG).is_file():
        return target
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name)
    except Exception as error:  # PaddleNLP raises many kinds here: network, unknown name, bad archive
        what = f"PaddleNLP could not load the model: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise InputError(what, name, "check the name and the network, or give a local folder") from error
    family = _family_of([type(model).__name__])
    if family is None:
        raise InputError(f"{type(model).__name__} is not supported", name, f"use a model of: {', '.join(FAMILIES)}")
    vocabulary = WordPieceTokenizer.from_vocab_file(
        tokenizer.init_kwargs["vocab_file"], lowercase=tokenizer.init_kwargs.get("do_lower_case", True)
    )
    model.config.model_type = family
    save_model(_with_its_head(model, name), vocabulary, target)
    return target


def _with_its_head(encoder, name: str):
    """The masked LM around a downloaded encoder, if PaddleNLP's cache holds its head; else the encoder alone."""
    from paddlenlp.utils.env import MODEL_HOME

    try:
        weights = read_weights(Path(MODEL_HOME) / name, trusted=True)
    except InputError:  # weights in several files: what PaddleNLP has read of them is the encoder
        return encoder
    model = _new_model(encoder.config.to_dict(), MASKED_LM)
    return encoder if set_weights(model, weights, name) else model


def read_model_config(folder: Path) -> dict:
    """The folder's configuration as a mapping; also reads PaddleNLP's older `model_config.json`."""
    path = folder / CONFIG
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
    else:
        from paddlenlp.transformers import AutoConfig

        config = AutoConfig.from_pretrained(str(folder)).to_dict()
    family = config.get("model_type") or _family_of(config.get("architectures"))
    if family not in FAMILIES:
        raise InputError(f"model type {family!r} is not supported", str(path), f"use one of: {', '.join(FAMILIES)}")
    config["model_type"] = family
    return config


def _family_of(architectures: list[str] | None) -> str | None:
    name = (architectures or [""])[0].lower()
    return next((family for family in sorted(FAMILIES, key=len, reverse=True) if name.startswith(family)), None)


def load_tokenizer(folder: Path) -> WordPieceTokenizer:
    """The folder's word-piece tokenizer, checked against the size of the model's embedding table."""
    tokenizer = WordPieceTokenizer.from_folder(folder)
    rows = read_model_config(folder).get("vocab_size")
    if rows is not None and tokenizer.vocab_size > rows:
        what = f"the vocabulary has {tokenizer.vocab_size} tokens, the model's embedding only {rows}"
        raise InputError(what, str(folder), "vocab.txt and the weights belong to different models")
    return tokenizer


MASKED_LM = "ForMaskedLM"
# Not taken over from a folder's config.json: what is given again for the task, and what changes the form in which a
# model answers (tuples instead of tensors).
_NOT_TAKEN = {"model_type", "id2label", "label2id", "num_labels", "num_classes", "architectures", "paddlenlp_version"}
_NOT_TAKEN |= {"use_cache", "output_hidden_states", "output_attentions", "return_dict", "torchscript"}


def _new_model(values: dict, head: str, labels: list[str] | None = None, **changes):
    """A PaddleNLP model with random weights, from a configuration as a mapping."""
    from paddlenlp import transformers as nlp

    prefix = FAMILIES[values["model_type"]]
    values = {**{key: value for key, value in values.items() if key not in _NOT_TAKEN}, **changes}
    if labels is not None:
        ids = {name: index for index, name in enumerate(labels)}
        values |= {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": ids}
    return getattr(nlp, prefix + head)(getattr(nlp, f"{prefix}Config")(**values))


def load_classifier(
    folder: Path, labels: list[str], kind: Kind = _CLASSES, dropout: dict | None = None, new_head: bool = False
) -> Any:
    """Loads a model with the head of a kind of task, strictly. Regression has one label, the score's name.

    All weights must be in the folder; with `new_head` a classifier (and pooler) that is missing starts at random, as
    for a pretrained model. `dropout` overrides `hidden_dropout_prob` and `attention_probs_dropout_prob`. Raises
    InputError when weights are missing or shapes differ.
    """
    changes = {key: value for key, value in (dropout or {}).items() if value is not None}
    model = _new_model(read_model_config(folder), kind.head, labels, **changes)
    optional = ("classifier", "pooler") if new_head else kind.unread
    missing = set_weights(model, read_weights(folder), str(folder), optional)
    if missing:
        head_alone = all("classifier" in name or "pooler" in name for name in missing)
        part = "head" if head_alone else "encoder"
        what = f"{len(missing)} {part} weights are missing, the first is {missing[0]}"
        remedy = "give a folder whose weights belong to its config.json"
        remedy += f", fine-tuned for {kind.name}" if head_alone else ""
        raise InputError(what, str(folder), remedy)
    return model


def load_masked_lm(folder: Path) -> Any:
    """Loads a masked language model strictly: the encoder and the head must both be in the folder.

    The decoder is tied to the word embeddings, and PaddleNLP's heads keep the name that the bias had in older
    versions. The pooler, which nothing here uses, may be missing. Raises InputError when a weight is missing, or
    does not fit its configuration.
    """
    model = _new_model(read_model_config(folder), MASKED_LM)
    missing = set_weights(model, read_weights(folder), str(folder))
    if missing:
        part = "encoder" if missing[0].startswith(f"{model.base_model_prefix}.") else "masked LM head"
        what = f"{len(missing)} weights are missing, the first is {missing[0]}, of the {part}"
        raise InputError(what, str(folder), "name a model with its masked LM head, or give augmentation.word_vectors")
    model.eval()
    return model


def build_student(teacher_folder: Path, shape: ModelShape, labels: list[str], kind: Kind = _CLASSES) -> Any:
    """A student with random weights: the teacher's family and vocabulary, the given size and kind of task."""
    return _new_model(read_model_config(teacher_folder), kind.head, labels, **shape.model_dump())


def build_masked_lm(
    vocab_size: int, shape: ModelShape, max_position_embeddings: int = 512, pad_token_id: int = 0
) -> Any:
    """A BERT masked-LM model with random weights, for pre-training without any download."""
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": max_position_embeddings, **shape.model_dump()}
    sizes["type_vocab_size"] = 2  # PaddleNLP's default of 16 fits no published checkpoint
    return _new_model({"model_type": "bert"}, MASKED_LM, pad_token_id=pad_token_id, **sizes)


def base_model(model: Any) -> Any:
    """The encoder inside a PaddleNLP model with a head (its `bert`, `ernie` or `roberta`)."""
    return getattr(model, model.base_model_prefix, model)


def count_parameters(model: Any) -> int:
    """Number of weights."""
    return sum(int(parameter.numel()) for parameter in model.parameters())
