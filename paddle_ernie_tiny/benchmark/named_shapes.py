"""Model shapes by name: their parameters and their floating-point operations, counted and not measured."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..errors import InputError

VOCABULARY = 21_128  # of BERT-base Chinese
POSITIONS, TOKEN_TYPES, LABELS = 512, 2, 2


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
_NAME = re.compile(r"(\d+)l-(\d+)h(?:-(\d+)heads)?(?:-(\d+)ffn)?")


def parse_shape(name: str) -> Shape:
    """A known name, or `<layers>l-<hidden>h[-<heads>heads][-<n>ffn]`; either with `-<tokens>vocab` after it.

    Without more, there are 12 heads (or the most below that divide the width) and an FFN of 4 times the width.
    Raises InputError for a name that is neither, and for heads that do not divide the width.
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
    if not layers or not hidden:
        raise InputError("a shape needs at least one layer and a width", name, "such as 3l-192h")
    heads = int(found[3]) if found[3] else next(n for n in range(12, 0, -1) if hidden % n == 0)
    if not heads or hidden % heads:
        raise InputError(f"{heads} heads do not divide the width {hidden}", name, "give a number that does")
    return Shape(layers, hidden, heads, int(found[4]) if found[4] else 4 * hidden, vocabulary)


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
    projections, attention, ffn = 8 * n * h * h, 4 * n * n * h, 4 * n * h * f
    head = 2 * h * h + 2 * h * shape.labels
    if not first_token_only:
        return shape.num_hidden_layers * (projections + attention + ffn) + head
    # query and output of one row; the key and value products of one row; each head meets the n states twice
    last = 8 * h * h + 4 * n * h * shape.num_attention_heads + 4 * h * f
    return (shape.num_hidden_layers - 1) * (projections + attention + ffn) + last + head
