"""Miniatures of the task table's data sets, as PaddleNLP's builders find them in their cache.

`install(task, monkeypatch, home)` writes a few rows of every split under `home`, in the layout of the real files,
and points PaddleNLP's builder at them (its checksums are those of the real files, so they are not asked for).
"""

import importlib
import json
from pathlib import Path

import numpy as np

from paddle_ernie_tiny.config.load import TASKS

ZH = ["酒店", "房间", "服务", "很好", "很差", "价格", "怎么", "还款", "手机", "今天", "天气", "北京", "不错", "电影"]
EN = ["the", "film", "is", "good", "bad", "a", "man", "plays", "guitar", "not", "really", "very", "long", "today"]
ROWS = {"train": 60, "dev": 24, "test": 24}
ROWS_OF_A_BIG_TASK = {"iflytek": {"train": 240, "dev": 24, "test": 24}}


class _Anything:
    """A checksum that equals every other."""

    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


def install(name: str, monkeypatch, home: Path) -> None:
    """Makes PaddleNLP's builder of a task of the table read miniature files below `home`."""
    data = TASKS[name].data
    module = importlib.import_module(f"paddlenlp.datasets.{data['dataset']}")
    monkeypatch.setattr(module, "DATA_HOME", str(home))
    monkeypatch.setattr(module, "md5file", lambda path: _Anything())
    monkeypatch.setattr(module, "get_path_from_url", _no_network)
    monkeypatch.setattr("paddlenlp.datasets.dataset.DATA_HOME", str(home))
    builder = next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "_read")
    )
    rng = np.random.default_rng(0)
    for split, file in _files(builder, data.get("subset")).items():
        path = home / builder.__name__ / file
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = next((kind for kind in ROWS if split.startswith(kind)), None)
        if kind is not None:
            count = ROWS_OF_A_BIG_TASK.get(name, ROWS)[kind]
            path.write_text(_content(name, data, split, count, rng), encoding="utf-8")


def _no_network(*_, **__):
    raise RuntimeError("Downloading failed")


def _files(builder, subset: str | None) -> dict[str, str]:
    if subset is None:
        return {split: info.file for split, info in builder.SPLITS.items()}
    return {split: info[0] for split, info in builder.BUILDER_CONFIGS[subset]["splits"].items()}


def _content(name: str, data: dict, split: str, count: int, rng) -> str:
    rows = [_row(name, index, rng) for index in range(count)]
    if data["dataset"] == "clue":
        return "".join(json.dumps(_clue(name, row), ensure_ascii=False) + "\n" for row in rows)
    if data["dataset"] == "glue":
        return _glue(data["subset"], split, rows)
    return {
        "chnsenticorp": _chnsenticorp,
        "lcqmc": lambda rows, split: _lines(rows),
        "bq_corpus": lambda rows, split: _lines(rows),
        "xnli_cn": lambda rows, split: "premise\thypo\tlabel\n" + _lines(rows),
        "nlpcc_dbqa": _dbqa,
        "msra_ner": _ner,
        **dict.fromkeys(("cmrc2018", "drcd", "dureader_robust", "squad"), _squad),
    }[data["dataset"]](rows, split)


def _row(name: str, index: int, rng) -> tuple[str, str, str]:
    """(text, second text, label as the files write it): the label shows in the words."""
    task = TASKS[name]
    words = EN if task.language == "en" else ZH
    labels = list(task.data["label_aliases"]) if name == "tnews" else task.task.get("labels")
    if name == "xnli":
        labels = ["contradictory", "entailment", "neutral"]
    label = f"{rng.uniform(0, 5):.3f}" if labels is None else labels[index % len(labels)]
    space = " " if words is EN else ""
    first, second = (space.join(str(word) for word in rng.choice(words, 5)) for _ in range(2))
    return f"{first}{space}{words[index % len(words)]}", second, label


def _lines(rows) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def _chnsenticorp(rows, split: str) -> str:
    if split == "train":
        return "label\ttext_a\n" + "".join(f"{label}\t{text}\n" for text, _, label in rows)
    if split == "dev":
        return "qid\tlabel\ttext_a\n" + "".join(f"{i}\t{label}\t{text}\n" for i, (text, _, label) in enumerate(rows))
    return "qid\ttext_a\n" + "".join(f"{i}\t{text}\n" for i, (text, _, _) in enumerate(rows))


def _dbqa(rows, split: str) -> str:
    # two answers to each question
    lines = [f"{i // 2}\t{rows[i - i % 2][0]}\t{second}\t{label}\n" for i, (_, second, label) in enumerate(rows)]
    return "qid\ttext_a\ttext_b\tlabel\n" + "".join(lines)


def _ner(rows, split: str) -> str:
    lines = []
    for index, (text, _, _) in enumerate(rows):
        name, kind = [("王小明", "PER"), ("北京", "LOC"), ("工商银行", "ORG")][index % 3]
        tags = ["O"] * len(text) + [f"B-{kind}"] + [f"I-{kind}"] * (len(name) - 1)
        lines.append("\x02".join(text + name) + "\t" + "\x02".join(tags) + "\n")
    return "".join(lines)


def _squad(rows, split: str) -> str:
    """The first context has a blank before it, which the builder takes off: all of its answers move by one."""
    paragraphs = []
    for index, (first, second, _) in enumerate(rows):
        context, answer = f"{' ' * (index == 0)}{first} 2008 {second}", first[-6:].strip()
        answers = [{"text": answer, "answer_start": context.index(answer), "id": "1"}]
        asked = {"id": f"Q{index}", "question": f"{second} ?", "answers": answers}
        if split.endswith("_v2") and index % 3 == 2:
            asked |= {"answers": [], "is_impossible": True}
        paragraphs.append({"context": context, "qas": [asked]})
    return json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": paragraphs}]}, ensure_ascii=False)


def _clue(name: str, row: tuple[str, str, str]) -> dict:
    first, second, label = row
    return {
        "tnews": {"label": label, "label_desc": "", "sentence": first, "keywords": ""},
        "iflytek": {"label": label, "label_des": "", "sentence": first},
        "csl": {"id": 1, "abst": first, "keyword": [second[:2], second[2:]], "label": label},
    }.get(name, {"sentence1": first, "sentence2": second, "label": label})


def _glue(subset: str, split: str, rows) -> str:
    from paddlenlp.datasets.glue import Glue

    _, _, columns, header = Glue.BUILDER_CONFIGS[subset]["splits"][split]
    lines = ["\t".join(f"column{i}" for i in range(max(columns) + 1))] * header
    for first, second, label in rows:
        texts = [first] if subset in ("cola", "sst-2") else [first, second]
        values = dict(zip(columns, [*texts, label], strict=False))
        lines.append("\t".join(values.get(i, "x") for i in range(max(columns) + 1)))
    return "\n".join(lines) + "\n"
