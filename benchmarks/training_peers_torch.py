"""The peer's side of `training_peers.py`: the same step in PyTorch with transformers' BERT, as TinyBERT writes it.

Runs by the Python of the peer's environment (torch, transformers, safetensors) and needs nothing of this toolkit.
Reads lines of JSON from its standard input, `{"name": STEP, "batch": SIZE}`, and answers each with
`{"seconds": ..., "losses": {...}}`. Steps: `attentions` (eager attention, whose maps the models return), `hooks`
(scaled_dot_product_attention; queries and keys of the compared layers alone, kept by hooks).
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from pathlib import Path

import safetensors.torch
import torch
import transformers

F = torch.nn.functional


class Side:
    """A model that gives logits, hidden states and, of the compared layers, log-probabilities of its attention."""

    def __init__(self, shape: dict, weights: Path, layers: list[int], how: str):
        implementation = "eager" if how == "attentions" else "sdpa"
        config = transformers.BertConfig(**shape, attn_implementation=implementation)
        self.model, self.layers, self.how = transformers.BertForSequenceClassification(config), layers, how
        self.model.load_state_dict(safetensors.torch.load_file(str(weights)), strict=True)
        self.kept: dict[tuple[str, int], torch.Tensor] = {}
        if how == "hooks":
            for layer in layers:
                attention = self.model.bert.encoder.layer[layer - 1].attention.self
                for part in ("query", "key"):
                    getattr(attention, part).register_forward_hook(self._keep(part, layer))

    def _keep(self, part: str, layer: int):
        def hook(_module, _inputs, output):
            self.kept[part, layer] = output

        return hook

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor):
        found = self.model(ids, attention_mask=mask, output_hidden_states=True, output_attentions=self.how != "hooks")
        hidden = [found.hidden_states[layer] for layer in (0, *self.layers)]
        if self.how == "attentions":
            return found.logits, hidden, [found.attentions[layer - 1] for layer in self.layers]
        scores, self.kept = [self._scores(layer, mask) for layer in self.layers], {}
        return found.logits, hidden, scores

    def _scores(self, layer: int, mask: torch.Tensor) -> torch.Tensor:
        heads = self.model.config.num_attention_heads
        query, key = (self.kept[part, layer].unflatten(-1, (heads, -1)).transpose(1, 2) for part in ("query", "key"))
        return query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + (1.0 - mask[:, None, None, :]) * -1e9


def attention_kl(own: torch.Tensor, given: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """KL(A_T || A_S), mean over heads and real queries; of probabilities, or of scores before the softmax."""
    if how == "attentions":
        rows = (given * ((given + 1e-30).log() - (own + 1e-30).log())).sum(-1)
    else:
        rows = F.kl_div(F.log_softmax(own, -1), F.log_softmax(given, -1), reduction="none", log_target=True).sum(-1)
    return (rows * mask[:, None]).sum() / (mask.sum() * own.shape[1])


def hidden_mse(own: torch.Tensor, given: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean squared error over real tokens and width."""
    return ((own - given).square() * mask[..., None]).sum() / (mask.sum() * given.shape[-1])


class Peer:
    """Teacher, student with its projections and an optimiser, for one way to read attention."""

    def __init__(self, folder: Path, how: str):
        facts = json.loads((folder / "facts.json").read_text())
        self.how, self.facts = how, facts
        self.teacher = Side(facts["teacher"], folder / "teacher.safetensors", list(facts["layers"].values()), how)
        self.student = Side(facts["student"], folder / "student.safetensors", list(map(int, facts["layers"])), how)
        self.teacher.model.eval().requires_grad_(False)
        self.student.model.train()
        projections = safetensors.torch.load_file(str(folder / "projections.safetensors"))
        self.projections = torch.nn.ParameterList(projections[str(layer)] for layer in (0, *self.student.layers))
        self.parameters = [*self.student.model.parameters(), *self.projections]
        how_fast = {"lr": facts["learning_rate"], "weight_decay": facts["weight_decay"], "fused": True}
        self.optimizer = torch.optim.AdamW(self.parameters, **how_fast)

    def step(self, ids: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One step of training: both forward passes, the terms, backward, clipping, AdamW."""
        mask = torch.ones(ids.shape)
        with torch.no_grad():
            given_logits, given_hidden, given_attention = self.teacher(ids, mask)
        logits, hidden, attention = self.student(ids, mask)
        states = [state @ weight for state, weight in zip(hidden, self.projections, strict=True)]
        distances = [hidden_mse(own, given, mask) for own, given in zip(states, given_hidden, strict=True)]
        maps = [attention_kl(o, g, mask, self.how) for o, g in zip(attention, given_attention, strict=True)]
        terms = {
            "attention": sum(maps) / len(maps),
            "hidden": sum(distances[1:]) / len(maps),
            "embedding": distances[0],
            "soft_label": F.cross_entropy(logits, given_logits.softmax(-1)),
            "hard_label": F.cross_entropy(logits, labels),
        }
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.facts["max_grad_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: value.item() for name, value in terms.items()}


def main() -> None:
    """Serves steps until its input ends."""
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    for name, value in (-3, 1 << 30), (-1, 1 << 30):  # malloc keeps its memory, as in this toolkit's processes
        ctypes.CDLL("libc.so.6").mallopt(name, value)
    torch.set_num_threads(threads)
    batches = safetensors.torch.load_file(str(folder / "batches.safetensors"))
    peers: dict[tuple[str, int], Peer] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        size, how = asked["batch"], asked["name"]
        if (how, size) not in peers:
            peers = {key: peer for key, peer in peers.items() if key[1] == size}
            peers[how, size] = Peer(folder, how)
        start, cpu = time.perf_counter(), time.process_time()
        losses = peers[how, size].step(batches["ids"][:size], batches["labels"][:size])
        took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        print(json.dumps({**took, "losses": losses}), flush=True)


if __name__ == "__main__":
    main()
