"""Folders for transformers: names and bytes without torch; answers where ERNIE_TINY_TORCH_PYTHON has it."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import paddle_ernie_tiny as et
from paddle_ernie_tiny.data.tokenization import TextRules, WordPieceTokenizer
from paddle_ernie_tiny.deploy import torch_folder as writing
from paddle_ernie_tiny.deploy.torch_folder import read_leaving, write_torch_folder
from paddle_ernie_tiny.deploy.torch_parity import sample_rows, torch_python
from paddle_ernie_tiny.errors import ErnieTinyError, GateError, InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.architectures import FAMILIES, MASKED_LM, SENTENCE_HEAD, TOKEN_HEAD, complete_config
from paddle_ernie_tiny.models.build import _new_model, load_classifier
from paddle_ernie_tiny.models.weights import read_weights, save_model
from tests.byte_pairs import byte_level_folder
from tests.torch_folders import HEADS, OWN, SIZES, WORDS, torch_folder, write

LABELS = ["差", "好", "不知道"]
PARTS = [
    (f, h) for f in FAMILIES for h in ("", SENTENCE_HEAD, TOKEN_HEAD, MASKED_LM) if (f, h) != ("electra", MASKED_LM)
]


def head_shapes(family, head):
    """Names and shapes in PyTorch's terms of what a head adds to the encoder."""
    labels = len(LABELS)
    if head == TOKEN_HEAD or (head == SENTENCE_HEAD and HEADS[family] == "pooler"):
        return {"classifier.weight": (labels, 8), "classifier.bias": (labels,)}
    if head == SENTENCE_HEAD:
        dense = {"classifier.dense.weight": (8, 8), "classifier.dense.bias": (8,)}
        return {**dense, "classifier.out_proj.weight": (labels, 8), "classifier.out_proj.bias": (labels,)}
    if head == MASKED_LM and family == "roberta":
        names = ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
    elif head == MASKED_LM:
        transform = "cls.predictions.transform"
        names = (f"{transform}.dense", f"{transform}.LayerNorm", "cls.predictions.bias")
    else:
        return {}
    dense, norm, bias = names
    shapes = {f"{dense}.weight": (8, 8), f"{dense}.bias": (8,), f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    return {**shapes, bias: (len(WORDS),)}


def theirs(folder, family, head):
    """A folder as transformers' class with this head saves it; its weights by name."""
    name = f"{FAMILIES[family].classes}{head or 'Model'}"
    names = {"id2label": dict(enumerate(LABELS))} if head in (SENTENCE_HEAD, TOKEN_HEAD) else {}
    weights = torch_folder(folder, family, architectures=[name], **names)
    if head == TOKEN_HEAD:
        weights = {name: value for name, value in weights.items() if "pooler" not in name}
    if not head:
        weights = {name.removeprefix(f"{family}."): value for name, value in weights.items()}
    rng = np.random.default_rng(3)
    for name, shape in head_shapes(family, head).items():
        weights[name] = rng.normal(0, 0.4, shape).astype(np.float32)
    write(folder, weights)
    return weights


def byte_level_roberta(folder):
    """A sentence classifier with a byte-level tokenizer that has an added word; its weights by name."""
    options = {"tokenizer_class": "RobertaTokenizer"}
    size = byte_level_folder(folder.with_name("tokenizer"), options=options, words=["newword"]).get_vocab_size()
    more = {"vocab_size": size, "type_vocab_size": 1, "pad_token_id": 1, "max_position_embeddings": 66}
    weights = torch_folder(folder, "roberta", 3, architectures=["RobertaForSequenceClassification"], **more)
    (folder / "vocab.txt").unlink()
    shutil.copytree(folder.with_name("tokenizer"), folder, dirs_exist_ok=True)
    changed(folder, id2label=dict(enumerate(LABELS)))
    return weights


def written(folder, out, length=16):
    out.mkdir()
    write_torch_folder(read_leaving(folder), out, length)
    return out


@pytest.mark.parametrize(("family", "head"), PARTS)
def test_a_folder_of_transformers_comes_back_bit_equal(family, head, tmp_path):
    weights = theirs(tmp_path / "model", family, head)
    out = written(tmp_path / "model", tmp_path / "out")
    again = load_file(out / "model.safetensors")
    assert again.keys() == weights.keys()
    assert all(
        np.array_equal(again[name], value) and again[name].dtype == np.float32 for name, value in weights.items()
    )
    with safe_open(out / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
    config = json.loads((out / "config.json").read_text())
    given = {
        **SIZES,
        **OWN[family],
        "model_type": family,
        "architectures": [f"{FAMILIES[family].classes}{head or 'Model'}"],
    }
    assert {key: config[key] for key in given} == given
    if head in (SENTENCE_HEAD, TOKEN_HEAD):
        assert config["id2label"] == {"0": "差", "1": "好", "2": "不知道"}
        assert config["label2id"] == {"差": 0, "好": 1, "不知道": 2}
    assert config.get("problem_type") == ("single_label_classification" if head == SENTENCE_HEAD else None)


@pytest.mark.parametrize(("family", "head"), PARTS)
def test_a_folder_of_ours_comes_back_bit_equal(family, head, tmp_path):
    """What PaddleNLP names otherwise, the pooler of a token classifier and a tied decoder apart."""
    config = complete_config({"model_type": family, **SIZES, **OWN[family]}, "")
    paddle.seed(5)
    model = _new_model(config, head or "Model", LABELS if head in (SENTENCE_HEAD, TOKEN_HEAD) else None)
    save_model(model, WordPieceTokenizer(WORDS), tmp_path / "model")
    out = written(tmp_path / "model", tmp_path / "out")
    given, again = read_weights(tmp_path / "model"), read_weights(out)
    assert all(np.array_equal(again[name], given[name]) for name in again)
    lost = {name for name in given if name not in again}
    apart = "decoder." if head == MASKED_LM else "pooler"
    assert all(apart in name for name in lost), lost
    assert not lost or head in (MASKED_LM, TOKEN_HEAD) or (family, head) == ("roberta", SENTENCE_HEAD)


def test_a_regression_has_one_output_and_says_so(tmp_path):
    config = complete_config({"model_type": "bert", **SIZES}, "")
    save_model(_new_model(config, SENTENCE_HEAD, ["score"]), WordPieceTokenizer(WORDS), tmp_path / "model")
    config = json.loads((written(tmp_path / "model", tmp_path / "out") / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "score"})


def test_byte_pairs_leave_with_their_ids_and_pairs(tmp_path):
    """RoBERTa's own tokenizer: one segment, two separators in a pair, a word that was added."""
    weights = byte_level_roberta(tmp_path / "model")
    out = written(tmp_path / "model", tmp_path / "out")
    again = load_file(out / "model.safetensors")
    assert all(np.array_equal(again[name], weights[name]) for name in weights if "pooler" not in name)
    tokenizer, other = read_leaving(tmp_path / "model").tokenizer, Tokenizer.from_file(str(out / "tokenizer.json"))
    first, pair = tokenizer.encode(TEXTS, None, 500), tokenizer.encode(TEXTS, TEXTS[::-1], 500)
    assert [row.ids for row in other.encode_batch(TEXTS)] == first.input_ids
    rows = other.encode_batch(list(zip(TEXTS, TEXTS[::-1], strict=True)))
    assert [row.ids for row in rows] == pair.input_ids and [row.type_ids for row in rows] == pair.token_type_ids
    assert read_leaving(out).tokenizer.fingerprint == tokenizer.fingerprint
    assert json.loads((out / "special_tokens_map.json").read_text())["mask_token"] == "<mask>"
    assert any(len(row) == 2 for row in sample_rows(read_leaving(out))), "one segment is enough for pairs"


RULES = {
    "ours": TextRules(),
    "cased": TextRules(False),
    "BERT's": TextRules(bert=True, strip_accents=False),
    "more special tokens": TextRules(special=("[E1]",)),
}


TEXTS = ["Apples😀 天地", "[E1]a5[SEP] 玄 b", "", "É\u0301a\u200b"]


def folders_of(rules, tmp_path):
    """The tokenizer with these rules, saved in final/, bundle/ and hf/ as a run, its bundle and export-hf have it."""
    words = [*WORDS, "apple", "##s", "a", "5", "😀", *RULES[rules].special]
    tokenizer = WordPieceTokenizer(words, rules=RULES[rules])
    model = _new_model(complete_config({"model_type": "bert", **SIZES, "vocab_size": len(words)}, ""), "Model")
    save_model(model, tokenizer, tmp_path / "final")
    tokenizer.save(tmp_path / "bundle")
    written(tmp_path / "final", tmp_path / "hf")
    return tokenizer


@pytest.mark.parametrize("rules", RULES)
def test_other_runtimes_read_the_same_ids(rules, tmp_path):
    """From what a run's model folders, the bundle and export-hf write: `tokenizer.json` by itself."""
    tokenizer, texts = folders_of(rules, tmp_path), TEXTS
    first, pair = tokenizer.encode(texts), tokenizer.encode(texts, texts[::-1])
    for folder in ("final", "bundle", "hf"):
        other = Tokenizer.from_file(str(tmp_path / folder / "tokenizer.json"))
        assert [row.ids for row in other.encode_batch(texts)] == first.input_ids
        rows = other.encode_batch(list(zip(texts, texts[::-1], strict=True)))
        assert [row.ids for row in rows] == pair.input_ids
        assert [row.type_ids for row in rows] == pair.token_type_ids
        again = WordPieceTokenizer.from_folder(tmp_path / folder)
        assert again.fingerprint == tokenizer.fingerprint
    options = json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())
    special = json.loads((tmp_path / "hf" / "special_tokens_map.json").read_text())
    assert special == {key: options[key] for key in special} and special["cls_token"] == "[CLS]"
    assert options["tokenizer_class"] == "PreTrainedTokenizerFast", "transformers' BertTokenizer cuts otherwise"
    assert options["model_max_length"] == 16
    assert special.get("additional_special_tokens", []) == list(RULES[rules].special)


def test_paddlenlp_still_reads_the_tokenizer_of_a_run(tmp_path):
    from paddlenlp.transformers import AutoTokenizer

    config = complete_config({"model_type": "ernie", **SIZES, **OWN["ernie"]}, "")
    save_model(_new_model(config, "Model"), WordPieceTokenizer(WORDS), tmp_path / "final")
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "final"))
    assert type(tokenizer).__name__ == "ErnieTokenizer"
    assert tokenizer("天地")["input_ids"] == WordPieceTokenizer(WORDS).encode(["天地"]).input_ids[0]
    (tmp_path / "final" / "tokenizer.json").unlink()
    assert WordPieceTokenizer.from_folder(tmp_path / "final").encode(["天"]).input_ids == [[2, 5, 3]]


def changed(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}), encoding="utf-8")


REFUSED = {
    "a pooler without tanh": ("bert", SENTENCE_HEAD, {"pool_act": "relu"}, "pool_act is 'relu'"),
    "another task id": ("ernie", SENTENCE_HEAD, {"task_id": 2}, "task_id is 2"),
    "ELECTRA's head": ("electra", SENTENCE_HEAD, {"hidden_act": "relu"}, "hidden_act is 'relu'"),
    "questions": ("bert", "", {"architectures": ["BertForQuestionAnswering"]}, "head of BertForQuestionAnswering"),
    "no head": ("bert", "", {"architectures": ["BertForTokenClassification"]}, "2 head weights are missing"),
    "a head without a class": ("bert", SENTENCE_HEAD, {"architectures": None}, "the weights hold a classifier, which"),
    "several labels": (
        "bert",
        SENTENCE_HEAD,
        {"problem_type": "multi_label_classification"},
        "a row has several labels",
    ),
    "one tag": ("bert", TOKEN_HEAD, {"id2label": {"0": "a"}}, "with 1 labels is no kind of task"),
    "labels of another": ("bert", SENTENCE_HEAD, {"id2label": {"0": "a", "1": "b"}}, r"shape \[8, 3\]"),
    "another family": ("bert", "", {"model_type": "gpt2"}, "model type 'gpt2'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_transformers_computes_otherwise_is_refused(case, tmp_path):
    family, head, changes, message = REFUSED[case]
    theirs(tmp_path / "model", family, head)
    changed(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=message):
        et.export_hf(tmp_path / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_properties_that_are_not_read_do_not_matter(tmp_path):
    """The pooler's activation where the head has no pooler, a task id without its table."""
    for number, (head, changes) in enumerate([(TOKEN_HEAD, {"pool_act": "relu"}), (MASKED_LM, {"task_id": 3})]):
        theirs(tmp_path / f"model{number}", "bert", head)
        changed(tmp_path / f"model{number}", **changes)
        written(tmp_path / f"model{number}", tmp_path / f"out{number}")


def test_a_decoder_that_is_not_tied_is_refused(tmp_path):
    weights = theirs(tmp_path / "model", "bert", MASKED_LM)
    table = weights["bert.embeddings.word_embeddings.weight"]
    write(tmp_path / "model", {**weights, "cls.predictions.decoder.weight": table})
    written(tmp_path / "model", tmp_path / "tied")
    write(tmp_path / "model", {**weights, "cls.predictions.decoder.weight": table + 1})
    with pytest.raises(InputError, match="decoder.weight is not the table of word embeddings"):
        written(tmp_path / "model", tmp_path / "out")


# --- the whole command, with an interpreter that plays transformers --------------------------------------------------

PLAYER = """#!{python}
import json, sys
sys.path[:] = {path!r}
import numpy as np
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer

folder, asked, answered = sys.argv[3:]
case, rows = {case!r}, json.load(open(asked, encoding="utf-8"))
if case == "no torch":
    print("No module named 'torch'", file=sys.stderr)
    sys.exit(3)
if case == "unreadable":
    raise ValueError("Unrecognized model")
tokenizer = WordPieceTokenizer.from_folder(folder)
about = {{"torch": "2", "transformers": "5", "missing_keys": [], "unexpected_keys": []}}
about["missing_keys"] += ["classifier.weight"] * (case == "missing")
answers = {{}}
for number, row in enumerate(rows):
    ids = tokenizer.encode(row[:1], row[1:] or None, 16).input_ids[0]
    answers[f"{{number}}.ids"] = np.array(ids[:-1] if case == "ids" else ids)
    answers[f"{{number}}.output"] = np.full((1, 3), np.nan if case == "not numbers" else 0, "float32")
np.savez(answered, about=json.dumps(about), **answers)
"""


def player(folder, case):
    path = folder / "python"
    path.write_text(PLAYER.format(python=sys.executable, path=sys.path, case=case), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


GATE = {
    "no torch": (1e-4, InputError, "No module named 'torch'"),
    "unreadable": (1e-4, ErnieTinyError, "(?s)did not read the folder.*Unrecognized model"),
    "missing": (1e-4, GateError, "weights are not those of the folder: classifier.weight"),
    "ids": (1e-4, GateError, "the token ids of .* are .* here"),
    "zeros": (1e-4, GateError, "logits of transformers and PaddleNLP differ by up to"),
    "not numbers": (1e9, GateError, "differ by up to nan"),
    "labels": (1e9, GateError, "of the labels are the same in transformers; nothing was written"),
}


@pytest.mark.parametrize("case", GATE)
def test_a_folder_that_does_not_pass_is_not_delivered(case, tmp_path):
    tolerance, error, message = GATE[case]
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)
    with pytest.raises(error, match=message) as caught:
        et.export_hf(tmp_path / "model", tmp_path / "out", python=player(tmp_path, case), tolerance=tolerance)
    assert ".tmp" not in str(caught.value), "names the folder that was asked for"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "python"]


def test_no_such_interpreter(tmp_path):
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)
    with pytest.raises(InputError, match="no such program"):
        et.export_hf(tmp_path / "model", tmp_path / "out", python=tmp_path / "no-python")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr("paddle_ernie_tiny.deploy.torch_parity._NEEDED", ("no_such_package",))


def test_a_folder_that_was_not_compared_says_so(tmp_path, without_torch):
    theirs(tmp_path / "model", "roberta", TOKEN_HEAD)
    assert torch_python(None) is None
    assert et.export_hf(tmp_path / "model", tmp_path / "out") is None
    assert "Not compared with the Paddle model" in (tmp_path / "out" / "README.md").read_text()
    names = {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"special_tokens_map.json", "README.md"}
    with pytest.raises(InputError, match="the folder is not empty"):
        et.export_hf(tmp_path / "model", tmp_path / "out")


def test_a_full_disk_leaves_nothing(tmp_path, without_torch, monkeypatch):
    theirs(tmp_path / "model", "bert", SENTENCE_HEAD)

    def full(weights, file, library):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "write_weights", full)
    with pytest.raises(OSError) as caught:
        et.export_hf(tmp_path / "model", tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def run_folder(root, **config):
    stages = [{"stage": "general"}, {"stage": "task_specific"}]
    values = {"config": {"stages": stages, "task": {"max_length_tokens": 12}, **config}, "run": {}}
    root.mkdir(parents=True)
    (root / "config.resolved.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root


def length_of(out):
    return json.loads((out / "tokenizer_config.json").read_text())["model_max_length"]


def test_a_run_is_its_finished_student(tmp_path, without_torch):
    run = run_folder(tmp_path / "run")
    (run / "stages" / "2-task_specific").mkdir(parents=True)
    with pytest.raises(InputError, match="the run has not come to stages/2-task_specific/final"):
        et.export_hf(run, tmp_path / "out")
    final = run / "stages" / "2-task_specific" / "final"
    theirs(final, "bert", SENTENCE_HEAD)
    et.export_hf(run, tmp_path / "out")
    et.export_hf(final, tmp_path / "same")
    for name in os.listdir(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert length_of(tmp_path / "same") == 12, "rows are cut as in the run"
    et.export_hf(final, tmp_path / "shorter", max_length_tokens=9)
    assert length_of(tmp_path / "shorter") == 9
    shutil.move(final, tmp_path / "alone")
    et.export_hf(tmp_path / "alone", tmp_path / "longest")
    assert length_of(tmp_path / "longest") == 16
    with pytest.raises(InputError, match="--max-length: 17 is more than the model's 16 positions"):
        et.export_hf(tmp_path / "alone", tmp_path / "longer", max_length_tokens=17)


def test_what_is_no_model_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        et.export_hf(tmp_path / "none", tmp_path / "out")
    with pytest.raises(InputError, match="give one of .*/students/small"):
        et.export_hf(run_folder(tmp_path / "run", students={"small": {}}), tmp_path / "out")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").touch()
    with pytest.raises(InputError, match="holds no config.json"):
        et.export_hf(tmp_path / "bundle", tmp_path / "out")


# --- with torch ------------------------------------------------------------------------------------------------------

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


@pytest.mark.slow
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
    from paddle_ernie_tiny.deploy.torch_parity import load_encoder, load_masked_lm
    from paddle_ernie_tiny.models.capture import Capture
    from paddle_ernie_tiny.terms import Needs

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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("family", "head"), [("bert", SENTENCE_HEAD), ("ernie", MASKED_LM), ("electra", TOKEN_HEAD)])
def test_the_gate_passes_and_the_figures_are_in_the_folder(family, head, torch_interpreter, tmp_path):
    theirs(tmp_path / "model", family, head)
    rows = tmp_path / "rows.txt"
    rows.write_text("天地玄黄\t宇宙洪荒\n天\t地\n", encoding="utf-8")
    parity = et.export_hf(tmp_path / "model", tmp_path / "out", rows, torch_interpreter)
    assert parity["max_abs_diff"] <= 1e-5 and parity["label_agreement"] in (1, None)
    assert parity["rows"] == 2 + len(sample_rows(read_leaving(tmp_path / "model"))) - pairs_that_are_cut(tmp_path)
    assert f" on {parity['rows']} rows" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_the_gate_passes_for_byte_pairs(torch_interpreter, tmp_path):
    byte_level_roberta(tmp_path / "model")
    parity = et.export_hf(tmp_path / "model", tmp_path / "out", python=torch_interpreter)
    assert parity["max_abs_diff"] <= 1e-5 and parity["label_agreement"] == 1


def pairs_that_are_cut(tmp_path):
    model = read_leaving(tmp_path / "model")
    pairs = [row for row in sample_rows(model) if len(row) == 2]
    return sum(model.tokenizer.encode(row[:1], row[1:], 16).truncated for row in pairs)


def test_every_kind_of_the_table_has_a_head_here():
    assert {kind.head for kind in KINDS.values()} == {SENTENCE_HEAD, TOKEN_HEAD}
