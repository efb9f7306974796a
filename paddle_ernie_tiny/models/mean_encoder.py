"""The encoder of a model without layers: the mean of its embeddings, for classifiers that answer in microseconds.

The idea is that of averaged word vectors (fastText, arXiv 1607.01759; model2vec): what is left of a model is its
embeddings and its head. The words' order reaches the answer only through what the embeddings' normalisation makes of
positions, so a task that turns on it needs a layer.
"""

from __future__ import annotations

import paddle
from paddle import nn

_REAL = -1.0  # the families' masks add 0 to the scores of a token, and -10,000 to those of padding


class MeanEncoder(nn.Layer):
    """Puts the mean of the real tokens' states in the place of the first token's; the others' stay as they are.

    So every head finds what it reads: one on the first token reads the mean, one on each token that token's embedding.
    All tokens that are no padding count, [CLS] and [SEP] among them. Padding changes nothing. It has no weights, and
    `layers` is empty. `first_only`: the states are the mean alone, [batch, 1, hidden].
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LayerList()
        self.first_only = False

    def forward(
        self,
        src: paddle.Tensor,
        src_mask: paddle.Tensor | None = None,
        cache: None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = False,
    ) -> paddle.Tensor:
        """src [batch, length, hidden]; src_mask [batch, 1, 1, length], 0 for tokens, far below for padding, or None.

        The rest is what PaddleNLP's models pass to an encoder; here it has no effect.
        """
        if src_mask is None:
            mean = src.mean(axis=1, keepdim=True)
        else:
            real = (src_mask.squeeze(1) > _REAL).astype(src.dtype)  # [batch, 1, length]
            mean = paddle.matmul(real / real.sum(axis=-1, keepdim=True), src)
        return mean if self.first_only else paddle.concat([mean, src[:, 1:]], axis=1)
