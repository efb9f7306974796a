"""Model folders that would not run: refused by the headers of their weights, before anything is loaded."""

import json
import struct

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.build import (
    check_model,
)
from tests.torch_folders import torch_folder, write


def _config(**changes):
    return lambda folder, weights: (
        torch_folder(folder.with_name("other"), **changes)
        and ((folder.parent / "other" / "config.json").replace(folder / "config.json"))
    )


def _index(content):
    def change(folder, weights):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")

    return change


def _pickle(name):
    def change(folder, weights):
        (folder / "model.safetensors").rename(folder / name)

    return change


def _float8(folder, weights):
    text = json.dumps({"bert.x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"0")


def _cut(folder, weights):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


DAMAGE = {
    "cut off": (_cut, "cannot be read: .*not fully covered"),
    "empty": (lambda f, w: (f / "model.safetensors").write_bytes(b""), "cannot be read"),
    "no weights": (lambda f, w: (f / "model.safetensors").unlink(), "no weights"),
    "PyTorch's pickle": (_pickle("pytorch_model.bin"), r"(?s)are a pickle.*transformers.*safe_serialization=True"),
    "PyTorch's pickles": (_pickle("pytorch_model-00001-of-2.bin"), r"(?s)of PyTorch.*safe_serialization=True"),
    "Paddle's pickle": (_pickle("model_state.pdparams"), r"(?s)are a pickle.*PaddleNLP"),
    "an index of nothing": (_index({}), "the index of the weights cannot be read"),
    "a part is missing": (_index({"weight_map": {"a": "a.safetensors"}}), "are missing: a.safetensors"),
    "a part elsewhere": (_index({"weight_map": {"a": "../../model.safetensors"}}), "are missing: model.safetensors"),
    "float8": (_float8, "bert.x is of type F8_E4M3"),
    "both libraries' names": (
        lambda f, w: write(f, {**w, "bert.encoder.layers.0.linear1.bias": np.zeros(12, np.float32)}),
        "is there under two names",
    ),
    "quantised": (
        lambda f, w: write(f, {n: v.astype(np.int8) if "key.weight" in n else v for n, v in w.items()}),
        "2 encoder weights are missing, the first is encoder.layers.0.self_attn.k_proj.weight",
    ),
    "another family's": (_config(family="ernie", use_task_id=False), "encoder weights are missing"),
    "more layers": (_config(num_hidden_layers=3), "16 encoder weights are missing, the first is encoder.layers.2"),
    "wider": (_config(intermediate_size=16), r"linear1.weight has shape \[8, 12\], the configuration says \[8, 16\]"),
    "more segments": (_config(type_vocab_size=16), r"has shape \[2, 8\], the configuration says \[16, 8\]"),
    "another library's": (lambda f, w: (f / "config.json").write_text('{"model_type": "gpt2"}'), "'gpt2' is not supp"),
    "no configuration": (lambda f, w: (f / "config.json").write_text("[]"), "not a JSON object"),
    "half a configuration": (lambda f, w: (f / "config.json").write_text('{"a'), "not a JSON object"),
    "relative positions": (_config(position_embedding_type="relative_key"), "only 'absolute' is supported"),
    "a decoder": (_config(is_decoder=True), "is_decoder is True"),
    "another gelu": (_config(hidden_act="gelu_new"), "hidden_act is 'gelu_new', supported are gelu"),
    "uneven heads": (_config(num_attention_heads=3), "hidden_size 8 does not go with num_attention_heads 3"),
    "a size in words": (_config(layer_norm_eps="1e-5"), "layer_norm_eps is '1e-5'"),
    "padding outside": (_config(pad_token_id=99), "does not go with pad_token_id 99"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_folders_that_would_not_run_are_refused_by_their_headers(damage, tmp_path):
    change, message = DAMAGE[damage]
    change(tmp_path / "model", torch_folder(tmp_path / "model"))
    with pytest.raises(InputError, match=message) as raised:
        check_model(tmp_path / "model")
    assert str(tmp_path / "model") in raised.value.where and raised.value.remedy


def test_a_pickle_of_paddle_that_is_trusted_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ERNIE_TINY_ALLOW_PICKLE", "1")
    weights = torch_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    paddle.save(
        {name: value.astype(np.float16) for name, value in weights.items()}, f"{tmp_path}/model/model_state.pdparams"
    )
    check_model(tmp_path / "model")
    (tmp_path / "model" / "model_state.pdparams").write_bytes(b"not a pickle")
    with pytest.raises(InputError, match="cannot be read"):
        check_model(tmp_path / "model")


def test_a_head_that_is_missing_is_found_where_a_fine_tuned_model_is_asked_for(tmp_path):
    weights = torch_folder(tmp_path / "model", labels=2)
    write(tmp_path / "model", {name: value for name, value in weights.items() if "classifier" not in name})
    head = KINDS["classification"].head
    check_model(tmp_path / "model", head, 2)
    with pytest.raises(InputError, match="2 head weights are missing, the first is classifier.weight"):
        check_model(tmp_path / "model", head, 2, ())
