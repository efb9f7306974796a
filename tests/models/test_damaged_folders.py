"""Damaged and foreign model folders: `validate` reads them rightly or refuses them, before anything is loaded."""

import json
import re
import shutil
import struct
import sys

import numpy as np
import paddle
import pytest
import yaml

from paddle_ernie_tiny import cli
from paddle_ernie_tiny.data.tokenization import TextRules, WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.build import check_model
from tests.byte_pairs import byte_level_folder
from tests.torch_folders import WORDS, roberta_folder, torch_folder, write


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


def _text(name, content):
    """Writes a file of the folder: a text, bytes, or a value as JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    content = content.encode() if isinstance(content, str) else content
    return lambda folder, weights: (folder / name).write_bytes(content)


def _without(*names):
    return lambda folder, weights: [(folder / name).unlink() for name in names]


def _both(*changes):
    return lambda folder, weights: [change(folder, weights) for change in changes]


def _byte_pairs(*changes, **config):
    """A RoBERTa with byte pairs in the folder's place, and the changes to it."""

    def change(folder, weights):
        shutil.rmtree(folder)
        weights = roberta_folder(folder, **config)
        _both(*changes)(folder, weights)

    return change


def _written(**changes):
    """Changes of tokenizer.json, one level down."""

    def change(folder, weights):
        file = folder / "tokenizer.json"
        written = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**written, **changes}), encoding="utf-8")

    return change


def _word_pieces(change):
    """The folder with a tokenizer.json as transformers writes it in the place of vocab.txt, and a change of it."""

    def write(folder, weights):
        tokenizer = WordPieceTokenizer(WORDS, rules=TextRules(bert=True))
        tokenizer.save(folder)
        (folder / "vocab.txt").unlink()
        change(folder, weights)

    return write


def _distant_id(folder, weights):
    file = folder / "tokenizer.json"
    written = json.loads(file.read_text(encoding="utf-8"))
    written["model"]["vocab"]["天"] = 4_000_000_000
    file.write_text(json.dumps(written), encoding="utf-8")


def _two_files(folder, weights):
    (folder / "tokenizer.json").unlink()
    byte_level_folder(folder, ("merges.txt",))


def _sharded(folder, weights):
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for place, part in enumerate((names[:9], names[9:])):
        write(folder, {name: weights[name] for name in part}, f"part{place}.safetensors")
    places = {name: f"part{int(name in names[9:])}.safetensors" for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")


def _renamed(change):
    return lambda folder, weights: write(folder, {change(name): value for name, value in weights.items()})


def _added(content, id, **more):
    return _text("tokenizer_config.json", {"added_tokens_decoder": {str(id): {"content": content, **more}}})


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
    "a class name in no list": (_config(architectures="BertModel"), "architectures is 'BertModel', no list"),
    "no class name": (_config(architectures=[None]), r"architectures is \[None\], no list"),
    "a list of families": (
        lambda f, w: (f / "config.json").write_text('{"model_type": ["bert"]}'),
        r"model type \['bert'\] is not supported",
    ),
    "a number of layers that would fill the memory": (
        lambda f, w: (f / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 1000000000}'),
        "num_hidden_layers is 1000000000",
    ),
    "a probability above 1": (_config(hidden_dropout_prob=5), "hidden_dropout_prob is 5"),
    "a dropout in words": (_config(classifier_dropout="none"), "classifier_dropout is 'none'"),
    "no finite number": (_config(layer_norm_eps=float("inf")), "layer_norm_eps is inf"),
    "a configuration without end": (lambda f, w: (f / "config.json").write_text("[" * 100000), "not a JSON object"),
}


# of the tokenizer's files, and of what belongs to several parts of a folder
FOREIGN = {
    "nothing": (lambda f, w: shutil.rmtree(f), "no such model folder"),
    "an empty folder": (lambda f, w: [path.unlink() for path in f.iterdir()], "no config.json"),
    "no tokenizer": (_without("vocab.txt"), "no vocab.txt here"),
    "an empty vocabulary": (_text("vocab.txt", ""), "the vocabulary file is empty"),
    "a vocabulary without [MASK]": (_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n天\n"), r"special tokens \[MASK\]"),
    "a blank line": (_text("vocab.txt", "\n\n".join(WORDS)), "a blank line"),
    "a vocabulary in GBK": (_text("vocab.txt", "\n".join(WORDS).encode("gbk")), "UTF-8"),
    "a larger vocabulary": (
        _text("vocab.txt", "\n".join([*WORDS, "地球"])),
        "14 tokens, the model's embedding only 13",
    ),
    "half a tokenizer.json": (_text("tokenizer.json", '{"model'), "tokenizer.json: cannot be read"),
    "a tokenizer of T5": (
        _both(_without("vocab.txt"), _text("spiece.model", b"\x00")),
        "no vocab.txt here",
    ),
    "a tokenizer of another class": (_text("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}), "T5Tokenizer"),
    "a list of options": (_text("tokenizer_config.json", []), "not a JSON object"),
    "a class beside BERT's tokenizer.json": (
        _word_pieces(_text("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"})),
        "tokenizer_class='BertJapaneseTokenizer'",
    ),
    "special tokens beside BERT's tokenizer.json": (
        _word_pieces(_text("tokenizer_config.json", {"cls_token": "<s>"})),
        "cls_token='<s>'",
    ),
    "lower case in words": (_text("tokenizer_config.json", {"do_lower_case": "false"}), "do_lower_case is 'false'"),
    "accents in words": (
        _word_pieces(_text("tokenizer_config.json", {"strip_accents": "no"})),
        "strip_accents is 'no', not true or false",
    ),
    "an id far away": (_word_pieces(_distant_id), "its token ids are not 0, 1, 2"),
    "an id of byte pairs far away": (
        _byte_pairs(
            lambda f, w: (f / "tokenizer.json").write_text(
                re.sub(r'("Ġt": ?)\d+', r"\g<1>4000000000", (f / "tokenizer.json").read_text("utf-8")), "utf-8"
            )
        ),
        "its token ids are not 0, 1, 2",
    ),
    "a word for a list of added tokens": (
        _text("tokenizer_config.json", {"additional_special_tokens": "天地"}),
        "the added tokens cannot be read",
    ),
    "other special tokens": (_text("tokenizer_config.json", {"cls_token": "<s>"}), "cls_token='<s>'"),
    "an added token of another": (
        _added("[E1]", 40, special=True),
        r"'\[E1\]' has the id 40, the vocabulary gives it 13",
    ),
    "an added token without a row": (_added("[E1]", 13, special=True), "14 tokens, the model's embedding only 13"),
    "a word of PaddleNLP": (_text("added_tokens.json", {"天地": 13}), "'天地' was added as a plain word"),
    "half of the added tokens": (_text("added_tokens.json", '{"a'), "the added tokens cannot be read"),
    "RoBERTa's padding": (
        _config(family="roberta", pad_token_id=1),
        "positions count from it",
    ),
    "few positions": (_byte_pairs(max_position_embeddings=10), "12 is more than the model's 8 positions"),
    "half of the byte pairs": (_byte_pairs(_two_files, _without("merges.txt")), "no vocab.txt here"),
    "byte pairs of others": (_byte_pairs(_written(pre_tokenizer=None)), "are not RoBERTa's"),
    "byte pairs with a normalizer": (_byte_pairs(_written(normalizer={"type": "NFC"})), "are not RoBERTa's"),
    "half of the merges": (
        _byte_pairs(_two_files, _text("merges.txt", "#version: 0.2\nq\n")),
        "vocab.json and merges.txt cannot be read",
    ),
    "byte pairs of Llama": (
        _byte_pairs(_text("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})),
        "tokenizer_class='LlamaTokenizer'",
    ),
    "byte pairs for another model": (_byte_pairs(pad_token_id=0), "<pad> has the id 1, config.json says 0"),
}
# what looks odd and is right
RIGHT = {
    "as transformers writes it": lambda f, w: None,
    "without prefix": _renamed(lambda name: name.removeprefix("bert.")),
    "names of TensorFlow": _renamed(lambda n: n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")),
    "without a pooler": lambda f, w: write(f, {n: v for n, v in w.items() if "pooler" not in n}),
    "with positions": lambda f, w: write(f, {**w, "bert.embeddings.position_ids": np.arange(16)[None]}),
    "in half precision": lambda f, w: write(f, {n: v.astype(np.float16) for n, v in w.items()}),
    "in several files": _sharded,
    "outputs": _config(use_cache=True, output_hidden_states=True, torchscript=True, dtype="float16"),
    "a list of labels": _config(id2label=["a", "b", "c"]),
    "options of transformers": _text("tokenizer_config.json", {"strip_accents": False, "backend": "tokenizers"}),
    "the whole of a tokenizer.json": _word_pieces(
        _text("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True})
    ),
    "a token that the vocabulary has": _added("天", 5, special=True),
    "byte pairs": _byte_pairs(),
    "byte pairs in two files": _byte_pairs(_two_files),
    "byte pairs without options": _byte_pairs(_without("tokenizer_config.json")),
}


@pytest.fixture
def validate(tmp_path, monkeypatch, capsys):
    """`ernie-tiny validate` of a run whose teacher is the folder: exit code, and what it says on standard error."""
    rows = "".join(f"天地天地 room{i}\t{label}\n" for i, label in enumerate(("good", "bad") * 4))
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    training = {"max_steps": 1, "per_device_train_batch_size": 4}
    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "task": {"name": "tiny", "max_length_tokens": 12},
        "data": {"train": str(tmp_path / "train.tsv"), "dev_from_train": 0.25, "columns": {"text": "text"}},
        "teacher": {"model": str(tmp_path / "model"), "finetune": training},
        "student": sizes,
        "stages": [{"stage": "task_specific", "training": training}],
    }
    config["data"]["columns"]["label"] = "label"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    monkeypatch.setattr(cli, "stop_on_signals", lambda: None)  # this process is the tests'

    def run():
        monkeypatch.setattr(sys, "argv", ["ernie-tiny", "validate", str(tmp_path / "run.yaml")])
        try:
            code = cli.main() or 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("damage", [*DAMAGE, *FOREIGN])
def test_folders_that_would_not_run_are_refused(damage, tmp_path, validate):
    change, message = {**DAMAGE, **FOREIGN}[damage]
    change(tmp_path / "model", torch_folder(tmp_path / "model"))
    code, said = validate()
    assert code == 2 and re.search(message, said) and "Traceback" not in said, said
    assert str(tmp_path / "model") in said and "remedy: " in said


@pytest.mark.parametrize("form", RIGHT)
def test_folders_that_look_odd_are_read(form, tmp_path, validate):
    RIGHT[form](tmp_path / "model", torch_folder(tmp_path / "model"))
    assert validate() == (0, ""), form


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
