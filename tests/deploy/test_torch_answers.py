"""What transformers answers of the folders that are written for it, where ERNIE_TINY_TORCH_PYTHON has torch."""

import json
import subprocess
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file

import paddle_ernie_tiny as et
from paddle_ernie_tiny.deploy.torch_folder import read_leaving
from paddle_ernie_tiny.deploy.torch_parity import sample_rows
from paddle_ernie_tiny.models.architectures import FAMILIES, MASKED_LM, SENTENCE_HEAD, TOKEN_HEAD
from paddle_ernie_tiny.models.build import load_classifier, load_encoder, load_masked_lm
from paddle_ernie_tiny.models.capture import Capture
from paddle_ernie_tiny.terms import Needs
from tests.leaving import PARTS, RULES, TEXTS, byte_level_roberta, folders_of, theirs, written
from tests.torch_folders import OWN, SIZES, WORDS

pytestmark = pytest.mark.slow

MAKE = """
import json, sys, torch, transformers
for name, head, options in json.load(open(sys.argv[1], encoding="utf-8")):
    torch.manual_seed(4)
    config = transformers.AutoConfig.for_model(name.split("-")[0], initializer_range=0.3, **options)
    getattr(transformers, head)(config).save_pretrained(name)
"""
STATES = """
import json, sys, numpy, torch, transformers
ids, mask = (torch.tensor(value) for value in ([[2, 5, 6, 7, 8, 3], [2, 9, 10, 3, 0, 0]], [[1] * 6, [1] * 4 + [0] * 2]))
for name, head, _ in json.load(open(sys.argv[1], encoding="utf-8")):
    for folder in (name, "out-" + name):
        model = getattr(transformers, head).from_pretrained(folder).eval()
        with torch.no_grad():
            given = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        numpy.savez(folder + ".npz", given[0].numpy(), *[state.numpy() for state in given.hidden_states])
"""


def test_tiny_models_of_transformers_there_and_back(torch_interpreter, tmp_path, monkeypatch):
    """Of four families with each head: bit-equal weights; logits and hidden states within 1e-5 of PaddleNLP's."""
    monkeypatch.chdir(tmp_path)
    models = []
    for family, head in PARTS:
        options = {**SIZES, **OWN[family], **({"num_labels": 3} if head in (SENTENCE_HEAD, TOKEN_HEAD) else {})}
        models.append((f"{family}-{head}", FAMILIES[family].classes + (head or "Model"), options))
    Path("models.json").write_text(json.dumps(models))
    subprocess.run([torch_interpreter, "-c", MAKE, "models.json"], check=True, capture_output=True)
    for name, _, _ in models:
        (tmp_path / name / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
        written(Path(name), Path(f"out-{name}"))
        one, other = (load_file(Path(folder) / "model.safetensors") for folder in (name, f"out-{name}"))
        assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one), name
    subprocess.run([torch_interpreter, "-c", STATES, "models.json"], check=True, capture_output=True)
    for name, _, _ in models:
        expected, again = np.load(f"{name}.npz"), np.load(f"out-{name}.npz")
        assert all(np.array_equal(expected[key], again[key]) for key in expected), "transformers on OUT"
        for own, key in zip(paddle_states(Path(f"out-{name}")), expected, strict=True):
            real = [0, 1] if own.ndim == 2 else (np.array([[1] * 6, [1] * 4 + [0] * 2]) == 1)
            assert np.abs(own[real] - expected[key][real]).max() <= 1e-5, (name, key)


def paddle_states(folder):
    """Logits (of an encoder: its last states), then the hidden states from the embeddings on, of PaddleNLP's model."""
    model = read_leaving(folder)
    if model.kind is not None:
        network = load_classifier(folder, model.labels, model.kind)
    else:
        network = load_masked_lm(folder) if model.head else load_encoder(folder)
    network.eval()
    capture = Capture(network, Needs(hidden=tuple(range(SIZES["num_hidden_layers"] + 1))))
    ids = paddle.to_tensor([[2, 5, 6, 7, 8, 3], [2, 9, 10, 3, 0, 0]])
    mask = paddle.to_tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2])
    given = network(ids, token_type_ids=paddle.zeros_like(ids), attention_mask=mask)
    states = capture.take().hidden
    first = given[0] if isinstance(given, (tuple, list)) else given
    return [first.numpy(), *(states[layer].numpy() for layer in sorted(states))]


TOKENIZE = """
import json, sys, transformers
texts = json.loads(sys.argv[1])
for folder in sys.argv[2:]:
    print(json.dumps(transformers.AutoTokenizer.from_pretrained(folder)(texts)["input_ids"]))
"""


def test_autotokenizer_reads_the_same_ids(torch_interpreter, tmp_path):
    """Of the folders that have a configuration; a bundle's file is read by its name."""
    expected, folders = [], []
    for number, rules in enumerate(RULES):
        (tmp_path / str(number)).mkdir()
        ids = folders_of(rules, tmp_path / str(number)).encode(TEXTS).input_ids
        for place in ("final", "hf"):
            folders.append(tmp_path / str(number) / place)
            expected.append(ids)
    command = [torch_interpreter, "-c", TOKENIZE, json.dumps(TEXTS), *folders]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [json.loads(line) for line in said.splitlines()] == expected


@pytest.mark.parametrize(("family", "head"), [("bert", SENTENCE_HEAD), ("ernie", MASKED_LM), ("electra", TOKEN_HEAD)])
def test_the_gate_passes_and_the_figures_are_in_the_folder(family, head, torch_interpreter, tmp_path):
    theirs(tmp_path / "model", family, head)
    rows = tmp_path / "rows.txt"
    rows.write_text("天地玄黄\t宇宙洪荒\n天\t地\n", encoding="utf-8")
    parity = et.export_hf(tmp_path / "model", tmp_path / "out", rows, torch_interpreter)
    assert parity["max_abs_diff"] <= 1e-5 and parity["label_agreement"] in (1, None)
    assert parity["rows"] == 2 + len(sample_rows(read_leaving(tmp_path / "model"))) - pairs_that_are_cut(tmp_path)
    assert f" on {parity['rows']} rows" in (tmp_path / "out" / "README.md").read_text()


def test_the_gate_passes_for_byte_pairs(torch_interpreter, tmp_path):
    byte_level_roberta(tmp_path / "model")
    parity = et.export_hf(tmp_path / "model", tmp_path / "out", python=torch_interpreter)
    assert parity["max_abs_diff"] <= 1e-5 and parity["label_agreement"] == 1


def pairs_that_are_cut(tmp_path):
    model = read_leaving(tmp_path / "model")
    pairs = [row for row in sample_rows(model) if len(row) == 2]
    return sum(model.tokenizer.encode(row[:1], row[1:], 16).truncated for row in pairs)
