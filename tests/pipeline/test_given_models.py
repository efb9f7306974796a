"""A given teacher, and the start of a student, before anything trains: weights, positions, segments, labels."""

import json
import shutil

import numpy as np
import paddle
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from paddle_ernie_tiny.config import ModelShape, load_config
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.export import export
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.models.build import build_masked_lm, load_classifier
from paddle_ernie_tiny.models.weights import model_fingerprint, save_model
from paddle_ernie_tiny.pipeline.preflight import preflight
from paddle_ernie_tiny.pipeline.run import plan

from ..torch_folders import roberta_folder

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
TINY = ModelShape(**SIZES)


@pytest.fixture
def model(tmp_path):
    """A pretrained model with 32 positions."""
    paddle.seed(0)
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *"好坏东西"])
    save_model(build_masked_lm(tokenizer.vocab_size, TINY, 32), tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def check(model, tmp_path):
    """Preflight of a run with the model as its teacher; further keys replace those of the configuration."""
    rows = "".join(f"{word}东西\t是吗\t{label}\n" for word, label in (("好", "good"), ("坏", "bad")) * 4)
    (tmp_path / "train.tsv").write_text("text\tsecond\tlabel\n" + rows, encoding="utf-8")
    training = {"max_steps": 1, "per_device_train_batch_size": 4}
    config = {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "task": {"name": "tiny", "labels": ["bad", "good"], "max_length_tokens": 32},
        "data": {"train": str(tmp_path / "train.tsv"), "dev_from_train": 0.25, "columns": {"text": "text"}},
        "teacher": {"model": str(model), "finetune": training},
        "student": SIZES,
        "stages": [{"stage": "task_specific", "training": training}],
    }
    config["data"]["columns"]["label"] = "label"

    def run(*overrides):
        if any(override.startswith("students=") for override in overrides):
            config.pop("student", None)
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return preflight(load_config(tmp_path / "run.yaml", overrides), say=lambda line: None)

    return run


def refused(check, *overrides):
    with pytest.raises(InputError) as raised:
        check(*overrides)
    return str(raised.value)


def test_what_int8_of_an_engine_needs_is_looked_for_before_training(check, monkeypatch):
    monkeypatch.setattr("paddle_ernie_tiny.engines.find_spec", lambda name: None if name == "onnx" else True)
    check("export.engines=[paddle,onnxruntime]")
    check("export.int8={}")
    message = refused(check, "export.engines=[paddle,onnxruntime]", "export.int8={}")
    assert "export.engines: the package 'onnx' is not installed; export.int8 needs it" in message


def edit(folder, **changes):
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**values, **changes}), encoding="utf-8")


def one_segment(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "token_type" in name)
    save_file({**weights, name: np.ascontiguousarray(weights[name][:1])}, folder / "model.safetensors")
    edit(folder, type_vocab_size=1)


def test_a_model_that_fits(check):
    assert check()


def test_each_fault_of_a_folder_is_told_once(check, model):
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:500])
    message = refused(check, "augmentation.labels=teacher")
    assert message.startswith("1 problem found") and "model.safetensors: these weights cannot be read" in message


def test_lengths_beyond_the_positions(check, model):
    assert "task.max_length_tokens: 33 is more than the model's 32 positions" in refused(
        check, "task.max_length_tokens=33"
    )


def test_pairs_need_two_segments(check, model):
    one_segment(model)
    assert check()
    assert "only one segment (type_vocab_size 1)" in refused(check, "data.columns.text_b=second")


def test_pairs_of_byte_pairs_have_one_segment(check, tmp_path):
    roberta_folder(tmp_path / "roberta")
    rows = "".join(f"the room is {label}{i}\tyes\t{label}\n" for i in range(4) for label in ("bad", "good"))
    (tmp_path / "english.tsv").write_text("text\tsecond\tlabel\n" + rows, encoding="utf-8")
    own = (f"teacher.model={tmp_path / 'roberta'}", f"data.train={tmp_path / 'english.tsv'}")
    assert check("data.columns.text_b=second", *own)


def test_the_start_of_a_student_is_checked_as_well(check, model, tmp_path):
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *"好坏东西"])
    save_model(build_masked_lm(tokenizer.vocab_size, TINY, 16), tokenizer, tmp_path / "start")
    start = ("student.init.method=folder", f"student.init.folder={tmp_path / 'start'}")
    message = refused(check, *start)
    assert f"32 is more than the model's 16 positions ({tmp_path / 'start'})" in message
    edit(tmp_path / "start", max_position_embeddings=32)
    assert "position_embeddings.weight has shape [16, 8], the configuration says [32, 8]" in refused(check, *start)


def classifier(model, names):
    tokenizer = WordPieceTokenizer.from_folder(model)
    save_model(load_classifier(model, names, new_head=True), tokenizer, model)


def test_a_finished_teacher_with_the_default_labels(check, model):
    """Both libraries leave the map of labels out where it is LABEL_0 and LABEL_1."""
    classifier(model, ["LABEL_0", "LABEL_1"])
    values = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for name in ("id2label", "label2id"):
        values.pop(name, None)
    (model / "config.json").write_text(json.dumps(values), encoding="utf-8")
    assert check("teacher.finetune=null")


def test_a_finished_teacher_with_other_names_for_the_labels(check, model, tmp_path):
    classifier(model, ["neg", "pos"])
    message = refused(check, "teacher.finetune=null")
    assert "the teacher's labels are ['neg', 'pos'], the task's are ['bad', 'good']" in message
    assert "task.labels=[neg, pos] and data.label_aliases, such as {bad: neg}" in message
    renamed = ("teacher.finetune=null", "task.labels=[neg, pos]", "data.label_aliases={bad: neg, good: pos}")
    assert check(*renamed)
    with open(tmp_path / "train.tsv", "a", encoding="utf-8") as file:
        file.write("东西\t是吗\tsoso\n" * 4)
    message = refused(check, "teacher.finetune=null", "task.labels=[bad, soso, good]")
    assert "remedy: give teacher.finetune, which trains a head for the task's labels" in message


def without_names(folder):
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in values.items() if key not in ("id2label", "label2id", "num_labels")}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"]])
def test_a_finished_teacher_without_a_map_has_the_task_s_labels(check, model, names):
    classifier(model, names)
    without_names(model)
    if len(names) == 2:
        assert check("teacher.finetune=null")
    else:
        message = refused(check, "teacher.finetune=null")
        assert "classifier.weight has shape [8, 3], the configuration says [8, 2]" in message


class TestNamesOfLabels:
    """`export --labels` names the outputs of a classifier whose own names are missing or LABEL_0 and so on."""

    @pytest.fixture
    def rows(self, tmp_path):
        (tmp_path / "rows.txt").write_text("好东西\n坏\n", encoding="utf-8")
        return tmp_path / "rows.txt"

    @pytest.mark.parametrize("own", ["LABEL", "none"])
    def test_that_are_given(self, model, tmp_path, rows, own):
        classifier(model, ["LABEL_0", "LABEL_1", "LABEL_2"])
        if own == "none":
            without_names(model)
        export(model, tmp_path / "bundle", rows, max_length_tokens=16, labels=["bad", "fair", "good"])
        assert read_manifest(tmp_path / "bundle").labels == ["bad", "fair", "good"]

    def test_that_are_not_given(self, model, tmp_path, rows):
        classifier(model, ["a", "b", "c"])
        without_names(model)
        export(model, tmp_path / "bundle", rows, max_length_tokens=16)
        assert read_manifest(tmp_path / "bundle").labels == ["LABEL_0", "LABEL_1", "LABEL_2"]

    @pytest.mark.parametrize(
        ("own", "given", "message"),
        [
            ("LABEL_0 LABEL_1", ["a"], r"1 labels \(a\) for a model with 2 outputs"),
            ("LABEL_0 LABEL_1", ["a", "b", "c"], "3 labels .* for a model with 2 outputs"),
            ("LABEL_0 LABEL_1", ["a", "a"], "label 1 is 'a': a name twice"),
            ("LABEL_0 LABEL_1", ["a", ""], "label 1 is '': an empty name"),
            ("LABEL_0 LABEL_1", ["a", "b\x1b"], r"label 1 .*: control character U\+001B at position 1"),
            ("bad good", ["good", "bad"], "the model names its labels itself: bad, good"),
        ],
    )
    def test_that_do_not_fit(self, model, tmp_path, rows, own, given, message):
        classifier(model, own.split())
        with pytest.raises(InputError, match=message) as raised:
            export(model, tmp_path / "bundle", rows, labels=given)
        assert raised.value.where == "--labels" and raised.value.remedy and not (tmp_path / "bundle").exists()

    def test_a_wrong_count_in_the_configuration(self, model, tmp_path, rows):
        classifier(model, ["a", "b", "c"])
        edit(model, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
        with pytest.raises(InputError, match="another number of labels"):
            export(model, tmp_path / "bundle", rows)


def test_the_fingerprint_covers_the_tokenizer_s_files(model):
    seen = {model_fingerprint(model)}
    for name in ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "special_tokens_map.json", "merges.txt"):
        with open(model / name, "a", encoding="utf-8") as file:
            file.write(" ")
        seen.add(model_fingerprint(model))
    assert len(seen) == 6


def test_a_finished_teacher_without_its_head(check, model):
    classifier(model, ["bad", "good"])
    assert check("teacher.finetune=null")
    weights = load_file(model / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(kept, model / "model.safetensors")
    assert "2 head weights are missing, the first is classifier.weight" in refused(check, "teacher.finetune=null")


def test_an_export_needs_positions_and_segments(model, tmp_path):
    classifier(model, ["bad", "good"])
    (tmp_path / "rows.txt").write_text("好东西\n", encoding="utf-8")
    (tmp_path / "pairs.txt").write_text("好东西\t坏\n", encoding="utf-8")
    with pytest.raises(InputError, match="--max-length: 33 is more than the model's 32 positions"):
        export(model, tmp_path / "bundle", tmp_path / "rows.txt", max_length_tokens=33)
    one_segment(model)
    with pytest.raises(InputError, match="only one segment"):
        export(model, tmp_path / "bundle", tmp_path / "pairs.txt", max_length_tokens=32)
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def other(tmp_path):
    """A model whose vocabulary is not that of `model`."""
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *"好东西"])
    shape = ModelShape(**{**SIZES, "hidden_size": 12, "num_attention_heads": 3})
    save_model(build_masked_lm(tokenizer.vocab_size, shape, 32), tokenizer, tmp_path / "other")
    return tmp_path / "other"


LABELS_ALONE = "objective={attention: {weight: 0}, hidden: {weight: 0}, embedding: {weight: 0}}"


def test_another_vocabulary_takes_the_terms_on_labels(check, other):
    """Its sizes need not be given, its heads may be of another number; how many rows it cuts is told."""
    start = f"student={{init: {{folder: {other}}}}}"
    (context,) = check(start, LABELS_ALONE, "task.max_length_tokens=8").values()
    assert context.config.student.hidden_size == context.whole.student.hidden_size == 12
    sizes = {side: tokenizer.vocab_size for side, tokenizer in context.tokenizers.items()}
    assert sizes == {"teacher": 9, "student": 8} and not context.shares_vocabulary
    whats = [finding.what for finding in context.findings]
    assert any("vocabulary of its own (8 tokens, the teacher's has 9)" in what for what in whats)
    for side in ("teacher", "student"):
        assert any(f"are longer than 8 tokens of the {side}" in what for what in whats)


def test_terms_that_compare_tokens_need_one_vocabulary(check, other):
    message = refused(check, f"student={{init: {{folder: {other}}}}}")
    assert message.startswith("1 problem found") and "stages[0] (task_specific)" in message
    assert f"the vocabulary of {other} is not the teacher's" in message and "attention, hidden, embedding" in message
    assert "give these terms weight 0 in the objective, or start from a model with the teacher's" in message


def test_windows_of_whole_texts_need_one_vocabulary(check, other):
    start = f"student={{init: {{folder: {other}}}}}"
    message = refused(check, start, LABELS_ALONE, "task.long_text=windows")
    assert (
        message.startswith("1 problem found") and "task.long_text (windows)" in message and "use head_tail" in message
    )
    assert check(start, LABELS_ALONE, "task.long_text=head_tail")


def test_stages_of_latent_terms_need_one_vocabulary(check, other):
    stages = "[{stage: task_adaptive, training: {max_steps: 1}}, {stage: task_specific, training: {max_steps: 1}}]"
    message = refused(check, f"student={{init: {{folder: {other}}}}}", f"stages={stages}")
    assert "stages[0] (task_adaptive)" in message and "take the stage out (task_specific alone learns" in message


def test_of_several_students_the_one_with_another_vocabulary_is_named(check, other, model):
    students = f"students={{same: {{init: {{folder: {model}}}}}, other: {{init: {{folder: {other}}}}}}}"
    message = refused(check, students)
    assert message.startswith("1 problem found") and f"the vocabulary of {other} is not" in message
    contexts = check(students, LABELS_ALONE)
    assert [context.shares_vocabulary for context in contexts.values()] == [True, False]


def test_a_vocabulary_that_pre_training_makes_is_compared_when_it_is_there(check, other, model, tmp_path):
    """At the end of pre-training, not after the fine-tuning and the baseline."""
    training = "{max_steps: 1, per_device_train_batch_size: 4}"
    shape = "{num_hidden_layers: 1, hidden_size: 6, num_attention_heads: 3, intermediate_size: 8}"
    (tmp_path / "corpus.txt").write_text("好东西\n" * 30, encoding="utf-8")
    teacher = f"teacher={{pretrain: {{shape: {shape}, training: {training}}}, finetune: {training}}}"
    contexts = check(
        f"student={{init: {{folder: {other}}}}}", teacher, f"general_corpus.path={tmp_path / 'corpus.txt'}"
    )
    assert any("has to have the vocabulary that pre-training makes" in f.what for f in contexts[""].findings)
    pretraining = plan(contexts)[0]
    shutil.copytree(model, pretraining.product)
    with pytest.raises(InputError, match="is not the teacher's"):
        pretraining.gate()
