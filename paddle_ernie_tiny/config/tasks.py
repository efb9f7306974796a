"""The task table: what the literature's tasks are called, where PaddleNLP keeps them, and how they are scored.

A configuration whose `task.name` stands here need not say more about task and data. Where a test split has no
labels (CLUE's and GLUE's, and those that PaddleNLP has of ChnSentiCorp, LCQMC and BQ Corpus), the dev split is
scored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TNEWS_NAMES = {
    "100": "news_story",
    "101": "news_culture",
    "102": "news_entertainment",
    "103": "news_sports",
    "104": "news_finance",
    "106": "news_house",
    "107": "news_car",
    "108": "news_edu",
    "109": "news_tech",
    "110": "news_military",
    "112": "news_travel",
    "113": "news_world",
    "114": "news_stock",
    "115": "news_agriculture",
    "116": "news_game",
}
_BINARY = ["0", "1"]
_NLI = ["contradiction", "entailment", "neutral"]


@dataclass(frozen=True)
class Task:
    """A task: its title, and the values of `task` and `data` that a configuration need not repeat."""

    title: str
    task: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)


def _task(title: str, metric: str, labels: list[str] | None, length: int, kind: str = "classification", **data) -> Task:
    task = {"kind": kind, "metric": metric, "max_length_tokens": length}
    if labels is not None:
        task["labels"] = labels
    return Task(title, task, {"source": "paddlenlp", **data})


def _splits(dataset: str, text: str, text_b: str | None = None, label: str = "label", **more) -> dict[str, Any]:
    columns = {"text": text, "text_b": text_b, "label": label}
    return {"dataset": dataset, "columns": columns, "train": "train", "dev": "dev", "test": "test"} | more


def _clue(subset: str, text: str, text_b: str | None = None, **more) -> dict[str, Any]:
    return _splits("clue", text, text_b, subset=subset, test=None, **more)


def _glue(subset: str, pair: bool = True, **more) -> dict[str, Any]:
    first, second = ("sentence1", "sentence2") if pair else ("sentence", None)
    return _splits("glue", first, second, "labels", **{"subset": subset, "test": None, **more})


# Labels stand in the order of PaddleNLP's builders, which hand out ids.
TASKS: dict[str, Task] = {
    "xnli": _task(
        "XNLI (Chinese): does the first sentence entail the second?",
        "accuracy",
        _NLI,
        128,
        **_splits("xnli_cn", "text_a", "text_b", label_aliases={"contradictory": "contradiction"}),
    ),
    "lcqmc": _task(
        "LCQMC: do two questions ask the same?",
        "accuracy",
        _BINARY,
        128,
        **_splits("lcqmc", "query", "title", test=None),
    ),
    "chnsenticorp": _task(
        "ChnSentiCorp: sentiment of reviews", "accuracy", _BINARY, 128, **_splits("chnsenticorp", "text", test=None)
    ),
    "nlpcc_dbqa": _task(
        "NLPCC-DBQA: which sentence answers the question?",
        "mrr",
        _BINARY,
        128,
        **_splits("nlpcc_dbqa", "text_a", "text_b"),
    ),
    "msra_ner": _task(
        "MSRA-NER: persons, organisations, places",
        "entity_f1",
        ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"],
        256,
        "token_classification",
        # PaddleNLP has no dev split of it
        **{**_splits("msra_ner", "tokens", label="labels"), "dev": None, "dev_from_train": 0.05},
    ),
    "bq_corpus": _task(
        "BQ Corpus: do two questions to a bank ask the same?",
        "accuracy",
        _BINARY,
        128,
        **_splits("bq_corpus", "sentence1", "sentence2", test=None),
    ),
    "afqmc": _task(
        "AFQMC (CLUE): do two questions to a payment service ask the same?",
        "accuracy",
        _BINARY,
        128,
        **_clue("afqmc", "sentence1", "sentence2"),
    ),
    "tnews": _task(
        "TNEWS (CLUE): topic of a news title",
        "accuracy",
        list(TNEWS_NAMES.values()),
        128,
        **_clue("tnews", "sentence", label_aliases=TNEWS_NAMES),
    ),
    "iflytek": _task(
        "IFLYTEK (CLUE): category of an app by its description",
        "accuracy",
        [str(number) for number in range(119)],
        128,
        **_clue("iflytek", "sentence"),
    ),
    "cmnli": _task(
        "CMNLI (CLUE): does the first sentence entail the second?",
        "accuracy",
        _NLI,
        128,
        **_clue("cmnli", "sentence1", "sentence2"),
    ),
    "ocnli": _task(
        "OCNLI (CLUE): does the first sentence entail the second? Written in Chinese",
        "accuracy",
        ["entailment", "contradiction", "neutral"],
        128,
        **_clue("ocnli", "sentence1", "sentence2"),
    ),
    "csl": _task(
        "CSL (CLUE): do all keywords belong to the abstract?",
        "accuracy",
        _BINARY,
        256,
        **_clue("csl", "abst", "keyword"),
    ),
    "cola": _task(
        "CoLA (GLUE): is the sentence acceptable English?", "matthews", _BINARY, 64, **_glue("cola", pair=False)
    ),
    "sst2": _task("SST-2 (GLUE): sentiment of film reviews", "accuracy", _BINARY, 64, **_glue("sst-2", pair=False)),
    "mrpc": _task("MRPC (GLUE): do two sentences say the same?", "f1", _BINARY, 128, **_glue("mrpc")),
    "stsb": _task(
        "STS-B (GLUE): how alike are two sentences, from 0 to 5?",
        "pearson_spearman",
        None,
        128,
        "regression",
        **_glue("sts-b"),
    ),
    "qqp": _task("QQP (GLUE): do two questions ask the same?", "f1", _BINARY, 128, **_glue("qqp")),
    "mnli": _task(
        "MNLI (GLUE): does the first sentence entail the second?",
        "accuracy",
        _NLI,
        128,
        **_glue("mnli", dev="dev_matched", more_tests={"mismatched": "dev_mismatched"}),
    ),
    "qnli": _task(
        "QNLI (GLUE): does the sentence answer the question?",
        "accuracy",
        ["entailment", "not_entailment"],
        128,
        **_glue("qnli"),
    ),
    "rte": _task(
        "RTE (GLUE): does the first sentence entail the second?",
        "accuracy",
        ["entailment", "not_entailment"],
        128,
        **_glue("rte"),
    ),
    "wnli": _task("WNLI (GLUE): what does the pronoun stand for?", "accuracy", _BINARY, 128, **_glue("wnli")),
}


def fill_from_table(raw: dict) -> None:
    """Completes `task` and `data` of a configuration whose task stands in the table; its own values win.

    Files of one's own (`data.source: files`, or paths without a source) keep the table's labels, metric, kind
    and length, and lay out their columns themselves.
    """
    task, data = raw.get("task"), raw.get("data")
    data = {} if data is None else data
    if not isinstance(task, dict) or not isinstance(data, dict):
        return
    known = TASKS.get(str(task.get("name")))
    if known is None:
        return
    raw["task"] = {**known.task, **task}
    own_files = data.get("source") == "files" or ("source" not in data and "train" in data)
    given = {"label_aliases": known.data.get("label_aliases", {})} if own_files else known.data
    columns = {**given.get("columns", {}), **(data.get("columns") or {})}
    raw["data"] = {**given, **data, **({"columns": columns} if columns else {})}
