"""Teacher layers at a smaller width, as a student's start: fitted layer by layer, by least squares on some texts.

Reconstructing a pruned layer's output from what is left of its input is the idea of ThiNet (arXiv 1707.06342); here it
goes through a whole Transformer encoder, and each layer is fitted on the states of those already narrowed, so that it
makes up for their errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from .build import base_model

_RIDGE = 1e-3  # of the inputs' mean variance, so that few texts fit well enough
Batches = Sequence[Mapping[str, paddle.Tensor]]
Recorded = Mapping[str, tuple[np.ndarray, np.ndarray]]


def narrow_layers(student: Any, teacher: Any, layers: Mapping[int, int], batches: Batches) -> None:
    """Gives a student the teacher's embeddings and layers g(m) (`layers`, from 1), at its own width and FFN size.

    The student keeps those channels of the hidden states that explain most of the others (greedy selection), so that
    residual connections and LayerNorm go on channel by channel. What a layer reads is first predicted from them.
    Scores and values of each head are cut to the student's head size by a truncated SVD; of the feed-forward network
    those units stay that move the states most. Output projections and LayerNorm are fitted to the teacher's states.

    Both have the same tokens and number of heads. batches: input_ids, token_type_ids and attention_mask each, some
    thousands of tokens in all. Raises no error for a wider student: see `check_start`.
    """
    own, theirs = base_model(student), base_model(teacher)
    ends = [_end(g) for g in (0, *layers.values())]
    inner = [f"encoder.layers.{g - 1}.{part}" for g in layers.values() for part in ("self_attn", "norm1", "linear2")]
    found = _recorded(theirs, [*ends, *inner], batches)
    kept = strongest_channels(np.concatenate([found[name][1] for name in ends]), own.config.hidden_size)
    tables = theirs.embeddings.state_dict()
    for name, table in own.embeddings.named_parameters():
        if name.endswith("_embeddings.weight"):
            table.set_value(tables[name].numpy()[:, kept])
    (summed, _), norm = _recorded(own, ends[:1], batches)[ends[0]], own.embeddings.layer_norm
    states = _fit_norm(norm, summed, found[ends[0]][1][:, kept])
    for m, g in layers.items():
        name = f"encoder.layers.{g - 1}."
        wanted = {part.removeprefix(name): values for part, values in found.items() if part.startswith(name)}
        states = _fit_layer(own, m - 1, states, theirs.encoder.layers[g - 1], wanted, kept, batches)


def projections_of(
    student: Any, teacher: Any, layers: Mapping[int, int], batches: Batches, shared: bool = False
) -> dict[str, np.ndarray]:
    """By the name of each student layer m, the W [hidden_student, hidden_teacher] that brings it nearest to g(m).

    Layer 0 is the embedding output. `shared`: one for all of them, by that name. Least squares without a bias, as a
    projection has none; `batches` as in `narrow_layers`.
    """
    own = _recorded(base_model(student), sorted({_end(m) for m in layers}), batches)
    theirs = _recorded(base_model(teacher), sorted({_end(g) for g in layers.values()}), batches)
    pairs = {str(m): (own[_end(m)][1].astype(np.float64), theirs[_end(g)][1]) for m, g in layers.items()}
    if shared:
        mine, given = zip(*pairs.values(), strict=True)
        pairs = {"shared": (np.concatenate(mine), np.concatenate(given))}
    return {name: _least_squares(*each).astype(np.float32) for name, each in pairs.items()}


def _end(layer: int) -> str:
    """What gives the hidden states of a layer, from 1; of 0, the embeddings."""
    return f"encoder.layers.{layer - 1}.norm2" if layer else "embeddings.layer_norm"


def strongest_channels(states: np.ndarray, count: int) -> np.ndarray:
    """The channels from which the others are predicted best, chosen one after another; int64 [count], in their order.

    states: float [tokens, channels].
    """
    left = np.cov(states, rowvar=False, dtype=np.float64)
    least, chosen = 1e-9 * np.trace(left) / len(left), np.zeros(len(left), bool)
    for _ in range(count):
        own = np.diag(left)
        explained = np.where(own > least, np.square(left).sum(axis=0) / np.maximum(own, least), 0.0)
        best = int(np.where(chosen, -1.0, explained).argmax())
        chosen[best] = True
        if own[best] > least:
            left = left - np.outer(left[best], left[best]) / own[best]
    return np.flatnonzero(chosen)


def linear_fit(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Weights W and bias b of the ridge regression outputs = inputs W + b, float64 [inputs + 1, outputs], b last."""
    x, y = inputs.mean(axis=0, dtype=np.float64), outputs.mean(axis=0, dtype=np.float64)
    weights = _least_squares(inputs - x, outputs - y)
    return np.vstack([weights, y - x @ weights])


def _least_squares(inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    gram = inputs.T @ inputs / len(inputs)
    gram[np.diag_indices_from(gram)] += _RIDGE * max(np.trace(gram) / len(gram), 1e-12)  # inputs that never vary: W = 0
    return np.linalg.solve(gram, inputs.T @ outputs / len(inputs))


def _fit_layer(
    student: Any, own: int, states: np.ndarray, source: Any, found: Recorded, kept: np.ndarray, batches: Batches
) -> np.ndarray:
    """Layer `own` (from 0) of the student, whose input is `states` [tokens, width]. Returns its output.

    source: the teacher's layer. found: inputs and outputs of its parts, by name.
    """
    layer = student.encoder.layers[own]
    read = linear_fit(states, found["self_attn"][0])
    fit_heads(layer.self_attn, source.self_attn, states, read, kept)
    out = f"encoder.layers.{own}.self_attn.out_proj"
    contexts, (summed, after) = _recorded(student, [out], batches)[out][0], found["norm1"]
    states = states + _set(layer.self_attn.out_proj, contexts, linear_fit(contexts, summed[:, kept] - states))
    states = _fit_norm(layer.norm1, states, after[:, kept])

    active, (summed, after) = found["linear2"][0], found["norm2"]
    moved = active.std(axis=0) * np.linalg.norm(source.linear2.weight.numpy()[:, kept], axis=1)
    units = np.sort(np.argsort(-moved, kind="stable")[: layer.linear1.weight.shape[1]])
    inner = _through(linear_fit(states, found["norm1"][1]), source.linear1)[:, units]
    hidden = paddle.to_tensor(_set(layer.linear1, states, inner).astype(np.float32))
    active = layer.activation(hidden).numpy()
    states = states + _set(layer.linear2, active, linear_fit(active, summed[:, kept] - states))
    return _fit_norm(layer.norm2, states, after[:, kept])


def fit_heads(own: Any, source: Any, states: np.ndarray, read: np.ndarray, kept: np.ndarray) -> None:
    """Queries, keys and values of each head: q k^T and v W_O as the teacher's, but of a lower rank.

    A product x M y^T is cut where its values on the states differ least: a truncated SVD of R M R^T, with the states'
    second moments R^T R. The bias is a row more.
    """
    size, full = own.head_dim, source.head_dim
    inputs = np.hstack([states, np.ones((len(states), 1))]).astype(np.float64)
    moments = inputs.T @ inputs / len(inputs)
    moments[np.diag_indices_from(moments)] += 0.1 * _RIDGE * np.trace(moments) / len(moments)
    root = np.linalg.cholesky(moments).T
    query, key, value = (_through(read, part) for part in (source.q_proj, source.k_proj, source.v_proj))
    output = source.out_proj.weight.numpy().astype(np.float64)[:, kept]
    new = {part: np.zeros((len(read), own.embed_dim)) for part in ("q_proj", "k_proj", "v_proj")}
    for head in range(source.num_heads):
        there, here = slice(head * full, (head + 1) * full), slice(head * size, (head + 1) * size)
        left, values, right = np.linalg.svd(root @ query[:, there] @ (root @ key[:, there]).T)
        scale = np.sqrt(values[:size] * np.sqrt(size / full))  # scores are divided by the root of the head's size
        new["q_proj"][:, here] = np.linalg.solve(root, left[:, :size] * scale)
        new["k_proj"][:, here] = np.linalg.solve(root, right[:size].T * scale)
        left, values, _ = np.linalg.svd(root @ value[:, there] @ output[there], full_matrices=False)
        new["v_proj"][:, here] = np.linalg.solve(root, left[:, :size] * np.sqrt(values[:size]))
    for part, weights in new.items():
        _set(getattr(own, part), states, weights)


def _through(read: np.ndarray, linear: Any) -> np.ndarray:
    """The weights and bias of a linear layer behind the prediction `read` of its input: [inputs + 1, outputs]."""
    weights = read @ linear.weight.numpy().astype(np.float64)
    weights[-1] += linear.bias.numpy()
    return weights


def _set(linear: Any, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives a linear layer its weights and, in the last row, bias. Returns its output for `inputs`."""
    linear.weight.set_value(weights[:-1].astype(np.float32))
    linear.bias.set_value(weights[-1].astype(np.float32))
    return inputs @ weights[:-1] + weights[-1]


def _fit_norm(norm: Any, inputs: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Scale and shift of a LayerNorm, channel by channel, for the wanted outputs. Returns the outputs."""
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    normal = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + norm._epsilon)
    mean, target = normal.mean(axis=0), wanted.mean(axis=0)
    scale = ((normal - mean) * (wanted - target)).mean(axis=0) / np.maximum(normal.var(axis=0), 1e-12)
    norm.weight.set_value(scale.astype(np.float32))
    norm.bias.set_value((target - scale * mean).astype(np.float32))
    return (normal - mean) * scale + target


@paddle.no_grad()
def _recorded(model: Any, names: Sequence[str], batches: Batches) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs and outputs of layers of an encoder on the real tokens of all batches, [tokens, width], by layer name.

    Of attention and linear layers the inputs alone: their outputs are empty, [0].
    """
    kept: dict[str, list] = {name: [] for name in names}
    layers, mask = dict(model.named_sublayers()), np.zeros(0, bool)

    def keep(name: str, inputs: tuple, output: Any) -> None:
        after = output.numpy()[mask] if isinstance(layers[name], paddle.nn.LayerNorm) else np.zeros(0)
        kept[name].append((inputs[0].numpy()[mask], after))

    def hook(name: str) -> Any:
        return layers[name].register_forward_post_hook(lambda _, inputs, output: keep(name, inputs, output))

    hooks = list(map(hook, names))
    model.eval()
    try:
        for inputs in batches:
            mask = inputs["attention_mask"].numpy() > 0
            model(**inputs)
    finally:
        for each in hooks:
            each.remove()
    # each list is freed once it is joined: together they hold gigabytes of a large teacher
    return {name: tuple(map(np.concatenate, zip(*kept.pop(name), strict=True))) for name in names}  # type: ignore
