"""Builds teachers and students from PaddleNLP: by name, from a local folder, or from a size."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import paddle

from ..config import ModelShape
from ..data.text_tokenizer import TextTokenizer
from ..data.tokenization import WordPieceTokenizer, read_tokenizer
from ..distributed import main_first
from ..errors import InputError
from ..files import read_json
from ..kinds import KINDS, Kind
from .architectures import (
    FAMILIES,
    MASKED_LM,
    complete_config,
    expected_shapes,
    family_of,
    taken_values,
)
from .mean_encoder import MeanEncoder
from .weights import CONFIG, missing_weights, read_weights, save_model, set_weights, weight_shapes

_CLASSES = KINDS["classification"]


def resolve_model(name_or_folder: str, where: str = "teacher.model") -> Path:
    """The local folder of a model; a PaddleNLP name is downloaded into PaddleNLP's own cache.

    Raises InputError, naming the setting `where`, for what is neither a folder nor a name that PaddleNLP can resolve.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        _require_config(folder)
        return folder
    if name_or_folder.startswith((".", "/", "~")) or name_or_folder.count("/") > 1:
        raise InputError("no such model folder", name_or_folder, f"check the path of {where}")
    from paddlenlp.utils.env import MODEL_HOME

    target = Path(MODEL_HOME) / "paddle_ernie_tiny" / name_or_folder.replace("/", "--")
    with main_first(target):
        if not (target / CONFIG).is_file():
            _download(name_or_folder, target, where)
    return target


def _require_config(folder: Path) -> None:
    if not (folder / CONFIG).is_file() and not (folder / "model_config.json").is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        what = f"the folder holds no config.json (found: {found})"
        raise InputError(what, str(folder), "give a model folder of PaddleNLP or transformers")


def _download(name: str, target: Path, where: str) -> None:
    """Lets PaddleNLP fetch a model by name, and keeps it as a folder of the one layout that is read here.

    PaddleNLP's cache holds built-in models without a config.json and with vocabulary files under many names.
    """
    from paddlenlp.transformers import AutoModel, AutoTokenizer
    from paddlenlp.utils.log import logger

    logger.set_level("WARNING")
    print(f"{where}: PaddleNLP fetches {name}, unless its cache holds it", flush=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name)
    except Exception as error:  # PaddleNLP raises many kinds here: network, unknown name, bad archive
        raise _not_found(name, target, where, error) from error
    family = family_of([type(model).__name__])
    if family is None:
        raise InputError(f"{type(model).__name__} is not supported", name, f"use a model of: {', '.join(FAMILIES)}")
    vocabulary = _vocabulary_of(tokenizer.init_kwargs)
    model.config.model_type = family
    save_model(_with_its_head(model, name), vocabulary, target)


def _not_found(name: str, target: Path, where: str, error: Exception) -> InputError:
    """Why there is no such model: it could not be fetched, or nobody publishes one of this name."""
    from paddlenlp import transformers as nlp

    classes = (getattr(nlp, f"{row.classes}Model") for row in FAMILIES.values())
    published = {known for model in classes for known in model.pretrained_init_configuration}
    if name not in published and "/" not in name:  # names with an owner are not all listed
        near = difflib.get_close_matches(name, sorted(published), n=3)
        remedy = f"give a folder, or correct the name{' (near: ' * bool(near)}{', '.join(near)}{')' * bool(near)}"
        return InputError("neither a folder nor a model that PaddleNLP publishes", name, remedy)
    what = f"PaddleNLP could not fetch the model: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    remedy = (
        f"connect this machine to the network; or run `ernie-tiny validate` with the same {where} on one that is, and "
        f"copy the folder paddle_ernie_tiny/{target.name} of PaddleNLP's cache there to {target}, or give its path"
    )
    return InputError(what, name, remedy)


def _vocabulary_of(options: dict[str, Any]) -> TextTokenizer:
    """The tokenizer of a model that PaddleNLP has fetched, from what its own class was given."""
    vocabulary = Path(options["vocab_file"])
    if "merges_file" in options:  # vocab.json and merges.txt, side by side in PaddleNLP's cache
        return read_tokenizer(vocabulary.parent)
    return WordPieceTokenizer.from_vocab_file(vocabulary, lowercase=options.get("do_lower_case", True))


def _with_its_head(encoder, name: str):
    """The masked LM around a downloaded encoder, if PaddleNLP's cache holds its head; else the encoder alone."""
    from paddlenlp.utils.env import MODEL_HOME

    try:
        weights = read_weights(Path(MODEL_HOME) / name, trusted=True)
    except InputError:  # weights in several files: what PaddleNLP has read of them is the encoder
        return encoder
    model = _new_model(encoder.config.to_dict(), MASKED_LM)
    return encoder if set_weights(model, weights, name) else model


def read_model_config(folder: Path) -> dict[str, Any]:
    """The folder's configuration as a mapping, with the defaults of its family; also PaddleNLP's `model_config.json`.

    Raises InputError for a file that is no configuration, or a model that is not supported.
    """
    path = folder / CONFIG
    _require_config(folder)
    if path.is_file():
        config = read_json(path)
        if not isinstance(config, dict):
            raise InputError("not a JSON object", str(path), "restore the model's own file")
    else:
        from paddlenlp.transformers import AutoConfig

        config = AutoConfig.from_pretrained(str(folder)).to_dict()
    return complete_config(config, str(path))


_LAST_OF_HEAD = ("classifier.weight", "classifier.out_proj.weight")
_NEW_HEAD = ("classifier", "pooler")  # what starts at random where a pretrained model gets a head


def check_model(folder: Path, head: str = "", labels: int = 0, optional: tuple[str, ...] = _NEW_HEAD) -> None:
    """Raises InputError unless the folder's weights are those of its configuration, by names and shapes.

    Reads the headers of safetensors files, no values. head: MASKED_LM, or a classifier's with `labels` outputs; without
    one the encoder alone is checked. optional: parts of names that may be missing.
    """
    config = read_model_config(folder)
    given = {plain_name(name, config["model_type"]): shape for name, shape in weight_shapes(folder).items()}
    missing = missing_weights(given, expected_shapes(config, head, labels), str(folder), optional)
    _require_all(missing, folder, "" if head == MASKED_LM else "the task")


# two names of one weight
_SAME = {"cls.predictions.decoder.bias": "cls.predictions.decoder_bias", "lm_head.decoder.bias": "lm_head.bias"}


def plain_name(name: str, family: str) -> str:
    """PaddleNLP's name of a weight as `expected_shapes` has it: without the encoder's prefix, one of two names."""
    name = name.removeprefix(f"{family}.")
    return _SAME.get(name, name)


def _require_all(missing: list[str], folder: Path, fine_tuned: str) -> None:
    if missing:
        head_alone = all(any(part in name for part in ("classifier", "pooler", "cls.", "lm_head")) for name in missing)
        what = f"{len(missing)} {'head' if head_alone else 'encoder'} weights are missing, the first is {missing[0]}"
        remedy = "give a folder whose weights belong to its config.json"
        remedy += f", fine-tuned for {fine_tuned}" if head_alone and fine_tuned else ""
        raise InputError(what, str(folder), remedy)


def head_outputs(folder: Path) -> int:
    """How many outputs the folder's classifier has, by the headers of its weights; 0: it has none."""
    shapes = weight_shapes(folder)
    return next((shapes[name][-1] for name in _LAST_OF_HEAD if name in shapes), 0)


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The folder's tokenizer, checked against the size of the model's embedding table."""
    tokenizer, config = read_tokenizer(folder), read_model_config(folder)
    if tokenizer.vocab_size > config["vocab_size"]:
        what = f"the vocabulary has {tokenizer.vocab_size} tokens, the model's embedding only {config['vocab_size']}"
        raise InputError(what, str(folder), "the vocabulary and the weights belong to different models")
    first = FAMILIES[config["model_type"]].first_position
    if first is None and tokenizer.pad_id != config["pad_token_id"]:
        name, said = tokenizer.special[0], config["pad_token_id"]
        what = f"{name} has the id {tokenizer.pad_id}, config.json says {said}: positions count from it"
        raise InputError(what, str(folder), "the vocabulary and config.json belong to different models")
    return tokenizer


def _new_model(values: dict, head: str, labels: list[str] | None = None, kind: Kind | None = None, **changes):
    """A PaddleNLP model with random weights, from a configuration as a mapping; kind: which may change its class."""
    from paddlenlp import transformers as nlp

    classes = FAMILIES[values["model_type"]].classes
    values = {**taken_values(values), **changes}
    if labels is not None:
        ids = {name: index for index, name in enumerate(labels)}
        values |= {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": ids}
    model_class = getattr(nlp, classes + head)
    model = (kind.model_class(model_class) if kind else model_class)(getattr(nlp, f"{classes}Config")(**values))
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.LayerNorm):  # ERNIE and ELECTRA pass the configuration's value over
            layer._epsilon = model.config.layer_norm_eps
    if not model.config.num_hidden_layers:
        base_model(model).encoder = MeanEncoder()
    if classes == "Electra":
        base_model(model).encoder.register_forward_pre_hook(_electra_mask)
    return model


def _electra_mask(_encoder: Any, inputs: tuple) -> tuple:
    """PaddleNLP's ELECTRA adds its mask, 1 for a token and 0 for padding, to the scores; the others turn it first."""
    states, mask = inputs
    return states, (1.0 - mask.astype(states.dtype)) * -1e4


def load_classifier(
    folder: Path,
    labels: list[str],
    kind: Kind = _CLASSES,
    changes: dict | None = None,
    new_head: bool = False,
    weights: dict | None = None,
) -> Any:
    """Loads a model with the head of a kind of task, strictly. Regression has one label, the score's name.

    All weights must be in the folder; with `new_head` a classifier (and pooler) that is missing starts at random, as
    for a pretrained model. `changes` override keys of its configuration, such as `hidden_dropout_prob`, where they are
    not None; `weights`, by name, those of the folder. Raises InputError when weights are missing or shapes differ.
    """
    changes = {key: value for key, value in (changes or {}).items() if value is not None}
    changes["problem_type"] = kind.problem_type
    model = _new_model(read_model_config(folder), kind.head, labels, kind, **changes)
    optional = _NEW_HEAD if new_head else kind.unread
    _require_all(set_weights(model, weights or read_weights(folder), str(folder), optional), folder, kind.name)
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


def load_encoder(folder: Path) -> Any:
    """The encoder alone, strictly but for the pooler, which may be missing. Raises InputError as the others do."""
    model = _new_model(read_model_config(folder), "Model")
    prefix = f"{model.base_model_prefix}."
    weights = {name.removeprefix(prefix): value for name, value in read_weights(folder).items()}
    _require_all(set_weights(model, weights, str(folder)), folder, "")
    return model


def build_student(teacher_folder: Path, shape: ModelShape, labels: list[str], kind: Kind = _CLASSES) -> Any:
    """A student with random weights: the teacher's family and vocabulary, the given size and kind of task."""
    teacher, sizes = read_model_config(teacher_folder), shape.model_dump()
    if teacher["model_type"] == "electra" and shape.hidden_size != teacher["hidden_size"]:
        sizes["embedding_size"] = shape.hidden_size
    return _new_model(teacher, kind.head, labels, kind, **sizes, problem_type=kind.problem_type)


def build_masked_lm(
    vocab_size: int, shape: ModelShape, max_position_embeddings: int = 512, pad_token_id: int = 0
) -> Any:
    """A BERT masked-LM model with random weights, for pre-training without any download."""
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": max_position_embeddings, **shape.model_dump()}
    return _new_model(complete_config({"model_type": "bert", **sizes, "pad_token_id": pad_token_id}, ""), MASKED_LM)


def base_model(model: Any) -> Any:
    """The encoder inside a PaddleNLP model with a head (its `bert`, `ernie`, `roberta` or `electra`)."""
    return getattr(model, model.base_model_prefix, model)


def last_states(model: Any, inputs: dict[str, paddle.Tensor]) -> paddle.Tensor:
    """The encoder's last hidden states [batch, length, hidden]."""
    output = base_model(model)(**inputs)
    return output if isinstance(output, paddle.Tensor) else output[0]  # ELECTRA has no pooled output beside them


def count_parameters(model: Any) -> int:
    """Number of weights."""
    return sum(int(parameter.numel()) for parameter in model.parameters())
