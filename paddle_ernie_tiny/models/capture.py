"""Reads hidden states and q, k, v of chosen layers of one model instance.

Forward hooks on that instance alone: no framework class is patched, and maps that no term needs are
neither computed nor kept (`output_attentions=True` would make every layer keep its own).
"""

from __future__ import annotations

from typing import Any

import paddle

from ..errors import InputError
from ..terms import Captured, Needs
from .build import base_model, last_states


class Capture:
    """Hooks on `model` for what is needed of it.

    Use `take()` right after a forward pass: it returns what was captured and forgets it, so nothing of a
    step stays alive. `remove()` takes the hooks off again. Raises InputError for a model of another structure.
    """

    def __init__(self, model: Any, needs: Needs):
        encoder = base_model(model)
        if not hasattr(encoder, "embeddings") or not hasattr(getattr(encoder, "encoder", None), "layers"):
            what = f"the states of {type(model).__name__} cannot be read: it has no embeddings and encoder.layers"
            remedy = "use a model that PaddleNLP builds as it builds BERT (ERNIE, RoBERTa, SKEP, TinyBERT, ...)"
            raise InputError(what, remedy=remedy)
        self._captured = Captured()
        self._handles = []
        projections = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
        for part, number in needs.states:
            first = getattr(encoder, "embeddings_project", encoder.embeddings)  # ELECTRA's may be narrower
            source = first if number == 0 else encoder.encoder.layers[number - 1]
            if part in projections:
                source = getattr(source.self_attn, projections[part])
            self._handles.append(source.register_forward_post_hook(self._keep(part, number)))

    def _keep(self, part: str, number: int):
        def hook(_layer, _inputs, output):
            getattr(self._captured, part)[number] = output[0] if isinstance(output, (tuple, list)) else output

        return hook

    def take(self) -> Captured:
        """The states of the last forward pass."""
        captured, self._captured = self._captured, Captured()
        return captured

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for handle in self._handles:
            handle.remove()


def masked_token_logits(model: Any, inputs: dict[str, paddle.Tensor], positions: paddle.Tensor) -> paddle.Tensor:
    """Vocabulary logits [masked, vocab] of a masked LM at int64 `positions` [masked] of the flattened batch only.

    The others are never computed.
    """
    hidden = last_states(model, inputs)
    head = model.lm_head if hasattr(model, "lm_head") else model.cls  # RoBERTa's, else BERT's and ERNIE's
    return head(paddle.gather(hidden.reshape([-1, hidden.shape[-1]]), positions))
