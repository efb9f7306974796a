"""What int8 of both graphs shares: the parts of an encoder, by the order of its products, and scales of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ErnieTinyError
from ..models.architectures import EMBEDDINGS, HEAD

_MOST_OF_HEAD = 3  # products: ELECTRA's projection of narrow embeddings, a dense layer, the classifier


def parts_of_products(layers: int, products: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, list[str]]:
    """Part to the weights of its matrix products: "embeddings", "encoder.layers.0.attention",
    "encoder.layers.0.feed_forward", ..., "head" (pooler and classifier).

    layers: of the encoder, each with a softmax; without one only the head has products. products: of each product with
    weights, in the graph's order, the names and shapes of those. A layer has six: query, key, value and output; two of
    the feed-forward network. Key and value of a last layer that answers for the first token alone (graph.py) have
    weights of rank 3, and stay in fp32: they are hardly any work. Raises ErnieTinyError for another graph.
    """
    of_products: list[str] = []  # the part of each product of the encoder
    for layer in range(layers):
        of_products += [f"encoder.layers.{layer}.attention"] * 4 + [f"encoder.layers.{layer}.feed_forward"] * 2
    if len(products) < len(of_products) or not layers and len(products) > _MOST_OF_HEAD:
        raise ErnieTinyError(f"not the graph of an encoder: {layers} softmax, {len(products)} products with weights")
    parts: dict[str, list[str]] = {name: [] for name in (EMBEDDINGS, *of_products, HEAD)}
    for number, weights in enumerate(products):
        if all(len(shape) == 2 for shape in weights.values()):
            parts[of_products[number] if number < len(of_products) else HEAD] += weights
    if not parts[HEAD]:  # of sentence vectors as wide as the states
        del parts[HEAD]
    return parts


def int8_scales(weights: np.ndarray, axis: int) -> np.ndarray:
    """Largest absolute value along an axis / 127, float32; the axis stays, of size 1. 1 for zeros alone, as [PAD]'s."""
    scales = np.abs(weights).max(axis=axis, keepdims=True) / 127
    scales[scales == 0] = 1
    return scales.astype(np.float32)
