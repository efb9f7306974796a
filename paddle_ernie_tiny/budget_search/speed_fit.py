"""A small regression over the work of a shape: which shapes to measure, and what the figures of the others will be.

Speed is a sum of costs that are never negative, each in proportion to a piece of the work: the call itself, a layer,
its matrix products, attention, operations by element. They are fitted by least squares on relative errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..benchmark.subjects import POSITIONS, TOKEN_TYPES, Shape, parameters

LEAST_SHAPES = 8  # from which on a fit is worth something: about as many as there are costs that matter
_RIDGE = 1e-3  # of the design: its matrix can be inverted before there are as many shapes as pieces of work


def shape_name(shape: Shape) -> str:
    """The shape's whole name, as `ernie-tiny bench --model` takes it."""
    size = f"{shape.num_attention_heads}heads-{shape.intermediate_size}ffn-{shape.vocab_size}vocab"
    return f"{shape.num_hidden_layers}l-{shape.hidden_size}h-{size}"


def work(shape: Shape, batch: int, lengths: Sequence[int], graph: str = "served") -> np.ndarray:
    """The pieces of work of a call: means over the lengths, [pieces].

    graph: "served", as exported for sentence tasks, of which the last layer computes the first token alone
    (deploy/graph.py), so that its work is counted apart; or "plain", in which it is as the others.
    """
    h, f, heads = shape.hidden_size, shape.intermediate_size, shape.num_attention_heads
    last = min(shape.num_hidden_layers, 1) if graph == "served" else 0
    full = shape.num_hidden_layers - last
    tokens, pairs = (batch * float(np.mean(np.power(lengths, power, dtype=float))) for power in (1, 2))
    layer = (1, tokens * h, tokens * f, tokens * h * h, tokens * h * f, pairs * h, pairs * heads)
    last_layer = (1, tokens * h * heads, batch * h * (h + f))
    return np.array([1, tokens * h, *(full * piece for piece in layer), *(last * piece for piece in last_layer)])


def sizes(shape: Shape) -> np.ndarray:
    """What files and memory grow with: weights of the embeddings, layers, weights of the layers; [pieces]."""
    embeddings = (shape.vocab_size + POSITIONS + TOKEN_TYPES) * shape.hidden_size
    return np.array([1.0, embeddings, shape.num_hidden_layers, parameters(shape) - embeddings])


def fit(pieces: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The cost of each piece, none negative, [pieces]: the sum of squared relative errors is least.

    pieces: [shapes, pieces]. measured: positive, [shapes].
    """
    from scipy.optimize import nnls

    relative = pieces / measured[:, None]
    scale = np.maximum(np.linalg.norm(relative, axis=0), 1e-30)
    return nnls(relative / scale, np.ones(len(pieces)))[0] / scale


@dataclass(frozen=True)
class Costs:
    """What the pieces of `work` cost in ms, and those of `sizes` in MB of files and of memory."""

    latency: np.ndarray
    files: np.ndarray
    memory: np.ndarray

    def predict(
        self, shape: Shape, batch: int, lengths: Sequence[int], graph: str = "served"
    ) -> tuple[float, float, float]:
        """Milliseconds of a call (mean over the lengths), MB of files, MB of memory."""
        size = sizes(shape)
        ms = float(work(shape, batch, lengths, graph) @ self.latency)
        return ms, float(size @ self.files), float(size @ self.memory)


def fit_costs(
    shapes: Sequence[Shape],
    batch: int,
    lengths: Sequence[int],
    figures: Sequence[tuple[float, float, float]],
    graph: str = "served",
) -> Costs:
    """The costs in one precision, from what was measured of each shape: ms, MB of files, MB of memory."""
    ms, files, memory = np.array(figures).T
    size = np.array([sizes(shape) for shape in shapes])
    pieces = np.array([work(shape, batch, lengths, graph) for shape in shapes])
    return Costs(fit(pieces, ms), fit(size, files), fit(size, memory))


def choose(
    shapes: Sequence[Shape], batch: int, lengths: Sequence[int], count: int, graph: str = "served"
) -> list[Shape]:
    """So many shapes from which the costs are learnt best: each is the one that those before it tell least of.

    A greedy D-optimal design, so corners of the space come first. Always the same for the same shapes.
    """
    if count >= len(shapes):
        return [*shapes]
    rows = np.array([[*work(shape, batch, lengths, graph), *sizes(shape)] for shape in shapes])
    rows /= np.maximum(rows.max(axis=0), 1e-30)
    rows /= rows.sum(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=0), 1e-30)
    known, chosen = _RIDGE * np.eye(rows.shape[1]), list[int]()
    for _ in range(count):
        unknown = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(known), rows)
        unknown[chosen] = -1.0
        chosen.append(int(unknown.argmax()))
        known = known + np.outer(rows[chosen[-1]], rows[chosen[-1]])
    return [shapes[index] for index in chosen]
