"""Every shape of the real data goes the whole way: four stages, export, prediction, the right metric.

A few hundred rows and a few steps each, with a tiny teacher that is pre-trained on the rows themselves: the
mechanics are under test here, not the scores.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import yaml
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from .conftest import TINY, ernie_tiny, training

TNEWS = (
    "story culture entertainment sports finance house car edu tech military travel world stock agriculture game"
).split()
WEIBO = [
    "O",
    *(f"{p}-{t}.{n}" for t in ("GPE", "LOC", "ORG", "PER") for n in ("NAM", "NOM") for p in "BMES"),
]


@dataclass
class Shape:
    """Where a set's files lie, how they are read, and which rows of train are taken (line numbers)."""

    train: str
    test: str
    task: dict
    data: dict
    vocab: str = "bert_chinese_21128/vocab.txt"
    rows: int = 240
    own_text: list[str] = field(default_factory=lambda: ["这家酒店的服务很好"])


SHAPES = {
    "chnsenticorp": Shape(
        "chnsenticorp/train.tsv",
        "chnsenticorp/test.tsv",
        {"labels": ["0", "1"]},
        {"columns": {"text": "text_a", "label": "label"}},
    ),
    "lcqmc": Shape(
        "lcqmc/test.txt",
        "lcqmc/dev.txt",
        {"labels": ["0", "1"]},
        {"columns": {"text": 0, "text_b": 1, "label": 2}},
        own_text=["怎么开店", "如何开店"],
    ),
    "xnli": Shape(
        "xnli_zh/dev.tsv",
        "xnli_zh/test.tsv",
        {"labels": ["contradiction", "entailment", "neutral"]},
        {
            "columns": {"text": "text_a", "text_b": "text_b", "label": "label"},
            "label_aliases": {"contradictory": "contradiction"},
        },
        own_text=["他来了", "他没来"],
    ),
    "tnews": Shape(
        "tnews/train.tsv",
        "tnews/dev.tsv",
        {"labels": [f"news_{name}" for name in TNEWS], "metric": "macro_f1"},
        {"columns": {"text": 0, "label": 1}},
        rows=1200,
    ),
    "bq": Shape(
        "bq_corpus/dev.tsv",
        "bq_corpus/dev.tsv",
        {"labels": ["0", "1"], "metric": "f1"},
        {"columns": {"text": 0, "text_b": 1, "label": 2}},
        own_text=["怎么还款", "如何还款"],
    ),
    "msra_ner": Shape(
        "msra_ner_baidu/dev.tsv",
        "msra_ner_baidu/test.tsv",
        {
            "kind": "token_classification",
            "max_length_tokens": 400,
            "labels": ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"],
        },
        {"columns": {"text": "text_a", "label": "label"}},
    ),
    "weibo_ner": Shape(
        "weibo_ner/train.all.bmes",
        "weibo_ner/test.all.bmes",
        {"kind": "token_classification", "max_length_tokens": 400, "labels": WEIBO},
        {},
    ),
    "sst2": Shape(
        "glue_en/SST-2/train.tsv",
        "glue_en/SST-2/dev.tsv",
        {"labels": ["0", "1"]},
        {"columns": {"text": "sentence", "label": "label"}},
        vocab="bert_en_uncased_30522/vocab_en.txt",
        own_text=["a charming journey"],
    ),
    "cola": Shape(
        "glue_en/CoLA/train.tsv",
        "glue_en/CoLA/dev.tsv",
        {"labels": ["0", "1"], "metric": "matthews"},
        {"columns": {"text": 3, "label": 1}},
        vocab="bert_en_uncased_30522/vocab_en.txt",
        own_text=["The sailors rode the breeze."],
    ),
    "stsb": Shape(
        "glue_en/STS-B/train.tsv",
        "glue_en/STS-B/dev.tsv",
        {"kind": "regression"},
        {"columns": {"text": "sentence1", "text_b": "sentence2", "label": "score"}},
        vocab="bert_en_uncased_30522/vocab_en.txt",
        own_text=["A girl is styling her hair.", "A girl is brushing her hair."],
    ),
}


def head_of(file, rows: int, blocks: bool) -> str:
    """The first rows of a file as they stand (sentences between blank lines, or lines)."""
    text = file.read_text(encoding="utf-8")
    if blocks:
        return "\n\n".join(text.split("\n\n")[:rows]) + "\n"
    return "\n".join(text.split("\n")[: rows + 1]) + "\n"


@pytest.fixture(params=SHAPES)
def real_run(request, real_data, tmp_path):
    """(shape, root) of a finished run."""
    shape, blocks = SHAPES[request.param], SHAPES[request.param].train.endswith(".bmes")
    suffix = shape.train.rpartition(".")[2]
    for name, source, rows in (("train", shape.train, shape.rows), ("test", shape.test, 150)):
        text = head_of(real_data / "data" / source, rows, blocks)
        (tmp_path / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    corpus = (tmp_path / f"train.{suffix}").read_text(encoding="utf-8").replace("\x02", "").replace("\t", "\n")
    (tmp_path / "corpus.txt").write_text(corpus, encoding="utf-8")
    config = {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "task": {"name": request.param, **shape.task},
        "data": {
            "train": str(tmp_path / f"train.{suffix}"),
            "dev_from_train": 0.2,
            "test": str(tmp_path / f"test.{suffix}"),
            **shape.data,
        },
        "general_corpus": {"path": str(tmp_path / "corpus.txt"), "max_length_tokens": 32, "held_out_rows": 10},
        "teacher": {
            "pretrain": {
                "shape": TINY,
                "training": training(5),
                "vocab_file": str(real_data / "data/vocab" / shape.vocab),
            },
            "finetune": training(20),
            "check_above_chance": False,
        },
        "student": {**TINY, "num_hidden_layers": 1, "hidden_size": 8},
        "baseline": training(5),
        "stages": [
            {"stage": name, "training": training(5)}
            for name in ("general", "general_enhanced", "task_adaptive", "task_specific")
        ],
        "export": {"rows": 16},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    done = ernie_tiny("run", tmp_path / "run.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return shape, tmp_path / "run"


def expected_score(metric: str, logits, gold, labels: list[str], words: list[int]) -> float:
    """The metric by the library that defines it."""
    if metric == "entity_f1":
        from seqeval.metrics import f1_score as entity_f1

        ends = np.cumsum(words)[:-1]
        rows = [
            [[labels[i].replace("M-", "I-") for i in row] for row in np.split(ids, ends)]
            for ids in (gold, logits.argmax(-1))
        ]
        return entity_f1(*rows, zero_division=0)
    if metric == "pearson_spearman":
        return (pearsonr(logits[:, 0], gold)[0] + spearmanr(logits[:, 0], gold)[0]) / 2
    predicted = logits.argmax(-1)
    return {
        "accuracy": lambda: accuracy_score(gold, predicted),
        "f1": lambda: f1_score(gold, predicted, zero_division=0),
        "macro_f1": lambda: f1_score(gold, predicted, average="macro", zero_division=0),
        "matthews": lambda: matthews_corrcoef(gold, predicted),
    }[metric]()


def test_a_short_real_run(real_run, tmp_path):
    shape, root = real_run
    report = json.loads((root / "report.json").read_text(encoding="utf-8"))
    assert [stage["steps"] for stage in report["stages"]] == [5, 5, 5, 5]
    assert report["export"]["label_agreement"] == 1 and report["export"]["max_abs_diff"] < 1e-4
    with np.load(root / "teacher" / "finetuned" / "predictions.npz") as arrays:
        words = np.unique(arrays["rows"], return_counts=True)[1].tolist()
        expected = expected_score(report["metric"], arrays["logits"], arrays["labels"], report["labels"], words)
    assert report["teacher"]["score"] == pytest.approx(expected, abs=1e-6)
    done = ernie_tiny("predict", root / "bundle", *shape.own_text, blocked=("paddlenlp",))
    assert done.returncode == 0, done.stderr
    assert {"label", "score", "entities"} & set(json.loads(done.stdout))
