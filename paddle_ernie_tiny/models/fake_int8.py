"""Fake quantisation: a model trains with values on the grid of int8, and gradients as if they were not rounded.

The rounding is that of deploy/static_int8.py: of a linear layer the weights with a scale for each output channel (one
for all, if they are square) and the input with one scale; of the table of word embeddings each row with a scale. Parts
have the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import paddle
from paddle import Tensor, nn

from ..distributed import processes, sum_over_all
from .architectures import EMBEDDINGS, HEAD
from .build import base_model

_LARGEST = 127  # int8 from -127 to 127: the grid is symmetric
_KEPT = 0.9  # of the moving average of an input's largest value, per batch
_SCALE = "input_scale"


def on_grid(values: Tensor, largest: Tensor) -> Tensor:
    """Values on the grid of int8, whose last step is `largest`; what is beyond is cut to it.

    largest: of the shape of values, or 1 where one scale is for several. The gradient of a value is handed on as it is
    (a straight-through estimator, arXiv 1308.3432); that of one which was cut is 0.
    """
    largest = largest.clip(min=1e-12)
    inside = paddle.where(values.abs() <= largest, values, values.sign() * largest)
    rounded = paddle.round(inside * (_LARGEST / largest)) * (largest / _LARGEST)
    return inside + (rounded - inside).detach()


class FakeInt8Linear(nn.Linear):
    """A linear layer with its input and weights on the grid of int8; made of one that exists, by `fake_int8`.

    `input_scale`, float32 [1], is the moving average of the input's largest absolute value, over training batches; in
    evaluation it stays as it is.
    """

    first_token: bool  # is only the first token's row served, the others in no product?

    def forward(self, input: Tensor) -> Tensor:
        """[batch, (length,) in] to [batch, (length,) out]."""
        served = input[:, :1] if self.first_token else input
        if self.training:
            self._observe(served.detach())
        served = on_grid(served, self.input_scale)
        if self.first_token:
            served = paddle.concat([served, input[:, 1:]], axis=1)
        rows, columns = self.weight.shape
        axis = 0 if rows != columns else None
        weight = on_grid(self.weight, self.weight.detach().abs().max(axis=axis, keepdim=True))
        return nn.functional.linear(served, weight, self.bias)

    def _observe(self, values: Tensor) -> None:
        largest = values.astype("float32").abs().flatten(start_axis=1).max(axis=1).mean().reshape([1])
        if processes() > 1:  # all have the same scales, as they have the same weights
            largest = sum_over_all(largest) / processes()
        known = self.input_scale
        paddle.assign(paddle.where(known > 0, _KEPT * known + (1 - _KEPT) * largest, largest), known)


def fake_int8(model: Any, keep_fp32: Collection[str] = (), first_token: bool = False) -> None:
    """Lets a classifier of PaddleNLP compute as in int8, but for the parts in `keep_fp32`; on this instance, in place.

    first_token: it is served with a last layer that answers for the first token alone (deploy/graph.py). Its keys and
    values are then no products in int8, and the inputs of the others are the first token's rows. Names of weights and
    hooks on layers stay; each linear layer has an `input_scale` more. `as_trained` undoes it.
    """
    last_layer = f"encoder.layers.{len(base_model(model).encoder.layers) - 1}."
    for part, place, layer in _linear_layers(model):
        last = first_token and part.startswith(last_layer)
        if part in keep_fp32 or (last and place in ("self_attn.k_proj", "self_attn.v_proj")):
            continue
        layer.__class__ = FakeInt8Linear  # another layer would not have its hooks
        layer.first_token = last
        layer.register_buffer(_SCALE, paddle.zeros([1]))
    if EMBEDDINGS not in keep_fp32:
        table = base_model(model).embeddings.word_embeddings
        table.fake_int8 = table.register_forward_post_hook(_rows_on_grid)


def as_trained(model: Any) -> None:
    """Undoes `fake_int8`: the model has its weights as they were trained, not rounded."""
    for _, _, layer in _linear_layers(model):
        if isinstance(layer, FakeInt8Linear):
            layer.__class__ = nn.Linear  # type: ignore[assignment]
            delattr(layer, _SCALE)
    table = base_model(model).embeddings.word_embeddings
    if hasattr(table, "fake_int8"):
        table.fake_int8.remove()
        del table.fake_int8


def _rows_on_grid(_layer: Any, _inputs: Any, rows: Tensor) -> Tensor:
    return on_grid(rows, rows.detach().abs().max(axis=-1, keepdim=True))


def _linear_layers(model: Any) -> Iterator[tuple[str, str, nn.Linear]]:
    """(part, place in its encoder layer or "", layer) of each linear layer."""
    for name, layer in model.named_sublayers():
        if isinstance(layer, nn.Linear):
            _, inside, own = name.partition(".encoder.layers.")
            number, _, place = own.partition(".")
            part = "attention" if place.startswith("self_attn.") else "feed_forward"
            outside = EMBEDDINGS if name.endswith("embeddings_project") else HEAD  # of ELECTRA
            yield f"encoder.layers.{number}.{part}" if inside else outside, place, layer
