"""Reads hidden states and q, k, v of chosen layers of one model instance.

Forward hooks on that instance alone: no framework class is patched, and maps that no term needs are
neither computed nor kept (`output_attentions=True` would make every layer keep its own).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .build import base_model


@dataclass
class Captured:
    """What one forward pass left behind.

    hidden: layer -> [batch, length, hidden_size]; layer 0 is the embedding output.
    query, key, value: layer (from 1) -> [batch, length, hidden_size], before splitting into heads.
    """

    hidden: dict = field(default_factory=dict)
    query: dict = field(default_factory=dict)
    key: dict = field(default_factory=dict)
    value: dict = field(default_factory=dict)


class Capture:
    """Hooks for `hidden_layers` (0 to L) and `attention_layers` (1 to L) of `model`.

    Use `take()` right after a forward pass: it returns what was captured and forgets it, so nothing of a
    step stays alive. `remove()` takes the hooks off again.
    """

    def __init__(self, model, hidden_layers=(), attention_layers=(), values: bool = False):
        encoder = base_model(model)
        self._captured = Captured()
        self._handles = []
        layers = encoder.encoder.layers
        for number in hidden_layers:
            source = encoder.embeddings if number == 0 else layers[number - 1]
            self._handles.append(source.register_forward_post_hook(self._keep("hidden", number)))
        for number in attention_layers:
            attention = layers[number - 1].self_attn
            parts = {"query": attention.q_proj, "key": attention.k_proj}
            if values:
                parts["value"] = attention.v_proj
            for kind, layer in parts.items():
                self._handles.append(layer.register_forward_post_hook(self._keep(kind, number)))

    def _keep(self, kind: str, number: int):
        def hook(_layer, _inputs, output):
            tensor = output[0] if isinstance(output, (tuple, list)) else output
            getattr(self._captured, kind)[number] = tensor

        return hook

    def take(self) -> Captured:
        captured, self._captured = self._captured, Captured()
        return captured

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def masked_token_logits(model, inputs: dict, positions):
    """Vocabulary logits [masked, vocab] of a masked LM at flattened positions only; the others are never computed."""
    import paddle

    hidden = base_model(model)(**inputs)[0]
    head = model.lm_head if hasattr(model, "lm_head") else model.cls  # RoBERTa's, else BERT's and ERNIE's
    return head(paddle.gather(hidden.reshape([-1, hidden.shape[-1]]), positions))
