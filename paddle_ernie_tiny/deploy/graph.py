"""What is exported of a classifier: the same weights and answers, without the work that no answer needs.

A sentence classifier reads the first token's state of the last layer, and of that layer nothing else. So its last
layer computes one query, one output and one FFN row instead of `length` of them, and it never projects keys and
values. With one query q per head (W_k, W_v the head's columns, X the layer's input, a the attention weights):

    q (X W_k + b_k)^T = (q W_k^T) X^T + const       softmax does not see a constant
    a (X W_v + b_v)   = (a X) W_v + b_v             because a sums to one

which is exact up to rounding and replaces two [length, hidden] x [hidden, hidden] products by two of one row.
"""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from ..models.mean_encoder import MeanEncoder


class FirstTokenLayer(nn.Layer):
    """A post-norm encoder layer that answers for the first token alone: [batch, length, hidden] to [batch, 1, hidden].

    Takes the weights of `layer` (paddle.nn.TransformerEncoderLayer) as they are now; for inference only.
    """

    def __init__(self, layer: Any):
        super().__init__()
        attention = layer.self_attn
        self.heads, self.head_width = attention.num_heads, attention.head_dim
        self.q_proj, self.out_proj = attention.q_proj, attention.out_proj
        self.norm1, self.norm2 = layer.norm1, layer.norm2
        self.linear1, self.activation, self.linear2 = layer.linear1, layer.activation, layer.linear2
        split = [-1, self.heads, self.head_width]
        keys = attention.k_proj.weight.reshape(split).transpose([1, 2, 0]) * self.head_width**-0.5
        values = attention.v_proj.weight.reshape(split).transpose([1, 0, 2])
        self.key_weight = self._constant(keys)  # [heads, head_width, hidden]
        self.value_weight = self._constant(values)  # [heads, hidden, head_width]
        self.value_bias = attention.v_proj.bias

    def _constant(self, value):
        initial = nn.initializer.Assign(value.numpy())
        return self.create_parameter(value.shape, dtype=value.dtype, default_initializer=initial)

    def forward(
        self,
        src: paddle.Tensor,
        src_mask: paddle.Tensor | None = None,
        cache: None = None,
        output_attentions: bool = False,
    ) -> paddle.Tensor:
        """src [batch, length, hidden]; src_mask [batch, 1, 1, length], added to the scores, or None.

        `cache` and `output_attentions` are what the encoder passes to every layer; here they have no effect.
        """
        first = src[:, 0]
        query = self.q_proj(first).reshape([-1, self.heads, self.head_width]).transpose([1, 0, 2])
        query = paddle.matmul(query, self.key_weight).transpose([1, 0, 2])  # [batch, heads, hidden]
        scores = paddle.matmul(query, src, transpose_y=True)  # [batch, heads, length]
        if src_mask is not None:
            scores = scores + src_mask.squeeze(2)  # [batch, 1, 1, length] of the encoder
        weights = nn.functional.softmax(scores, axis=-1)
        context = paddle.matmul(weights, src).transpose([1, 0, 2])  # [heads, batch, hidden]
        context = paddle.matmul(context, self.value_weight).transpose([1, 0, 2])
        context = context.reshape([-1, self.heads * self.head_width])
        if self.value_bias is not None:
            context = context + self.value_bias
        state = self.norm1(first + self.out_proj(context))
        return self.norm2(state + self.linear2(self.activation(self.linear1(state)))).unsqueeze(1)


def answer_from_first_token(model: Any) -> None:
    """Replaces the last encoder layer of a sentence classifier of PaddleNLP, on this instance, in place.

    Of a model without layers the only state is then the mean of its embeddings. The model's logits stay the same up to
    rounding; its other outputs (hidden states, attentions) do not. Raises ValueError for an encoder that normalises
    first.
    """
    encoder = getattr(model, model.base_model_prefix).encoder
    if isinstance(encoder, MeanEncoder):
        encoder.first_only = True
        return
    layers = encoder.layers
    if layers[-1].normalize_before:
        raise ValueError("the encoder normalises before its sublayers; only the other order is known here")
    layers[len(layers) - 1] = FirstTokenLayer(layers[-1])


class Served(nn.Layer):
    """The classifier as it is served: ids in, logits out; the mask is computed from the padding id."""

    def __init__(self, model: Any, pad_id: int):
        super().__init__()
        self.model, self.pad_id = model, pad_id
        self.eval()

    def forward(self, input_ids: paddle.Tensor, token_type_ids: paddle.Tensor) -> paddle.Tensor:
        """int64 [batch, length] twice to logits [batch, (length,) labels]."""
        mask = (input_ids != self.pad_id).astype("float32")
        return self.model(input_ids, token_type_ids=token_type_ids, attention_mask=mask)
