"""The vocabulary of a run's exported student: which tokens stay, as known before training; what it costs; the gate."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from paddle_ernie_tiny.config import ModelShape, load_config
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.errors import GateError, InputError
from paddle_ernie_tiny.models.build import build_masked_lm, load_classifier, load_tokenizer
from paddle_ernie_tiny.models.weights import save_model
from paddle_ernie_tiny.pipeline.context import RunContext
from paddle_ernie_tiny.pipeline.preflight import preflight
from paddle_ernie_tiny.pipeline.pruning import (
    export_pruned,
    planned_tokenizer,
    pruning_inputs,
    pruning_lines,
    run_tokens,
)
from paddle_ernie_tiny.pipeline.steps.deliver import export_request

from ..torch_folders import roberta_folder

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
# 10 characters after the 5 special tokens, a Latin word in pieces, and one letter of the reserve
TOKENS = [*SPECIAL_TOKENS, *"天地玄黄宇宙洪荒日月", "play", "##ing", "a"]
SPLITS = {"train": ["天地", "天", "地", "playing"], "dev": ["天地", "玄", "天 宙"], "test": ["天", "黄地", "地 宇 宇"]}


@pytest.fixture
def run(tmp_path):
    """A configuration on rows whose labels alternate, and a teacher with random weights; `check` is its preflight."""
    paddle.seed(0)
    model = build_masked_lm(len(TOKENS), ModelShape(**SIZES), 32)
    save_model(model, WordPieceTokenizer(TOKENS), tmp_path / "teacher")
    for split, texts in SPLITS.items():
        write_rows(tmp_path / f"{split}.tsv", texts)
    (tmp_path / "general.txt").write_text(
        "洪 天\n黄地\n", encoding="utf-8"
    )  # the second line is the text of a test row
    (tmp_path / "more.txt").write_text("荒\n", encoding="utf-8")
    training = {"max_steps": 1, "per_device_train_batch_size": 4}
    return {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "task": {"name": "tiny", "labels": ["bad", "good"], "max_length_tokens": 8},
        "data": {split: str(tmp_path / f"{split}.tsv") for split in SPLITS},
        "general_corpus": {"path": str(tmp_path / "general.txt")},
        "teacher": {"model": str(tmp_path / "teacher"), "finetune": training},
        "student": SIZES,
        "stages": [{"stage": "task_specific", "training": training}],
        "export": {"prune_vocabulary": {}, "rows": 8},
    }


def write_rows(path, texts, labels=("bad", "good")):
    rows = (f"{text}\t{labels[number % len(labels)]}\n" for number, text in enumerate(texts))
    path.write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")


def configured(run, *overrides):
    file = f"{run['output_dir']}.yaml"
    with open(file, "w", encoding="utf-8") as stream:
        yaml.safe_dump(run, stream, allow_unicode=True)
    return load_config(file, overrides)


def check(run, *overrides):
    return preflight(configured(run, *overrides), say=lambda line: None)[""]


def context_of(run, *overrides):
    """As preflight gives it, without its checks."""
    config = configured(run, *overrides)
    return RunContext(config, load_task_data(config), Path(config.teacher.model), {})


def tokens_kept(config):
    """How many tokens the exported student will have, before anything is trained."""
    data = load_task_data(config)
    return len(run_tokens(config, data, planned_tokenizer(config, data)))


def kept(run, *overrides):
    """The tokens that stay beside the special ones."""
    context = context_of(run, *overrides)
    tokenizer = context.tokenizers["student"]
    ids = run_tokens(context.config, context.data, tokenizer)
    assert len(ids) == tokens_kept(context.config)
    assert tuple(tokenizer.tokens[i] for i in ids[:5]) == SPECIAL_TOKENS
    return "".join(tokenizer.tokens[i] for i in ids[5:])


def test_the_tokens_of_the_training_rows_and_of_the_general_corpus_stay(run, tmp_path):
    assert kept(run) == "天地洪play##inga", "no 黄: its line in the corpus is the text of a test row"
    assert kept(run, "export.prune_vocabulary.corpus=[]") == "天地play##inga"
    assert kept(run, f"export.prune_vocabulary.corpus=[{tmp_path}/mor*.txt]") == "天地荒play##inga"
    assert kept(run, "export.prune_vocabulary.keep=2") == "天地玄黄洪play##inga", "the first others by their ids"
    (tmp_path / "pool.txt").write_text("日\n天\n宇宙\n玄\n", encoding="utf-8")  # 天 and 玄 are rows of splits
    assert kept(run, f"data.unlabelled={tmp_path}/pool.txt") == "天地宇宙洪日play##inga"
    run.pop("general_corpus")
    assert kept(run) == "天地play##inga"


def test_their_number_is_known_before_training(run):
    (note,) = [finding for finding in check(run).findings if finding.where == "export.prune_vocabulary"]
    assert note.what == "the exported student keeps 11 of 18 tokens; 2 of 3 dev rows have one that it does not keep"
    run["export"].pop("prune_vocabulary")
    assert not [finding for finding in check(run).findings if finding.where == "export.prune_vocabulary"]
    assert tokens_kept(configured(run)) == 11, "what it would be"


def test_it_is_known_of_vocabularies_that_the_run_makes(run, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS), encoding="utf-8")
    training = {"max_steps": 1}
    pretrain = {"shape": SIZES, "training": training, "vocab_file": str(tmp_path / "vocab.txt")}
    run["teacher"] = {"pretrain": pretrain, "finetune": training}
    assert tokens_kept(configured(run)) == 11
    (note,) = [finding for finding in check(run).findings if finding.where == "export.prune_vocabulary"]
    assert note.what == "how many tokens the student keeps is counted at the export: the vocabulary is not made yet"
    # made here: 5 special ones and the corpus's characters 洪 天 黄 地, of which 黄 is in no text that counts
    pretrain.pop("vocab_file")
    assert tokens_kept(configured(run)) == 5 + 3
    run["teacher"] = None
    for split, texts in SPLITS.items():
        write = "".join(f'{{"text": "{text}", "label": "good", "soft": [1, 2]}}\n' for text in texts)
        (tmp_path / f"{split}.jsonl").write_text(write, encoding="utf-8")
        run["data"][split] = str(tmp_path / f"{split}.jsonl")
    run["data"] |= {"columns": {"text": "text", "label": "label", "soft_labels": "soft"}, "soft_label_values": "logits"}
    start = {"file": str(tmp_path / "vocab.txt")}
    run["student"] = {**SIZES, "init": {"vocabulary": start}}
    assert tokens_kept(configured(run, "export.prune_vocabulary.corpus=[]")) == 10


def refused(run, *overrides):
    with pytest.raises(InputError) as raised:
        check(run, *overrides)
    return str(raised.value)


def test_rows_that_are_scored_do_not_choose_tokens(run, tmp_path):
    message = refused(run, f"export.prune_vocabulary.corpus=[{tmp_path}/more.txt, {tmp_path}/*.tsv]")
    assert "export.prune_vocabulary.corpus" in message and "rows are scored (data.dev)" in message
    assert "there are no files of this name" in refused(run, f"export.prune_vocabulary.corpus=[{tmp_path}/none.txt]")
    run["data"] = {"train": run["data"]["train"], "dev_from_train": 0.5}
    assert "(data.train)" in refused(run, f"export.prune_vocabulary.corpus=[{tmp_path}/train.tsv]")


def test_the_step_knows_its_texts(run, tmp_path):
    before = pruning_inputs(context_of(run))["prune_vocabulary"]
    assert before["keep"] == 0 and set(before["data"]) == set(SPLITS) and before["metric"] == "accuracy"
    (tmp_path / "general.txt").write_text("月\n" * 2, encoding="utf-8")
    assert pruning_inputs(context_of(run))["prune_vocabulary"]["texts"] != before["texts"]
    run["export"].pop("prune_vocabulary")
    assert pruning_inputs(context_of(run)) == {}


def test_a_tagger_s_words_are_cut_one_by_one(run, tmp_path):
    for split, texts in SPLITS.items():
        blocks = ("".join(f"{word} O\n" for word in text.split()) + "北 B-LOC\n" for text in [*texts, "play ing"])
        (tmp_path / f"{split}.bio").write_text("\n".join(blocks), encoding="utf-8")
        run["data"][split] = str(tmp_path / f"{split}.bio")
    run["task"] = {"name": "tags", "kind": "token_classification", "max_length_tokens": 8}
    assert kept(run, "export.prune_vocabulary.corpus=[]") == "天地play##inga"


def test_every_training_row_keeps_its_byte_pairs(run, tmp_path):
    roberta_folder(tmp_path / "bytes")
    texts = ["the room is bad", "Café très bon", "房间很宽敞", "good better best"]
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.tsv", texts)
    context = context_of(run, f"teacher.model={tmp_path}/bytes")
    tokenizer = context.tokenizers["student"]
    ids = run_tokens(context.config, context.data, tokenizer)
    pruned = tokenizer.keep(ids.tolist())
    assert len(ids) < tokenizer.vocab_size and pruned.pad_id == tokenizer.pad_id == 1
    for before, after in zip(tokenizer.encode_plain(texts), pruned.encode_plain(texts), strict=True):
        assert before == [ids[i] for i in after]


@pytest.fixture
def student(run, tmp_path):
    """A classifier with random weights, and dev and test rows with the labels that it gives them: it has no fault."""
    folder, tokenizer = tmp_path / "student", WordPieceTokenizer(TOKENS)
    model = load_classifier(tmp_path / "teacher", ["bad", "good"], new_head=True)
    for weight in model.parameters():
        if len(weight.shape) == 2:
            weight.set_value(paddle.randn(weight.shape))
    save_model(model, tokenizer, folder)
    texts = [*"天地玄黄宇宙荒日月", *(a + b for a in "天地玄黄宇宙荒日月" for b in "天地玄黄宇宙荒日月")]
    answers = logits(folder, texts).argmax(-1)
    for split in ("dev", "test"):
        write_rows(tmp_path / f"{split}.tsv", texts, [["bad", "good"][answer] for answer in answers])
    return folder, texts, answers


def logits(folder, texts):
    """One by one, so nothing is padding."""
    model, tokenizer = load_classifier(folder, ["bad", "good"]), load_tokenizer(folder)
    model.eval()
    return np.concatenate([model(paddle.to_tensor([ids])).numpy() for ids in tokenizer.encode(texts).input_ids])


@pytest.mark.slow
def test_scores_before_and_after_and_rows_that_are_read_as_before(run, student, tmp_path):
    folder, texts, answers = student
    run["export"]["prune_vocabulary"]["max_drop_points"] = 100.0
    context = context_of(run)
    request = export_request(context, folder, tmp_path / "bundle", {})
    parity = export_pruned(context, request, tmp_path)
    vocabulary = read_manifest(tmp_path / "bundle").vocabulary
    # of the nine characters of these texts 天 and 地 stay: 2 + 4 of 9 + 81 texts hold no other
    unknown = ["".join(c if c in "天地" else "[UNK]" for c in text) for text in texts]
    right = (logits(folder, unknown).argmax(-1) == answers).mean()
    assert right < 1
    figures = {"rows": 90, "rows_changed": 84, "score_before": 1.0, "score_after": pytest.approx(right)}
    assert vocabulary["splits"] == {"dev": figures, "test": figures}
    assert (vocabulary["tokens_before"], vocabulary["tokens_after"]) == (18, 11)
    assert vocabulary["parameters_before"] - vocabulary["parameters_after"] == (18 - 11) * 8
    assert vocabulary["rows_as_before"] == 6 and parity["rows"] == 8, "unchanged rows first, then two others"
    predictor = Predictor(tmp_path / "bundle")
    assert predictor.tokenizer.vocab_size == 11
    served = np.concatenate(predictor.outputs(texts, None))
    np.testing.assert_allclose(served, logits(folder, unknown), atol=1e-4)
    assert not (tmp_path / "pruned").exists()
    page = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "11 of 18 tokens are kept" in page and "dev: 84 of 90 rows have such a token, accuracy 1.0000 before" in page


@pytest.mark.slow
def test_training_rows_are_compared_where_every_test_row_is_changed(run, student, tmp_path):
    write_rows(tmp_path / "test.tsv", ["玄", "黄天"])
    run["export"]["prune_vocabulary"]["max_drop_points"] = 100.0
    context = context_of(run)
    parity = export_pruned(context, export_request(context, student[0], tmp_path / "bundle", {}), tmp_path)
    vocabulary = read_manifest(tmp_path / "bundle").vocabulary
    assert vocabulary["splits"]["test"]["rows_changed"] == vocabulary["splits"]["test"]["rows"] == 2
    assert parity["rows"] == vocabulary["rows_as_before"] == len(SPLITS["train"])


def test_a_split_that_loses_much_is_a_warning_beside_the_gate():
    def splits(dev, test):
        figures = {"rows": 10, "rows_changed": 4, "score_before": 0.9}
        return {"dev": {**figures, "score_after": dev}, "test": {**figures, "score_after": test}}

    counts = ("tokens_before", "tokens_after", "parameters_before", "parameters_after", "rows_as_before")
    sizes = dict(zip(counts, (9, 5, 90, 50, 6), strict=True))
    said, *warnings = pruning_lines({**sizes, "splits": splits(0.9, 0.896)}, "f1", 0.5)
    assert said.startswith("The vocabulary is pruned: 5 of 9 tokens are kept") and not warnings
    assert "test: 4 of 10 rows have such a token, f1 0.9000 before and 0.8960 after" in said
    (_, warning) = pruning_lines({**sizes, "splits": splits(0.9, 0.894)}, "f1", 0.5)
    assert warning.startswith("warning: f1 falls by more than 0.5 points on test: give text")


@pytest.mark.slow
def test_a_row_that_is_not_answered_as_before_is_refused(run, student, tmp_path, monkeypatch):
    """A copy whose kept embeddings were moved: its static graph agrees with its own dynamic one, not with the whole."""
    from paddle_ernie_tiny.pipeline import pruning

    def moved(model, out, ids):
        made = write_pruned(model, out, ids)
        again = load_classifier(out, ["bad", "good"])
        words = again.bert.embeddings.word_embeddings.weight
        words.set_value(words + paddle.randn(words.shape))
        save_model(again, load_tokenizer(out), out)
        return made

    write_pruned = pruning.write_pruned
    monkeypatch.setattr(pruning, "write_pruned", moved)
    run["export"]["prune_vocabulary"]["max_drop_points"] = 100.0
    context = context_of(run)
    with pytest.raises(GateError, match="logits of static and dynamic graph differ"):
        export_pruned(context, export_request(context, student[0], tmp_path / "bundle", {}), tmp_path)
    assert not (tmp_path / "bundle").exists()


def test_texts_that_lose_too_much_are_refused_with_what_helps(run, student, tmp_path):
    context = context_of(run)
    with pytest.raises(GateError) as raised:
        export_pruned(context, export_request(context, student[0], tmp_path / "bundle", {}), tmp_path)
    message = str(raised.value)
    assert "accuracy on 90 dev rows falls from 1.0000 to 0." in message and "(allowed: 0.5)" in message
    assert "84 of them have a token that is left out; nothing was exported" in message
    assert "export.prune_vocabulary.corpus" in message and "export.prune_vocabulary.keep" in message
    assert not (tmp_path / "bundle").exists() and not (tmp_path / "pruned").exists()


@pytest.mark.slow
def test_where_no_row_is_changed_nothing_is_lost(run, student, tmp_path):
    (tmp_path / "more.txt").write_text("玄黄宇宙荒日月\n", encoding="utf-8")
    context = context_of(run, f"export.prune_vocabulary.corpus=[{tmp_path}/more.txt]")
    export_pruned(context, export_request(context, student[0], tmp_path / "bundle", {}), tmp_path)
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    figures = {"rows": 90, "rows_changed": 0, "score_before": 1.0, "score_after": 1.0}
    assert manifest["vocabulary"]["splits"] == {"dev": figures, "test": figures}
    assert manifest["vocabulary"]["rows_as_before"] == 8 and manifest["architecture"]["vocab_size"] == 17
