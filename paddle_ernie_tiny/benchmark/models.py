"""What is benchmarked: bundles as they are, and plain shapes that are exported here with random weights."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.vocabulary import SPECIAL_TOKENS
from ..deploy.bundle import MANIFEST, MODEL_STEM, Manifest, read_manifest
from ..errors import InputError
from ..files import sha256
from .shapes import LABELS, POSITIONS, Shape, flops, parameters, parse_shape

PRECISIONS = ("fp32", "int8")
GRAPHS = ("plain", "served")  # deploy/graph.py
MAX_LENGTH = 128
_SEED = 7


@dataclass(frozen=True)
class Model:
    """An exported model: `name` as it was asked for, `folder` its bundle."""

    name: str
    folder: Path
    precision: str
    graph: str
    parameters: int
    file_mb: float  # graph and weights, in 1e6 bytes
    shape: Shape | None  # None: a bundle of an older toolkit, which does not record it
    random: bool
    tokens: int  # size of the vocabulary

    @property
    def label(self) -> str:
        """Name and precision, and the graph where it is not the one that is served."""
        return f"{self.name} {self.precision}" + (" plain" if self.graph == "plain" else "")

    def gflop(self, length: int) -> float | None:
        """Work of the matrix products of one row of `length` tokens, in 1e9 operations."""
        return flops(self.shape, length, self.graph == "served") / 1e9 if self.shape else None


def default_cache() -> Path:
    """Where exported shapes are kept: the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "paddle_ernie_tiny" / "bench"


def resolve(specification: str, precisions: list[str], cache: Path, say=print) -> list[Model]:
    """The models that one `--model` stands for: NAME_OR_BUNDLE[@fp32|@int8][@plain].

    A shape is exported in each of `precisions` (or in the one behind @); a bundle has one already. @plain exports
    the model as it is written, without what deploy/graph.py leaves out. Raises InputError for what is neither.
    """
    name, *marks = specification.split("@")
    unknown = [mark for mark in marks if mark not in (*PRECISIONS, "plain")]
    if unknown:
        raise InputError(f"unknown mark @{unknown[0]}", f"--model {specification}", "use @fp32, @int8 or @plain")
    if (Path(name) / MANIFEST).is_file():
        if marks:
            raise InputError("a bundle is exported already", f"--model {specification}", f"leave out @{marks[0]}")
        return [_bundle(Path(name))]
    shape = parse_shape(name)
    asked = [mark for mark in marks if mark in PRECISIONS] or precisions
    graph = "plain" if "plain" in marks else "served"
    return [_random(name.lower(), shape, precision, graph, cache, say) for precision in asked]


def _bundle(folder: Path) -> Model:
    manifest = read_manifest(folder)
    size = manifest.architecture
    shape = None
    if size:
        shape = Shape(
            size["num_hidden_layers"],
            size["hidden_size"],
            size["num_attention_heads"],
            size["intermediate_size"],
            size["vocab_size"],
            len(manifest.labels),
        )
    return _model(folder.resolve().name, folder, manifest, shape, random=False)


def _model(name: str, folder: Path, manifest: Manifest, shape: Shape | None, random: bool) -> Model:
    files = [folder / f"{MODEL_STEM}{suffix}" for suffix in (".pdmodel", ".pdiparams")]
    with open(folder / "vocab.txt", encoding="utf-8") as file:
        tokens = sum(1 for _ in file)
    return Model(
        name=name,
        folder=folder,
        precision=manifest.precision,
        graph=manifest.architecture.get("graph", "plain"),
        parameters=manifest.parameters,
        file_mb=sum(file.stat().st_size for file in files) / 1e6,
        shape=shape,
        random=random,
        tokens=tokens,
    )


def _random(name: str, shape: Shape, precision: str, graph: str, cache: Path, say) -> Model:
    """The shape's bundle with random weights from the cache; exported now where it is not there."""
    folder = cache / f"{name}-{graph}-{precision}-{_recipe()}"
    if not (folder / MANIFEST).is_file():
        say(f"exporting {name} ({graph} graph, {precision}) with random weights to {folder}")
        cache.mkdir(parents=True, exist_ok=True)
        if precision == "int8":
            _quantise(_random(name, shape, "fp32", graph, cache, say).folder, folder)
        else:
            _export(shape, graph, folder)
    manifest = read_manifest(folder)
    if manifest.parameters != parameters(shape):
        raise AssertionError(f"{name}: {manifest.parameters} weights exported, {parameters(shape)} counted")
    return _model(name, folder, manifest, shape, random=True)


def _recipe() -> str:
    """Changes when the code that exports does, or Paddle; old exports are then not used any more."""
    from importlib import metadata

    from ..deploy import export_worker, graph, quantize_worker, static_int8

    try:
        paddle = metadata.version("paddlepaddle")
    except metadata.PackageNotFoundError:
        paddle = metadata.version("paddlepaddle-gpu")
    code = (export_worker, graph, quantize_worker, static_int8)
    return f"{paddle}-{sha256(*(module.__file__ for module in code), __file__)[:8]}"


def _export(shape: Shape, graph: str, folder: Path) -> None:
    import paddle
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification
    from paddlenlp.utils.log import logger

    from ..data.tokenization import WordPieceTokenizer
    from ..deploy.export import ExportRequest, export_bundle
    from ..models.build import label_maps
    from ..models.weights import save_model

    logger.set_level("WARNING")
    labels = [str(number) for number in range(shape.labels)]
    paddle.seed(_SEED)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ffn,
            max_position_embeddings=POSITIONS,
            type_vocab_size=2,
            **label_maps(labels),
        )
    )
    model.config.model_type = "bert"
    checkpoint = folder.with_name(folder.name + ".checkpoint")
    tokens = vocabulary(shape.vocabulary)
    save_model(model, WordPieceTokenizer(tokens, lowercase=True), checkpoint)
    text = "".join(tokens[-200:])
    try:
        export_bundle(
            ExportRequest(
                checkpoint=str(checkpoint),
                out=str(folder),
                task="benchmark",
                labels=labels,
                metric="accuracy",
                kind="classification",
                unit=None,
                max_length_tokens=MAX_LENGTH,
                texts=[text[:n] for n in (4, 30, 126)],
                texts_b=None,
                tolerance=1e-4,
                table={"text": 0, "label": 1},
                graph=graph,
            )
        )
    finally:
        shutil.rmtree(checkpoint)


def vocabulary(size: int) -> list[str]:
    """`size` tokens that cut Chinese text as BERT's vocabulary does: character by character.

    Special tokens, printable ASCII with its continuations, Chinese marks, and Chinese characters in Unicode's order.
    Raises InputError when it has no room for those.
    """
    ascii_characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    continued = [f"##{character}" for character in ascii_characters if character.isalnum()]
    tokens = [*SPECIAL_TOKENS, *ascii_characters, *continued, *"，。！？、；：（）《》“”‘’…—·～￥"]
    if size < len(tokens) + 200:
        raise InputError(f"a vocabulary of {size} tokens is too small", "--model", f"at least {len(tokens) + 200}")
    tokens += [chr(code) for code in range(0x4E00, 0x9FA6)]
    tokens += [f"[unused{number}]" for number in range(size - len(tokens))]
    return tokens[:size]


def _quantise(bundle: Path, folder: Path) -> None:
    """int8 as `ernie-tiny quantize` makes it; a gate on accuracy means nothing for random weights, so it is open."""
    from ..deploy.quantize import QuantizeRequest, quantize_bundle
    from ..deploy.scoring import LabelledRows

    rng = np.random.default_rng(_SEED)
    with open(bundle / "vocab.txt", encoding="utf-8") as file:
        characters = [token for token in file.read().split("\n") if len(token) == 1]
    texts = ["".join(rng.choice(characters, length)) for length in rng.integers(20, MAX_LENGTH - 2, 40)]
    gold = [int(label) for label in rng.integers(0, LABELS, len(texts))]
    quantize_bundle(
        QuantizeRequest(
            bundle=str(bundle),
            out=str(folder),
            calibration=LabelledRows(texts[:32], None, gold[:32]),
            dev=LabelledRows(texts[32:], None, gold[32:]),
            max_drop_points=100.0,  # of 100
            auto=False,
        )
    )
