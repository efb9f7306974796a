"""What the model card says of a run: its report's figures, and where teacher and data come from, by name alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..benchmark.results import tables
from ..config.load import TASKS
from ..deploy.card import Facts
from .context import RunContext
from .report import collect
from .verdicts import retention, shown, shown_on, shown_unseen, with_interval

# findings that say nothing of the model, or ("floor") say it only once the teacher is known
_OF_THE_MACHINE = {"disk", "memory", "time", "signals", "floor"}
_PATH = re.compile(r"(?<![\w./])[~.]{0,2}/(?:[^\s/]+/)*(?=[^\s/])")  # the folders before a file's name in a sentence
_LANGUAGE = re.compile(r"(?:^|[-_/])(zh|en|chinese)(?:$|[-_])")  # in a published model's name
_SCORES = ("rows", "rows_unseen", "more_tests")


def card_facts(context: RunContext) -> Facts:
    """The facts of a run of which all other steps are done, as JSON values without paths; what is no number is null."""
    report = collect(context.folder.root)
    benchmark, fidelity, baseline = report["benchmark"], report["fidelity"]["student"], report["baseline"]
    warnings = [f for f in report["preflight"] if f["level"] == "warning" and f["check"] not in _OF_THE_MACHINE]
    facts = {
        **{key: report[key] for key in ("task", "metric", "evaluated_on", "seed")},
        "retention": retention(report),
        "card": _card(context),
        "teacher": _scores(report["teacher"]) | _origin(context) if context.config.teacher else None,
        "baseline": _scores(baseline) if baseline["score"] is not None else None,
        "floor": report["floor"] and _shown(with_interval(report["floor"])),
        "student": {**_scores(report["student"]), **_student(context)},
        "fidelity": fidelity and {key: fidelity.get(key) for key in ("agreement", "pearson", "rows")},
        "stages": [
            {key: stage[key] for key in ("name", "teacher", "data", "equation", "steps", "score", "score_kind")}
            for stage in report["stages"]
        ],
        "int8": report["int8"] and {key: report["int8"][key] for key in ("rows", "metric_fp32", "metric_int8")},
        "data": {
            **_data(context),
            "augmented": (report["augmentation"] or {}).get("rows"),
            "unlabelled": (report["unlabelled"] or {}).get("rows"),
            "soft_labels": (report["soft_labels"] or {}).get("rows"),
        },
        "speed": benchmark and _speed(benchmark),
        "warnings": [{"where": _PATH.sub("", f["where"]), "what": _PATH.sub("", f["what"])} for f in warnings],
    }
    return json.loads(json.dumps(facts), parse_constant=lambda _: None)


def _scores(model: dict[str, Any]) -> dict[str, Any]:
    tests = {test: shown_on(model, test) for test in model["more_tests"]}
    return {**_shown(model), **{key: model[key] for key in _SCORES}, "tests": tests}


def _shown(model: dict[str, Any]) -> dict[str, Any]:
    """Size and score, and the texts of its scores as in the report."""
    return {"params": model["params"], "score": model["score"], "all": shown(model), "unseen": shown_unseen(model)}


def _base(path: Any) -> str:
    """The last part of a path (of several: of each), or a split's name as it is."""
    paths = path if isinstance(path, list) else [path]
    return ", ".join(Path(part).name or "/" for part in paths)


def _published(name: str | None) -> str | None:
    """The name of a model on PaddleNLP's hub; None for a folder."""
    return name if name and not Path(name).is_dir() else None


def _card(context: RunContext) -> dict[str, Any]:
    """The header's keys: those of the configuration, else what is known from names."""
    config, given = context.config, context.config.card
    # the weights' own source first
    taught_by = config.teacher.model if config.teacher else None
    published = _published(config.student.init.folder) or _published(taught_by)
    named = _LANGUAGE.search((published or "").lower())
    spoken = TASKS[config.task.name].language if config.task.name in TASKS else named and named.group(1)
    return {
        "name": "-".join(filter(None, (given.name or config.task.name, context.student))),
        "license": given.license,
        "language": given.language or ("zh" if spoken == "chinese" else spoken),
        "base_model": given.base_model or published,
        "datasets": given.datasets or [name for name in [config.data.dataset] if name],
    }


def _origin(context: RunContext) -> dict[str, Any]:
    teacher = context.config.teacher
    assert teacher is not None, "asked for only where there is one"
    origin = "pretrained" if teacher.model is None else "published" if _published(teacher.model) else "folder"
    name = _published(teacher.model) or (teacher.model and _base(teacher.model))
    return {"origin": origin, "name": name, "finetuned": teacher.finetune is not None}


def _student(context: RunContext) -> dict[str, Any]:
    student = context.config.student
    folder = student.init.folder
    start = {"method": student.init.method, "name": folder and (_published(folder) or _base(folder))}
    sizes = {key: getattr(student, key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")}
    return {**sizes, "start": start}


def _data(context: RunContext) -> dict[str, Any]:
    """Names and rows of the splits, and the data set as the header's results name it."""
    data, known = context.config.data, context.config.card.datasets or []
    names = {"train": data.train, "dev": data.dev or data.train, "test": data.test or data.dev or data.train}
    splits = {split: {"name": _base(names[split]), "rows": len(rows)} for split, rows in context.data.splits.items()}
    task = context.config.task.name
    named = {"name": task, "type": data.dataset or (known[0] if len(known) == 1 else task)}
    of = " ".join(filter(None, (data.dataset, data.subset)))
    return {
        "set": {**named, **({"config": data.subset} if data.subset else {})},
        "source": f"paddlenlp.datasets: {of}" if data.dataset else "files",
        "splits": splits,
        "general_corpus": context.config.general_corpus and _base(context.config.general_corpus.path),
    }


def _speed(benchmark: dict[str, Any]) -> dict[str, Any]:
    """The tables of speed, and the machine."""
    machine = {key: benchmark["environment"][key] for key in ("cpu", "cores")}
    return {**machine, "tables": tables({**benchmark, "profiles": []})[1:], "warnings": benchmark["warnings"]}
