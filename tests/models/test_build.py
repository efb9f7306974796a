"""Models from folders, names and sizes; weights that do not fit are refused, never left as they were."""

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ModelShape
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.build import (
    build_masked_lm,
    build_student,
    count_parameters,
    load_classifier,
    load_masked_lm,
    load_tokenizer,
    read_model_config,
    resolve_model,
)
from paddle_ernie_tiny.models.weights import save_model
from tests.byte_pairs import byte_level_folder

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙洪荒"]
TINY = ModelShape(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16)


@pytest.fixture
def pretrained(tmp_path):
    paddle.seed(0)
    model = build_masked_lm(len(TOKENS), TINY, max_position_embeddings=16)
    save_model(model, WordPieceTokenizer(TOKENS), tmp_path / "pretrained")
    return tmp_path / "pretrained"


def logits_of(model):
    model.eval()
    return model(paddle.to_tensor([[2, 5, 6, 3]])).numpy()


def test_a_saved_folder_is_one_that_paddlenlp_loads(pretrained, tmp_path):
    from paddlenlp.transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = load_classifier(pretrained, ["a", "b", "c"], new_head=True)
    save_model(model, load_tokenizer(pretrained), tmp_path / "classifier")
    theirs = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "classifier"))
    np.testing.assert_allclose(logits_of(theirs), logits_of(model), atol=1e-6)
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
    files = list((tmp_path / "classifier").iterdir())
    assert len({file.stat().st_mode for file in files}) == 1, "whoever may read one file may read the weights"
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "classifier"))
    assert tokenizer("天地")["input_ids"] == load_tokenizer(pretrained).encode(["天地"]).input_ids[0]


def test_a_pretrained_encoder_gets_a_new_head_and_keeps_its_weights(pretrained):
    one, two = (
        load_classifier(pretrained, ["a", "b"], new_head=True),
        load_classifier(pretrained, ["a", "b"], new_head=True),
    )
    name = "bert.encoder.layers.0.linear1.weight"
    np.testing.assert_array_equal(one.state_dict()[name].numpy(), two.state_dict()[name].numpy())
    head = "classifier.weight"
    assert not np.array_equal(one.state_dict()[head].numpy(), two.state_dict()[head].numpy())


def test_a_bare_encoder_loads_as_well(pretrained, tmp_path):
    classifier = load_classifier(pretrained, ["a", "b"], new_head=True)
    save_model(classifier.bert, load_tokenizer(pretrained), tmp_path / "bare")
    loaded = load_classifier(tmp_path / "bare", ["a", "b"], new_head=True)
    name = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), classifier.state_dict()[name].numpy())


FAMILIES = {"bert": "Bert", "ernie": "Ernie", "roberta": "Roberta"}


def _masked_lm(family, tie=True):
    from paddlenlp import transformers as nlp

    config = getattr(nlp, f"{FAMILIES[family]}Config")(
        vocab_size=len(TOKENS),
        max_position_embeddings=16,
        type_vocab_size=2,
        tie_word_embeddings=tie,
        **TINY.model_dump(),
    )
    paddle.seed(1)
    model = getattr(nlp, f"{FAMILIES[family]}ForMaskedLM")(config)
    for parameter in model.parameters():  # biases and norms start as constants, which would hide a lost one
        parameter.set_value(paddle.randn(parameter.shape))
    model.eval()
    return model


def _write_weights(folder, weights):
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tie", [True, False])
def test_a_masked_lm_of_each_family_comes_back_with_its_head(family, tie, tmp_path):
    model = _masked_lm(family, tie)
    save_model(model, WordPieceTokenizer(TOKENS), tmp_path / "model")
    loaded = load_masked_lm(tmp_path / "model")
    assert not loaded.training
    ids = paddle.to_tensor([[2, 5, 6, 3]])
    np.testing.assert_allclose(loaded(ids).numpy(), model(ids).numpy(), atol=1e-6)


@pytest.mark.parametrize("kept", ["cls.predictions.decoder_bias", "cls.predictions.decoder.bias"])
def test_older_names_of_a_head_are_read(kept, tmp_path):
    """Older files hold neither the tied decoder nor both names of its bias; the pooler may be gone as well."""
    model = _masked_lm("bert")
    save_model(model, WordPieceTokenizer(TOKENS), tmp_path / "model")
    weights = {n: v.numpy() for n, v in model.state_dict().items() if "decoder" not in n and "pooler" not in n}
    weights[kept] = model.cls.predictions.decoder.bias.numpy()
    _write_weights(tmp_path / "model", weights)
    ids = paddle.to_tensor([[2, 5, 6, 3]])
    np.testing.assert_allclose(load_masked_lm(tmp_path / "model")(ids).numpy(), model(ids).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("lost", "part"), [("cls.predictions.transform.weight", "masked LM head"), ("bert.encoder", "encoder")]
)
def test_a_masked_lm_without_all_its_weights_is_refused(lost, part, pretrained):
    weights = {n: v.numpy() for n, v in load_masked_lm(pretrained).state_dict().items() if lost not in n}
    _write_weights(pretrained, weights)
    with pytest.raises(InputError, match=f"the first is {lost}.* of the {part}") as raised:
        load_masked_lm(pretrained)
    assert str(pretrained) in str(raised.value) and "augmentation.word_vectors" in str(raised.value)


def test_a_classifier_is_no_masked_lm(pretrained, tmp_path):
    save_model(
        load_classifier(pretrained, ["a", "b"], new_head=True), load_tokenizer(pretrained), tmp_path / "classifier"
    )
    with pytest.raises(InputError, match="of the masked LM head"):
        load_masked_lm(tmp_path / "classifier")


def test_tied_weights_that_differ_are_refused(pretrained):
    weights = {n: v.numpy() for n, v in load_masked_lm(pretrained).state_dict().items()}
    weights["cls.predictions.decoder.weight"] = weights["cls.predictions.decoder.weight"] + 1
    _write_weights(pretrained, weights)
    with pytest.raises(InputError, match="should be one weight"):
        load_masked_lm(pretrained)


def test_dropout_can_be_set_for_fine_tuning(pretrained):
    dropout = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": None}
    model = load_classifier(pretrained, ["a", "b"], changes=dropout, new_head=True)
    assert (model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob) == (0.3, 0.1)


def _edit_config(folder, old, new):
    file = folder / "config.json"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_weights_of_another_shape_are_refused(pretrained):
    _edit_config(pretrained, '"intermediate_size": 16', '"intermediate_size": 32')
    with pytest.raises(InputError, match="has shape .* the configuration says"):
        load_classifier(pretrained, ["a", "b"], new_head=True)


def test_missing_encoder_weights_are_refused(pretrained):
    _edit_config(pretrained, '"num_hidden_layers": 1', '"num_hidden_layers": 2')
    with pytest.raises(InputError, match="encoder weights are missing, the first is bert.encoder.layers.1"):
        load_classifier(pretrained, ["a", "b"], new_head=True)


def test_a_head_is_made_up_only_where_that_is_asked_for(pretrained):
    with pytest.raises(InputError, match="head weights are missing, the first is .*(classifier|pooler)") as raised:
        load_classifier(pretrained, ["a", "b"])
    assert "fine-tuned for classification" in str(raised.value)


def test_another_number_of_labels_is_refused(pretrained, tmp_path):
    save_model(load_classifier(pretrained, ["a", "b"], new_head=True), load_tokenizer(pretrained), tmp_path / "two")
    with pytest.raises(InputError, match="the task has another number of labels"):
        load_classifier(tmp_path / "two", ["a", "b", "c"])


def test_folders_that_hold_no_model_are_refused(tmp_path, pretrained):
    with pytest.raises(InputError, match="holds no config.json"):
        resolve_model(str(tmp_path))
    with pytest.raises(InputError, match="no such model folder"):
        resolve_model(str(tmp_path / "nothing"))
    (pretrained / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        load_classifier(pretrained, ["a", "b"], new_head=True)
    _edit_config(pretrained, '"bert"', '"gpt"')
    with pytest.raises(InputError, match="'gpt' is not supported"):
        read_model_config(pretrained)


def test_pickled_weights_need_the_users_word(pretrained, monkeypatch):
    weights = {n: v for n, v in load_masked_lm(pretrained).state_dict().items()}
    paddle.save(weights, str(pretrained / "model_state.pdparams"))
    (pretrained / "model.safetensors").unlink()
    with pytest.raises(InputError, match="are a pickle, which can run any code.*\n.*ERNIE_TINY_ALLOW_PICKLE=1"):
        load_masked_lm(pretrained)
    monkeypatch.setenv("ERNIE_TINY_ALLOW_PICKLE", "1")
    assert load_masked_lm(pretrained) is not None


def test_a_vocabulary_larger_than_the_embedding_is_refused(pretrained):
    (pretrained / "tokenizer.json").unlink()
    with open(pretrained / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("日\n月\n")
    with pytest.raises(InputError, match="the vocabulary has 15 tokens, the model's embedding only 13"):
        load_tokenizer(pretrained)


def test_a_student_has_the_teachers_vocabulary_and_its_own_size(pretrained):
    shape = ModelShape(num_hidden_layers=1, hidden_size=4, num_attention_heads=2, intermediate_size=8)
    student = build_student(pretrained, shape, ["a", "b"])
    assert student.config.vocab_size == len(TOKENS) and student.config.hidden_size == 4
    embeddings = (len(TOKENS) + 16 + 2) * 4 + 2 * 4
    layer = 4 * (4 * 4 + 4) + (4 * 8 + 8) + (8 * 4 + 4) + 4 * 4
    head = (4 * 4 + 4) + (4 * 2 + 2)
    assert count_parameters(student) == embeddings + layer + head


def test_the_papers_sizes():
    """BERT-base against 4L-312: 102.3 M and 11.4 M weights with the Chinese vocabulary of 21,128 tokens."""
    student = build_masked_lm(21128, ModelShape()).bert
    assert count_parameters(student) == pytest.approx(11.4e6, rel=0.01)


def test_byte_pairs_of_a_model_by_name(tmp_path, monkeypatch):
    """PaddleNLP's tokenizer of RoBERTa knows two files; here it has read them already, and the model is tiny."""
    from paddlenlp import transformers as nlp

    backend = byte_level_folder(tmp_path / "cache", ("merges.txt",))
    files = [str(tmp_path / "cache" / name) for name in ("vocab.json", "merges.txt")]
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = nlp.RobertaConfig(vocab_size=backend.get_vocab_size(), pad_token_id=1, type_vocab_size=1, **sizes)
    fetched = {"AutoTokenizer": nlp.RobertaBPETokenizer(*files), "AutoModel": nlp.RobertaModel(config)}
    for name, value in fetched.items():
        monkeypatch.setattr(getattr(nlp, name), "from_pretrained", lambda _name, value=value: value)
    monkeypatch.setattr("paddlenlp.utils.env.MODEL_HOME", str(tmp_path / "home"))
    folder = resolve_model("tiny-roberta")
    assert load_tokenizer(folder).encode([" the room"]).input_ids == [backend.encode(" the room").ids]


STAND_IN = """
import shutil, sys, paddle
from pathlib import Path
from paddlenlp.transformers import ErnieConfig, ErnieForMaskedLM, ErnieModel
from paddlenlp.transformers.ernie.configuration import ERNIE_PRETRAINED_INIT_CONFIGURATION as KNOWN
from paddlenlp.utils.env import MODEL_HOME
name = "ernie-3.0-nano-zh"
home = Path(MODEL_HOME) / name
home.mkdir(parents=True)
# what PaddleNLP's own download leaves there: weights and vocabulary, no configuration
model = ErnieModel(ErnieConfig(**KNOWN[name]))
paddle.save({"ernie." + key: value for key, value in model.state_dict().items()}, str(home / "model_state.pdparams"))
vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"] + [chr(0x4E00 + i) for i in range(100)]
(home / "ernie_3.0_nano_zh_vocab.txt").write_text("\\n".join(vocabulary) + "\\n", encoding="utf-8")

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.build import load_classifier, load_masked_lm, load_tokenizer, resolve_model
folder = resolve_model(name)
loaded = load_classifier(folder, ["a", "b"], new_head=True)
for key, value in model.state_dict().items():
    if "pooler" not in key:
        assert bool((loaded.state_dict()["ernie." + key] == value).all()), key
assert load_tokenizer(folder).encode(["一丁"]).input_ids == [[1, 5, 6, 2]]
assert resolve_model(name) == folder
try:
    load_masked_lm(folder)
except InputError as error:
    assert "of the masked LM head" in str(error)
else:
    raise AssertionError("a head came from nowhere")

# the same model, published with the head of its pre-training
shutil.rmtree(folder)
whole = ErnieForMaskedLM(ErnieConfig(**KNOWN[name]))
whole.cls.predictions.decoder.bias.set_value(paddle.randn([KNOWN[name]["vocab_size"]]))
older = {key: value for key, value in whole.state_dict().items() if ".decoder." not in key}
paddle.save(older, str(home / "model_state.pdparams"))
folder = resolve_model(name)
masked_lm = load_masked_lm(folder)
for key, value in whole.state_dict().items():
    assert bool((masked_lm.state_dict()[key] == value).all()), key
loaded = load_classifier(folder, ["a", "b"], new_head=True)
assert bool((loaded.ernie.pooler.dense.weight == whole.ernie.pooler.dense.weight).all())
print("resolved", folder.name)
"""


@pytest.mark.slow
def test_a_model_by_name_through_a_stand_in_for_paddlenlps_cache(tmp_path):
    environment = {**os.environ, "PPNLP_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", STAND_IN], capture_output=True, text=True, env=environment)
    assert "resolved ernie-3.0-nano-zh" in done.stdout, done.stderr[-2000:]
