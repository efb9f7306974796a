"""Folders for transformers: names, bytes and token ids, without torch."""

import json

import numpy as np
import paddle
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.deploy.torch_folder import read_leaving
from paddle_ernie_tiny.deploy.torch_parity import sample_rows
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.architectures import FAMILIES, MASKED_LM, SENTENCE_HEAD, TOKEN_HEAD, complete_config
from paddle_ernie_tiny.models.build import _new_model, load_classifier
from paddle_ernie_tiny.models.weights import read_weights, save_model
from tests.leaving import LABELS, PARTS, RULES, TEXTS, byte_level_roberta, changed, folders_of, theirs, written
from tests.torch_folders import OWN, SIZES, WORDS, torch_folder, write


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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reader_has_transformers_own_class(family, tmp_path):
    """Its head is `qa_outputs` there; here it is the token head with two outputs, start and end."""
    name = f"{FAMILIES[family].classes}ForQuestionAnswering"
    weights = torch_folder(tmp_path / "model", family, architectures=[name])
    weights = {name: value for name, value in weights.items() if "pooler" not in name}
    rng = np.random.default_rng(3)
    weights |= {"qa_outputs.weight": rng.normal(0, 0.4, (2, 8)).astype(np.float32)}
    weights |= {"qa_outputs.bias": rng.normal(0, 0.4, 2).astype(np.float32)}
    write(tmp_path / "model", weights)
    leaving = read_leaving(tmp_path / "model")
    assert (leaving.kind.name, leaving.labels, leaving.head) == ("reading", ["start", "end"], TOKEN_HEAD)
    model = load_classifier(tmp_path / "model", leaving.labels, leaving.kind)
    np.testing.assert_array_equal(model.classifier.weight.numpy(), weights["qa_outputs.weight"].T)
    out = written(tmp_path / "model", tmp_path / "out")
    again = load_file(out / "model.safetensors")
    assert again.keys() == weights.keys() and all(np.array_equal(again[key], weights[key]) for key in again)
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == [name] and config["id2label"] == {"0": "start", "1": "end"}


def test_a_regression_has_one_output_and_says_so(tmp_path):
    config = complete_config({"model_type": "bert", **SIZES}, "")
    save_model(_new_model(config, SENTENCE_HEAD, ["score"]), WordPieceTokenizer(WORDS), tmp_path / "model")
    config = json.loads((written(tmp_path / "model", tmp_path / "out") / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "score"})


def test_several_labels_per_row_are_said_and_read_again(tmp_path):
    """Transformers' pipeline then gives each label a probability of its own, by the sigmoid."""
    kind, config = KINDS["multi_label"], complete_config({"model_type": "bert", **SIZES}, "")
    model = _new_model(config, SENTENCE_HEAD, LABELS, problem_type=kind.problem_type)
    save_model(model, WordPieceTokenizer(WORDS), tmp_path / "model")
    out = written(tmp_path / "model", tmp_path / "out")
    assert json.loads((out / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert read_leaving(tmp_path / "model").kind.name == read_leaving(out).kind.name == "multi_label"


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


def test_every_kind_of_the_table_has_a_head_here():
    assert {kind.head for kind in KINDS.values()} == {SENTENCE_HEAD, TOKEN_HEAD}
