"""What is benchmarked: bundles as they are, and shapes by name, exported here with random weights."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..data.tokenization import read_tokenizer
from ..data.vocabulary import SPECIAL_TOKENS, read_vocabulary
from ..defaults import AUTO, MAX_LENGTH_TOKENS
from ..deploy.bundle import MANIFEST, read_manifest
from ..engines import ENGINES, ONNX_FILE, PADDLE_FILES
from ..errors import ErnieTinyError, InputError
from ..files import sha256
from ..machine import versions
from ..processes import in_child
from .request import Record, Say

PRECISIONS = ("fp32", "int8", "bf16")
VOCABULARY = 21_128  # of BERT-base Chinese
POSITIONS, TOKEN_TYPES, LABELS = 512, 2, 2
_NAME = re.compile(r"(\d+)l-(\d+)h(?:-(\d+)heads)?(?:-(\d+)ffn)?")
_SEED = 7


@dataclass(frozen=True)
class Shape:
    """Size of a BERT-like encoder, named as in a manifest's `architecture`, and its sentence classifier's labels."""

    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int = VOCABULARY
    labels: int = LABELS


KNOWN = {
    "bert-base": Shape(12, 768, 12, 3072),
    "4l-312h": Shape(4, 312, 12, 1200),
    "6l-768h": Shape(6, 768, 12, 3072),
}


def parse_shape(name: str) -> Shape:
    """A known name, or `<layers>l-<hidden>h[-<heads>heads][-<n>ffn]`; either with `-<tokens>vocab` after it.

    Without more, there are 12 heads (or the most below that divide the width) and an FFN of 4 times the width. With 0
    layers the embeddings are averaged (models/mean_encoder.py). Raises InputError for a name that is neither, and for
    heads that do not divide the width.
    """
    name, last = name.lower(), re.search(r"-(\d+)vocab\Z", name.lower())
    size, vocabulary = (name[: last.start()], int(last[1])) if last else (name, VOCABULARY)
    if size in KNOWN:
        return replace(KNOWN[size], vocab_size=vocabulary)
    if not (found := _NAME.fullmatch(size)):
        raise InputError(
            "neither a bundle's folder nor the name of a shape",
            name,
            f"give a folder with a manifest.json, one of {', '.join(KNOWN)}, or a shape such as 3l-192h-12heads-768ffn",
        )
    layers, hidden = int(found[1]), int(found[2])
    if not hidden:
        raise InputError("a shape needs a width", name, "such as 3l-192h, or 0l-64h for averaged embeddings")
    heads = int(found[3] or max(n for n in range(1, 13) if hidden % n == 0))
    if not heads or hidden % heads:
        raise InputError(f"{heads} heads do not divide the width {hidden}", name, "give a number that does")
    return Shape(layers, hidden, heads, int(found[4] or 4 * hidden), vocabulary)


def parameters(shape: Shape) -> int:
    """Number of weights: embeddings, encoder, pooler and classifier."""
    h, f = shape.hidden_size, shape.intermediate_size
    embeddings = (shape.vocab_size + POSITIONS + TOKEN_TYPES) * h + 2 * h
    layer = 4 * (h * h + h) + (h * f + f) + (f * h + h) + 2 * 2 * h
    return embeddings + shape.num_hidden_layers * layer + (h * h + h) + (h * shape.labels + shape.labels)


def flops(shape: Shape, length: int, first_token_only: bool = False) -> int:
    """Floating-point operations of the matrix products of one row (a multiply and an add are two).

    `first_token_only`: as exported for sentence tasks, where the last layer computes the first token alone
    (deploy/graph.py). Element-wise work, softmax and LayerNorm are left out, as is usual.
    """
    h, f, n = shape.hidden_size, shape.intermediate_size, length
    layer = 8 * n * h * h + 4 * n * n * h + 4 * n * h * f  # projections, attention, FFN
    # query and output of one row; the key and value products of one row; each head meets the n states twice
    one_row = 8 * h * h + 4 * n * h * shape.num_attention_heads + 4 * h * f
    last = one_row if first_token_only else layer
    layers = (shape.num_hidden_layers - 1) * layer + last if shape.num_hidden_layers else 2 * n * h  # or the mean
    return layers + 2 * h * h + 2 * h * shape.labels


@dataclass(frozen=True)
class Subject:
    """An exported model that is measured: `name` as it was asked for, `folder` its bundle."""

    name: str
    folder: Path
    precision: str
    graph: str  # plain | served, as in deploy/graph.py
    parameters: int
    file_mb: float  # graph and weights, in 1e6 bytes
    shape: Shape | None  # None: a bundle of an older toolkit, which does not record it
    tokens: int  # size of the vocabulary
    random: bool = False

    @property
    def label(self) -> str:
        """Name and precision, and the graph where it is not the one that is served."""
        return f"{self.name} {self.precision}" + (" plain" if self.graph == "plain" else "")

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from others in a result."""
        return {"model": self.name, "graph": self.graph, "precision": self.precision}

    def gflop(self, length: int) -> float | None:
        """Work of the matrix products of one row of `length` tokens, in 1e9 operations."""
        return flops(self.shape, length, self.graph == "served") / 1e9 if self.shape else None

    def describe(self) -> Record:
        """Size and work; counted, not measured."""
        return {
            **self.identity,
            "parameters": self.parameters,
            "file_mb": self.file_mb,
            "gflop_128_tokens": self.gflop(128),
            "random_weights": self.random,
        }


def onnx_engines(engines: list[str]) -> list[str]:
    """Those of the engines that need model.onnx; "auto" has all of them that are installed here."""
    return [
        name
        for name, row in ENGINES.items()
        if row.reads_onnx and (name in engines or AUTO in engines and row.installed)
    ]


def resolve(
    specification: str, precisions: list[str], cache: Path, say: Say = print, engines: Sequence[str] = ()
) -> list[Subject]:
    """The models that one `--model` means: NAME_OR_BUNDLE[@fp32|@int8|@bf16][@plain].

    A shape is exported in each of `precisions` (or in the one after @), for Paddle and `engines`; a bundle is exported
    already. @plain exports the model as it is written, without what deploy/graph.py leaves out. Raises InputError for
    what is neither.
    """
    name, *marks = os.path.expanduser(specification).split("@")
    unknown = [mark for mark in marks if mark not in (*PRECISIONS, "plain")]
    if unknown:
        raise InputError(f"unknown mark @{unknown[0]}", f"--model {specification}", "use @fp32, @int8, @bf16 or @plain")
    if (Path(name) / MANIFEST).is_file():
        if marks:
            raise InputError("a bundle is exported already", f"--model {specification}", f"leave out @{marks[0]}")
        return [_bundle(Path(name))]
    shape = parse_shape(name)
    asked = [mark for mark in marks if mark in PRECISIONS] or precisions
    graph = "plain" if "plain" in marks else "served"
    return [_random(name.lower(), shape, precision, graph, (cache, engines, say)) for precision in asked]


def _bundle(folder: Path) -> Subject:
    manifest = read_manifest(folder)
    size = dict(manifest.architecture)
    graph = PADDLE_FILES if PADDLE_FILES[0] in manifest.files else (ONNX_FILE,)
    return Subject(
        name=folder.resolve().name,
        folder=folder,
        precision=manifest.precision,
        graph=size.pop("graph", "plain"),
        parameters=manifest.parameters,
        file_mb=sum((folder / name).stat().st_size for name in graph if name in manifest.files) / 1e6,
        shape=Shape(**size, labels=len(manifest.labels)) if size else None,
        tokens=read_tokenizer(folder).vocab_size,
    )


def onnx_folder(subject: Subject, cache: Path) -> Path:
    """A folder in `cache` with the graph as ONNX, converted once. Raises ErnieTinyError when paddle2onnx cannot."""
    from ..deploy.onnx_graph import convert

    folder = cache / "onnx" / f"{subject.name}-{sha256(subject.folder / MANIFEST)[:12]}"
    temporary = folder / f"{ONNX_FILE}.tmp"
    if not (folder / ONNX_FILE).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            in_child("onnx conversion", convert, subject.folder, temporary)
            temporary.replace(folder / ONNX_FILE)
        except Exception as error:  # whatever paddle2onnx raises, or no file
            what = f"paddle2onnx did not convert the graph: {error}"
            raise ErnieTinyError(what, str(subject.folder), "leave the engine out") from error
    return folder


def _random(name: str, shape: Shape, precision: str, graph: str, where: tuple[Path, Sequence[str], Say]) -> Subject:
    """The shape's bundle with random weights from the cache; exported now if it is not there."""
    from .. import deploy

    cache, engines, say = where

    # a name that changes with Paddle and the code that exports: older exports are then not used any more
    paddle_version = "-".join(versions(("paddlepaddle", "paddlepaddle-gpu")).values())
    code = sha256(*sorted(Path(deploy.__file__).parent.glob("*.py")), __file__)[:8]
    folder = cache / "-".join([name, graph, precision, *engines, paddle_version, code])
    if not (folder / MANIFEST).is_file():
        say(f"exporting {name} ({graph} graph, {precision}) with random weights to {folder}")
        cache.mkdir(parents=True, exist_ok=True)
        if precision == "fp32":
            _export(shape, graph, engines, folder)
        else:
            _quantise(_random(name, shape, "fp32", graph, where).folder, folder, precision)
    subject = _bundle(folder)
    if subject.parameters != parameters(shape):
        raise AssertionError(f"{name}: {subject.parameters} weights exported, {parameters(shape)} counted")
    return replace(subject, name=name, random=True)


def _export(shape: Shape, graph: str, engines: Sequence[str], folder: Path) -> None:
    import paddle
    from paddlenlp.utils.log import logger

    from ..config import ModelShape
    from ..data.tokenization import WordPieceTokenizer
    from ..deploy.export import ExportRequest, export_bundle
    from ..models.build import build_masked_lm, load_classifier
    from ..models.weights import save_model

    size = asdict(shape)
    labels, tokens = range(size.pop("labels")), vocabulary(size.pop("vocab_size"))
    text = "".join(tokens[-200:])
    logger.set_level("WARNING")
    paddle.seed(_SEED)
    with tempfile.TemporaryDirectory() as checkpoint:
        tokenizer, names = WordPieceTokenizer(tokens, lowercase=True), [str(label) for label in labels]
        save_model(build_masked_lm(len(tokens), ModelShape(**size)), tokenizer, Path(checkpoint))
        save_model(load_classifier(Path(checkpoint), names, new_head=True), tokenizer, Path(checkpoint))
        request = ExportRequest(
            checkpoint=checkpoint,
            out=str(folder),
            task="benchmark",
            labels=names,
            metric="accuracy",
            kind="classification",
            texts=[text[:n] for n in (4, 30, 126)],
            table={"text": 0, "label": 1},
            graph=graph,
            engines=("paddle", *engines),
        )
        export_bundle(request)


def vocabulary(size: int) -> list[str]:
    """`size` tokens that cut Chinese text as BERT's vocabulary does: character by character, in Unicode's order.

    Raises InputError when there is no room for the special tokens, ASCII and some Chinese characters.
    """
    ascii_characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    continued = [f"##{character}" for character in ascii_characters if character.isalnum()]
    tokens = [*SPECIAL_TOKENS, *ascii_characters, *continued, *"，。！？、；：（）《》“”‘’…—·～￥"]
    if size < len(tokens) + 200:
        raise InputError(f"a vocabulary of {size} tokens is too small", "--model", f"at least {len(tokens) + 200}")
    tokens += [chr(code) for code in range(0x4E00, 0x9FA6)]
    tokens += [f"[unused{number}]" for number in range(size - len(tokens))]
    return tokens[:size]


def _quantise(bundle: Path, folder: Path, precision: str) -> None:
    """int8 or bf16 as `ernie-tiny quantize` makes it; a gate on accuracy means nothing for random weights."""
    from ..deploy.quantize import QuantizeRequest, quantize_bundle
    from ..deploy.row_files import LabelledRows

    rng = np.random.default_rng(_SEED)
    characters = [token for token in read_vocabulary(bundle / "vocab.txt") if len(token) == 1]
    texts = ["".join(rng.choice(characters, length)) for length in rng.integers(20, MAX_LENGTH_TOKENS - 2, 40)]
    rows = LabelledRows(texts, None, rng.integers(0, LABELS, len(texts)).tolist())
    request = QuantizeRequest(str(bundle), str(folder), rows, rows, max_drop_points=100.0, auto=False)
    quantize_bundle(replace(request, precision=precision))
