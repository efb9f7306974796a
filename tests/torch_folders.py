"""Model folders as transformers writes them, with random weights."""

import json

import numpy as np
from safetensors.numpy import save_file

from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS

WORDS = [*SPECIAL_TOKENS, *"天地玄黄宇宙洪荒"]
SIZES = {"vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 12, "max_position_embeddings": 16, "layer_norm_eps": 1e-3}
OWN = {  # what differs between the families, as config.json says it
    "bert": {},
    "ernie": {"use_task_id": True, "task_type_vocab_size": 3},
    "roberta": {"pad_token_id": 0, "type_vocab_size": 1},
    "electra": {"embedding_size": 4},
}
HEADS = {"bert": "pooler", "ernie": "pooler", "roberta": "own dense layer", "electra": "own dense layer"}
IDS = np.array([[2, 5, 6, 7, 8, 3], [2, 9, 3, 0, 0, 0]])


def torch_shapes(config, labels=0):
    """Names and shapes in PyTorch's terms ([outputs, inputs] of a linear layer), written out by hand."""
    hidden, ffn, width = config["hidden_size"], config["intermediate_size"], config.get("embedding_size", 8)
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config.get("type_vocab_size", 2), width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    if config.get("use_task_id"):
        shapes["embeddings.task_type_embeddings.weight"] = (3, width)
    linear = {"embeddings_project": (hidden, width)} if width != hidden else {}
    for n in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{n}."
        linear |= {f"{layer}attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear |= {layer + "attention.output.dense": (hidden, hidden), layer + "intermediate.dense": (ffn, hidden)}
        linear |= {layer + "output.dense": (hidden, ffn)}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{layer}{norm}.weight": (hidden,), f"{layer}{norm}.bias": (hidden,)}
    family = config["model_type"]
    if HEADS[family] == "pooler":
        linear["pooler.dense"] = (hidden, hidden)
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes = {f"{family}.{name}": shape for name, shape in shapes.items()}
    if labels:
        dense = HEADS[family] != "pooler"
        heads = {"classifier.dense": (hidden, hidden)} if dense else {}
        heads["classifier.out_proj" if dense else "classifier"] = (labels, hidden)
        for name, shape in heads.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def torch_folder(folder, family="bert", labels=0, **changes):
    """A model folder in transformers' form with random weights; the weights by name."""
    config = {"model_type": family, "architectures": ["Any"], **SIZES, **OWN[family], **changes}
    rng = np.random.default_rng(7)
    shapes = torch_shapes({**config, **{k: v for k, v in SIZES.items() if config[k] is None}}, labels)
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    write(folder, weights)
    return weights


def write(folder, weights, name="model.safetensors"):
    contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    save_file(contiguous, folder / name, metadata={"format": "pt"})


def roberta_folder(folder, labels=0, words=(), **changes):
    """A RoBERTa as transformers has it: byte pairs in tokenizer.json, one segment, positions counted from padding.

    words: that were added to its tokenizer.
    """
    from .byte_pairs import byte_level_folder

    size = byte_level_folder(folder, options={"tokenizer_class": "RobertaTokenizer"}, words=words).get_vocab_size()
    own = {"vocab_size": size, "pad_token_id": 1, "max_position_embeddings": 42, **changes}
    weights = torch_folder(folder, "roberta", labels, **own)
    (folder / "vocab.txt").unlink()
    return weights
