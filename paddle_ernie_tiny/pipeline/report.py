"""The report of a run, from its folder alone: report.json (the contract), report.md, report.html.

Reads what the steps recorded; imports neither Paddle nor PaddleNLP.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..deploy.bundle import MANIFEST
from ..engines import MODEL_STEM, PADDLE_FILES
from ..errors import InputError
from ..extensions import kind_named, load_extensions
from ..files import read_json, write_json
from ..kinds import Kind
from ..seals import DamageError, read_seal
from ..stages import STAGES
from .report_pages import write_pages
from .step import DONE, FINAL, METRICS, PREDICTIONS, RunFolder
from .verdicts import differences

Values = dict[str, Any]  # of JSON
_JUDGED = ("chance", "against_floor")  # what a teacher is measured against
Stages = list[tuple[Path, Values]]  # folder and settings of each stage


def write_report(root: Path, say: Callable[[str], None] = print) -> Path:
    """Collects what the steps recorded and writes the three files; returns the path of report.json.

    Of a run with several students, each one's folder gets its three files, and `root` a report.json that sets them
    side by side. Raises InputError if the folder holds no finished run.
    """
    folder = RunFolder(root)
    students = read_resolved(folder)["config"].get("students")
    if students:
        reports = {name: write_report(folder.student(name), say) for name in students}
        write_json(folder.report, side_by_side(root, reports))
    else:
        report = collect(root)
        write_json(folder.report, report)
        say(f"report: {write_pages(report, root)}")
    folder.seal_run()
    return folder.report


def collect(root: Path) -> Values:
    """report.json as a mapping; its keys are described in the README, section "The report"."""
    written = read_resolved(RunFolder(root))
    config, header = written["config"], written["run"]
    load_extensions(config.get("extensions") or [])
    folder = RunFolder(root, root / header.get("shared_folder", "."))  # teacher and data may be those of several
    kind = kind_named(config["task"]["kind"], "task.kind", config["task"].get("settings"))
    stages: Stages = [(folder.stage(i, settings["stage"]), settings) for i, settings in enumerate(config["stages"])]
    results = [_recorded(stage / DONE, "the run is not finished")["result"] for stage, _ in stages]
    for product in ("export", "quantize", "benchmark"):
        read_seal(folder.record(product) / DONE)  # for damage; what is not there is found below
    manifest = _read(folder.bundle / MANIFEST, "the run is not finished")
    given = config["teacher"] or {}  # empty: the soft labels are those of files
    teacher = measured_classifier(folder.finetuned if given["finetune"] else folder.given) if given else None
    baseline = measured_classifier(folder.baseline) if config["baseline"] is not None else None
    student = measured_classifier(stages[-1][0])
    measured = {"teacher": teacher, "student": student, "baseline": baseline}
    answers = {n: fitted_to(kind, m).of_arrays(m["arrays"], header["labels"]) for n, m in measured.items() if m}
    scored = ("params", "score", "score_unseen", "rows", "rows_unseen", "more_tests")
    seen = ("interval", "interval_unseen", "more_intervals", "breakdown", "worst")  # null: an earlier version measured
    missing = {name: {"score": None, "reason": f"no {name} in the configuration"} for name in ("teacher", "baseline")}
    report = {
        "task": config["task"]["name"],
        "kind": kind.name,
        "metric": config["task"]["metric"],
        "evaluated_on": "test" if config["data"]["test"] else "dev",
        "teacher": {**_pick(teacher, *scored), **_known(teacher, *seen, *_JUDGED)} if teacher else missing["teacher"],
        "student": {**_pick(student, *scored), **_known(student, *seen)},
        "baseline": {**_pick(baseline, *scored), **_known(baseline, *seen)} if baseline else missing["baseline"],
        # the linear model on n-grams; null: the kind of task has none, or an earlier version ran
        "floor": (read_seal(folder.prepared("floor") / DONE) or {}).get("result"),
        "gate": given.get("check_above_chance", True),  # were teachers at chance stopped?
        "differences": differences(config["task"]["metric"], answers),
        "made": _made(folder, config, stages[-1][0], manifest),
        "retention": student["score"] / teacher["score"] if teacher and teacher["score"] else None,
        "stages": [_stage(stage, settings, bool(given)) for stage, settings in stages],
        "latent": _latent(stages),
        "tokenizers": results[-1].get("tokenizers"),  # of teacher and student
        "export": _export(folder, manifest),
        "int8": _int8(folder) if config["export"].get("int8") is not None else None,
        "fidelity": fidelities(student, baseline, teacher, kind),
        "sizes": {
            "bundle_mb": _megabytes(folder.bundle, 3),
            "weights_mb": _megabytes(folder.bundle, 3, f"{MODEL_STEM}.pdiparams"),
            "student_params": manifest["parameters"],
        },
        "training": _training(folder, config, stages),
        "preflight": read_json(folder.preflight) or [],
        # rows that were added to the task data, copies given up, and samples
        "augmentation": next((result["augmentation"] for result in results if "augmentation" in result), None),
        "unlabelled": _unlabelled(results, teacher, student),  # the pool
        "soft_labels": results[-1].get("soft_labels"),
        "benchmark": _benchmark(folder) if config.get("benchmark") is not None else None,
        **_pick(header, "labels", "environment", "git_commit", "data_fingerprints"),
        "seed": config["seed"],
    }
    if given.get("pretrain"):
        report["teacher"]["pretraining"] = _recorded(folder.pretrained / DONE, "not finished")["result"]["held_out"]
    return report


def _made(folder: RunFolder, config: Values, last: Path, manifest: Values) -> Values:
    """Which models and data the run had, when it was finished, and how its bundle is asked."""
    data, teacher = config["data"], config["teacher"]
    if teacher is None:
        teacher = {"finetune": None, "pretrain": None, "model": "none"}
    given = (read_seal(folder.given / DONE) or {}).get("result", {}).get("shape") or {}
    model = read_json(folder.finetuned / FINAL / "config.json") or {} if teacher["finetune"] else given
    student = read_json(last / FINAL / "config.json") or config["student"]
    shape = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    files = {name: data[name] for name in ("train", "dev", "test", "unlabelled") if data.get(name)}
    pair = manifest["task_type"].startswith("pair_")
    finished = datetime.fromtimestamp((last / DONE).stat().st_mtime)
    return {
        "teacher": {"model": teacher["model"] or "pretrained in this run", **_known(model, *shape)},
        "student": {"start": config["student"]["init"]["folder"] or "", **_known(student, *shape)},
        "data": {"dataset": data.get("dataset"), **files, **data.get("more_tests", {})},
        "general_corpus": (config.get("general_corpus") or {}).get("path"),
        "finished": finished.isoformat(" ", "minutes"),
        "ask": f'ernie-tiny predict {folder.bundle} "TEXT"' + ' "SECOND TEXT"' * pair,
    }


def read_resolved(folder: RunFolder) -> Values:
    """A run's configuration ("config") and what else decided it ("run"). Raises InputError if there is none."""
    if not folder.resolved.is_file():
        what, remedy = "no config.resolved.yaml, so this is no run folder", "give a run's output_dir"
        raise InputError(what, str(folder.root), remedy)
    try:
        values = yaml.safe_load(folder.resolved.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        values = None
    if not isinstance(values, dict) or not {"config", "run"} <= values.keys():
        remedy = "run the same command again, it writes this file again"
        raise DamageError("the file is damaged: it holds no whole configuration", str(folder.resolved), remedy)
    return values


def side_by_side(root: Path, reports: dict[str, Path]) -> Values:
    """The students of one run: what they share, and of each its size, scores, and where its own report is."""
    each = {name: read_json(path) for name, path in reports.items()}
    first = next(iter(each.values()))
    return {
        **_pick(first, "task", "kind", "metric", "evaluated_on", "teacher", "floor", "labels", "seed", "environment"),
        "students": {
            name: {
                **_pick(report, "student", "baseline", "retention", "tokenizers", "fidelity", "sizes"),
                "report": str(reports[name].relative_to(root)),
                "bundle": str((reports[name].parent / report["export"]["bundle"]).relative_to(root)),
            }
            for name, report in each.items()
        },
    }


def _pick(values: Values, *keys: str) -> Values:
    return {key: values[key] for key in keys}


def _known(values: Values, *keys: str) -> Values:
    return {key: values.get(key) for key in keys}


def _recorded(seal: Path, otherwise: str) -> Values:
    return _required(read_seal(seal), seal, otherwise)


def _read(path: Path, otherwise: str) -> Values:
    return _required(read_json(path), path, otherwise)


def _required(values: Values | None, path: Path, otherwise: str) -> Values:
    if values is None:
        raise InputError(otherwise, str(path.parent), "run the same command again, it continues")
    return values


def _megabytes(bundle: Path, digits: int, pattern: str = "*") -> float:
    return round(sum(path.stat().st_size for path in bundle.glob(pattern) if path.is_file()) / 1e6, digits)


def _export(folder: RunFolder, manifest: Values) -> Values:
    """The bundle's name, how it was compared, and what was left out of its vocabulary (null: nothing)."""
    parity = ("max_abs_diff", "label_agreement", "rows", "tolerance")
    return {**_pick(manifest["parity"], *parity), "bundle": folder.bundle.name, **_known(manifest, "vocabulary")}


def _int8(folder: RunFolder) -> Values:
    """What int8 cost against the fp32 bundle on the dev split, in each engine, and the size of its files."""
    bundle = folder.int8_bundle
    manifest = _read(bundle / MANIFEST, "the int8 bundle is missing")
    made, parity = manifest["quantization"], manifest["parity"]
    engines = {"paddle": parity} if PADDLE_FILES[0] in manifest["files"] else {}
    return {
        "bundle": bundle.name,
        **parity,
        "engines": {**engines, **manifest.get("engines", {})},
        "left_in_fp32": made["fp32"],
        "left_in_fp32_of_onnx": made.get("onnx", made)["fp32"],
        "quantization_aware": made.get("quantization_aware"),
        "mb": _megabytes(bundle, 1),
    }


def _benchmark(folder: RunFolder) -> Values:
    """The benchmark's result without its raw samples, which stay in benchmark/result.json."""
    result = _read(folder.benchmark / "result.json", "the benchmark is missing")
    for name, raw in (("records", "rounds_ms"), ("text", "turns")):
        result[name] = [{key: value for key, value in record.items() if key != raw} for record in result[name]]
    return result


def measured_classifier(step: Path) -> Values:
    """What was measured of a step's classifier, and its answers ("arrays")."""
    metrics = _recorded(step / METRICS, "the step was not measured")
    with np.load(step / PREDICTIONS) as arrays:
        return {**metrics, "arrays": dict(arrays)}


def fitted_to(kind: Kind, model: Values) -> Kind:
    """The kind of task with what it learnt from a measured model's answers to dev."""
    return kind.with_settings(model["settings"]) if "settings" in model else kind


def _unlabelled(results: list[Values], teacher: Values | None, student: Values) -> Values | None:
    """The pool: its rows, the teacher's answers to a sample of it, and how close the student's are; None: no pool."""
    facts = results[-1].get("unlabelled")
    answers = (teacher or {}).get("unlabelled")
    answers = answers and _pick(answers, "train", "unlabelled")
    return facts and {**facts, "teacher": answers, "student": student.get("unlabelled")}


def fidelities(student: Values, baseline: Values | None, teacher: Values | None, kind: Kind) -> Values:
    """How close student and baseline are to the teacher, on evaluation rows not seen in training (`Kind.fidelity`).

    And how much less the student disagrees with the teacher.
    """
    values: Values = {"student": None, "baseline": None}
    if teacher is None:
        return values
    for name, model in (("student", student), ("baseline", baseline)):
        if model is not None:
            ours, given = model["arrays"], teacher["arrays"]
            own, theirs = common_answers(ours["rows"], given["rows"])
            unseen = given["unseen"][theirs]
            chosen = unseen if unseen.any() else np.ones_like(unseen)
            sides = (model, ours["logits"][own][chosen]), (teacher, given["logits"][theirs][chosen])
            logits = (fitted_to(kind, measured).compared(logits) for measured, logits in sides)
            rows = {"rows": int(chosen.sum()), "rows_are_unseen": bool(unseen.any())}
            values[name] = {**rows, **kind.fidelity(*logits)}
    if baseline is not None and values["baseline"]["agreement"] is not None:
        own, other = (1 - values[name]["agreement"] for name in ("student", "baseline"))
        values["disagreement_ratio"] = own / other if other else None
    return values


def common_answers(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of the answers that two models both gave, in the first's answers and in the second's.

    one, other: the row of each answer, int64 [answers], rising. Two tokenizers may cut a row after different words.
    """
    first, second = (rows * (1 << 20) + np.arange(len(rows)) - np.searchsorted(rows, rows) for rows in (one, other))
    return np.flatnonzero(np.isin(first, second)), np.flatnonzero(np.isin(second, first))


def _stage(folder: Path, settings: Values, has_teacher: bool) -> Values:
    stage = STAGES[settings["stage"]]
    result = _recorded(folder / DONE, "the run is not finished")["result"]
    metrics = _recorded(folder / METRICS, "the step was not measured")
    more = ("together_with", "reason")  # the students whose seconds these are too; why there is no score
    return {
        "name": stage.name,
        "teacher": stage.teacher if has_teacher else None,
        "data": stage.data,
        "objective": stage.objective if has_teacher else "soft label + hard label",
        "equation": result["objective"],
        **_pick(result, "steps", "seconds"),
        **{key: metrics.get(key) for key in ("score", "score_kind", "score_unseen", "interval")},
        **{key: value for key, value in {**result, **metrics}.items() if key in more},
    }


def _latent(stages: Stages) -> list[Values]:
    """For each pair of teacher and data: the latent terms before training and after each stage."""
    measured = [_recorded(folder / METRICS, "the step was not measured") for folder, _ in stages]
    names = [settings["stage"] for _, settings in stages]
    table = []
    for position, before in enumerate(measured[0]["latent_before"]):
        pair = before["teacher"], before["data"]
        after = [{"stage": name, **m["latent"][position]["terms"]} for name, m in zip(names, measured, strict=True)]
        table.append(
            {
                **_pick(before, "teacher", "data", "split", "rows"),
                "trained_by": [name for name in names if (STAGES[name].teacher, STAGES[name].data) == pair],
                "after": [{"stage": "start", **before["terms"]}, *after],
            }
        )
    return table


def _training(folder: RunFolder, config: Values, stages: Stages) -> list[Values]:
    """The loss curves of every step, as they were logged."""
    # by configuration, not by what is there: an earlier configuration may have left its folders
    steps = [
        ("pretrain", folder.pretrained, (config["teacher"] or {}).get("pretrain")),
        ("finetune", folder.finetuned, (config["teacher"] or {}).get("finetune")),
        ("baseline", folder.baseline, config["baseline"]),
        *((stage.name, stage, settings) for stage, settings in stages),
        (
            "quantization_aware",
            folder.quantization_aware,
            (config["export"].get("int8") or {}).get("quantization_aware"),
        ),
    ]
    curves = []
    for name, step, settings in steps:
        result = _recorded(step / DONE, "the run is not finished")["result"] if settings else {}
        if "history" in result:  # int8 that was good without training has none
            points = [
                {key: value for key, value in entry.items() if key == "step" or key.endswith(("loss", "dev_score"))}
                for entry in result["history"]
            ]
            curves.append({"name": name, **_pick(result, "steps", "seconds", "best"), "points": points})
    return curves
