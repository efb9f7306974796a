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
    load_tokenizer,
    read_model_config,
    resolve_model,
    save_model,
)

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

    model = load_classifier(pretrained, ["a", "b", "c"])
    save_model(model, load_tokenizer(pretrained), tmp_path / "classifier")
    theirs = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "classifier"))
    np.testing.assert_allclose(logits_of(theirs), logits_of(model), atol=1e-6)
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "classifier"))
    assert tokenizer("天地")["input_ids"] == load_tokenizer(pretrained).encode(["天地"]).input_ids[0]


def test_a_pretrained_encoder_gets_a_new_head_and_keeps_its_weights(pretrained):
    one, two = load_classifier(pretrained, ["a", "b"]), load_classifier(pretrained, ["a", "b"])
    name = "bert.encoder.layers.0.linear1.weight"
    np.testing.assert_array_equal(one.state_dict()[name].numpy(), two.state_dict()[name].numpy())
    head = "classifier.weight"
    assert not np.array_equal(one.state_dict()[head].numpy(), two.state_dict()[head].numpy())


def test_a_bare_encoder_loads_as_well(pretrained, tmp_path):
    classifier = load_classifier(pretrained, ["a", "b"])
    save_model(classifier.bert, load_tokenizer(pretrained), tmp_path / "bare")
    loaded = load_classifier(tmp_path / "bare", ["a", "b"])
    name = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), classifier.state_dict()[name].numpy())


def test_dropout_can_be_set_for_fine_tuning(pretrained):
    model = load_classifier(
        pretrained, ["a", "b"], dropout={"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": None}
    )
    assert (model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob) == (0.3, 0.1)


def _edit_config(folder, old, new):
    file = folder / "config.json"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_weights_of_another_shape_are_refused(pretrained):
    _edit_config(pretrained, '"intermediate_size": 16', '"intermediate_size": 32')
    with pytest.raises(InputError, match="has shape .* the configuration says"):
        load_classifier(pretrained, ["a", "b"])


def test_missing_encoder_weights_are_refused(pretrained):
    _edit_config(pretrained, '"num_hidden_layers": 1', '"num_hidden_layers": 2')
    with pytest.raises(InputError, match="encoder weights are missing, the first is bert.encoder.layers.1"):
        load_classifier(pretrained, ["a", "b"])


def test_another_number_of_labels_is_refused(pretrained, tmp_path):
    save_model(load_classifier(pretrained, ["a", "b"]), load_tokenizer(pretrained), tmp_path / "two")
    with pytest.raises(InputError, match="the task has another number of labels"):
        load_classifier(tmp_path / "two", ["a", "b", "c"])


def test_folders_that_hold_no_model_are_refused(tmp_path, pretrained):
    with pytest.raises(InputError, match="holds no config.json"):
        resolve_model(str(tmp_path))
    with pytest.raises(InputError, match="no such model folder"):
        resolve_model(str(tmp_path / "nothing"))
    (pretrained / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights"):
        load_classifier(pretrained, ["a", "b"])
    _edit_config(pretrained, '"bert"', '"gpt"')
    with pytest.raises(InputError, match="'gpt' is not supported"):
        read_model_config(pretrained)


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


STAND_IN = """
import sys, paddle
from pathlib import Path
from paddlenlp.transformers import ErnieConfig, ErnieModel
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

from paddle_ernie_tiny.models.build import load_classifier, load_tokenizer, resolve_model
folder = resolve_model(name)
loaded = load_classifier(folder, ["a", "b"])
for key, value in model.state_dict().items():
    if "pooler" not in key:
        assert bool((loaded.state_dict()["ernie." + key] == value).all()), key
assert load_tokenizer(folder).encode(["一丁"]).input_ids == [[1, 5, 6, 2]]
assert resolve_model(name) == folder
print("resolved", folder.name)
"""


def test_a_model_by_name_through_a_stand_in_for_paddlenlps_cache(tmp_path):
    environment = {**os.environ, "PPNLP_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", STAND_IN], capture_output=True, text=True, env=environment)
    assert "resolved ernie-3.0-nano-zh" in done.stdout, done.stderr[-2000:]
