"""The report of a run, from its folder alone: report.json (the contract), report.md and report.html.

Reads what the steps recorded; imports neither Paddle nor PaddleNLP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..deploy.bundle import MANIFEST, MODEL_STEM
from ..errors import InputError
from ..extensions import kind_named, load_extensions
from ..files import read_json, write_json
from ..kinds import Kind
from ..stages import STAGES
from .layout import DONE, METRICS, PREDICTIONS, RunFolder
from .report_pages import write_html, write_markdown

_RUN_AGAIN = "run the same command again, it continues"
Stages = list[tuple[Path, dict[str, Any]]]  # folder and settings of each stage


def write_report(root: Path, say: Callable[[str], None] = print) -> Path:
    """Collects what the steps recorded and writes the three files; returns the path of report.json.

    Of a run with several students, each one's folder gets its three files, and `root` a report.json that sets them
    side by side. Raises InputError if the folder holds no finished run.
    """
    folder = RunFolder(root, root)
    students = read_resolved(folder)["config"].get("students")
    if students:
        reports = {name: write_report(folder.student(name).root, say) for name in students}
        write_json(folder.report, side_by_side(root, reports))
        return folder.report
    report = collect(root)
    write_json(folder.report, report)
    write_markdown(report, folder.report.with_suffix(".md"))
    write_html(report, folder.report.with_suffix(".html"))
    say(f"report: {folder.report.with_suffix('.html')}")
    return folder.report


def collect(root: Path) -> dict[str, Any]:
    """report.json as a mapping; its keys are described in the README, section "The report"."""
    written = read_resolved(RunFolder(root, root))
    config, header = written["config"], written["run"]
    load_extensions(config.get("extensions") or [])
    folder = RunFolder(root, root / header.get("shared_folder", "."))  # teacher and data may be those of several
    kind = kind_named(config["task"]["kind"], "task.kind")
    stages: Stages = [(folder.stage(i, settings["stage"]), settings) for i, settings in enumerate(config["stages"])]
    missing = [stage for stage, _ in stages if not (stage / DONE).is_file()]
    if missing or not (folder.bundle / MANIFEST).is_file():
        raise InputError("the run is not finished", str(missing[0] if missing else folder.bundle), _RUN_AGAIN)
    teacher = _classifier(folder.finetuned if config["teacher"]["finetune"] else folder.given)
    baseline = _classifier(folder.baseline) if config["baseline"] is not None else None
    student, manifest = _classifier(stages[-1][0]), read_json(folder.bundle / MANIFEST)
    parity = ("max_abs_diff", "label_agreement", "rows", "tolerance")
    report = {
        "task": config["task"]["name"],
        "kind": kind.name,
        "metric": config["task"]["metric"],
        "evaluated_on": "test" if config["data"]["test"] else "dev",
        "teacher": _public(teacher),
        "student": _public(student),
        "baseline": _public(baseline) if baseline else {"score": None, "reason": "no baseline in the configuration"},
        "retention": student["score"] / teacher["score"] if teacher["score"] else None,
        "stages": [_stage(stage, settings) for stage, settings in stages],
        "latent": _latent(stages),
        "export": {**{key: manifest["parity"][key] for key in parity}, "bundle": folder.bundle.name},
        "int8": _int8(folder) if config["export"].get("int8") is not None else None,
        "fidelity": _fidelities(student, baseline, teacher, kind),
        "sizes": _sizes(folder, manifest),
        "training": _training(folder, config, stages),
        "preflight": read_json(folder.preflight) or [],
        "augmentation": _augmentation(stages) if config["augmentation"] else None,
        "benchmark": _benchmark(folder) if config.get("benchmark") is not None else None,
        **{key: header[key] for key in ("labels", "environment", "git_commit", "data_fingerprints")},
        "seed": config["seed"],
    }
    if config["teacher"]["pretrain"]:
        report["teacher"]["pretraining"] = read_json(folder.pretrained / DONE)["result"]["held_out"]
    return report


def read_resolved(folder: RunFolder) -> dict[str, Any]:
    """A run's configuration ("config") and what else decided it ("run"). Raises InputError if there is none."""
    if not folder.resolved.is_file():
        what, remedy = "no config.resolved.yaml, so this is no run folder", "give a run's output_dir"
        raise InputError(what, str(folder.root), remedy)
    return yaml.safe_load(folder.resolved.read_text(encoding="utf-8"))


def side_by_side(root: Path, reports: dict[str, Path]) -> dict[str, Any]:
    """The students of one run: what they share, and of each its size, scores, and where its own report lies."""
    each = {name: read_json(path) for name, path in reports.items()}
    first = next(iter(each.values()))
    common = ("task", "kind", "metric", "evaluated_on", "teacher", "labels", "seed", "environment")
    keep = ("student", "baseline", "retention", "fidelity", "sizes")
    return {
        **{key: first[key] for key in common},
        "students": {
            name: {
                **{key: report[key] for key in keep},
                "report": str(reports[name].relative_to(root)),
                "bundle": str((reports[name].parent / report["export"]["bundle"]).relative_to(root)),
            }
            for name, report in each.items()
        },
    }


def _int8(folder: RunFolder) -> dict[str, Any]:
    """What int8 cost against the fp32 bundle on the dev split, and the size of its files."""
    bundle = folder.int8_bundle
    manifest = read_json(bundle / MANIFEST)
    if manifest is None:
        raise InputError("the int8 bundle is missing", str(bundle), _RUN_AGAIN)
    size = sum(file.stat().st_size for file in bundle.iterdir())
    left = manifest["quantization"]["fp32"]
    return {"bundle": bundle.name, **manifest["parity"], "left_in_fp32": left, "mb": round(size / 1e6, 1)}


def _benchmark(folder: RunFolder) -> dict[str, Any]:
    """The benchmark's result without its raw samples, which stay in benchmark/result.json."""
    result = read_json(folder.benchmark / "result.json")
    if result is None:
        raise InputError("the benchmark is missing", str(folder.benchmark), _RUN_AGAIN)
    for name, raw in (("records", "rounds_ms"), ("text", "turns")):
        result[name] = [{key: value for key, value in record.items() if key != raw} for record in result[name]]
    return result


def _classifier(step: Path) -> dict[str, Any]:
    metrics = read_json(step / METRICS)
    if metrics is None:
        raise InputError("the step was not measured", str(step), _RUN_AGAIN)
    with np.load(step / PREDICTIONS) as arrays:
        return {**metrics, "logits": arrays["logits"], "unseen": arrays["unseen"]}


def _public(values: dict[str, Any]) -> dict[str, Any]:
    keep = ("params", "score", "score_unseen", "rows", "rows_unseen", "more_tests")
    return {key: values[key] for key in keep}


def _fidelities(
    student: dict[str, Any], baseline: dict[str, Any] | None, teacher: dict[str, Any], kind: Kind
) -> dict[str, Any]:
    """Of student and baseline, and how much less the student disagrees with the teacher."""
    own = _fidelity(student, teacher, kind)
    other = _fidelity(baseline, teacher, kind) if baseline else None
    values: dict[str, Any] = {"student": own, "baseline": other}
    if other is not None and other["agreement"] is not None:
        disagrees = 1 - other["agreement"]
        values["disagreement_ratio"] = (1 - own["agreement"]) / disagrees if disagrees else None
    return values


def _fidelity(model: dict[str, Any], teacher: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """How close a model is to the teacher, on evaluation rows not seen in training (see `Kind.fidelity`)."""
    unseen = teacher["unseen"]
    chosen = unseen if unseen.any() else np.ones_like(unseen)
    values = kind.fidelity(model["logits"][chosen], teacher["logits"][chosen])
    return {**values, "rows": int(chosen.sum()), "rows_are_unseen": bool(unseen.any())}


def _stage(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    stage = STAGES[settings["stage"]]
    result, metrics = read_json(folder / DONE)["result"], read_json(folder / METRICS)
    entry = {
        "name": stage.name,
        "teacher": stage.teacher,
        "data": stage.data,
        "objective": stage.objective,
        "equation": result["objective"],
        **{key: result[key] for key in ("steps", "seconds")},
        **{key: metrics.get(key) for key in ("score", "score_kind", "score_unseen")},
    }
    if "together_with" in result:
        entry["together_with"] = result["together_with"]  # the seconds are those of all of them
    if metrics.get("reason"):
        entry["reason"] = metrics["reason"]
    return entry


def _latent(stages: Stages) -> list[dict[str, Any]]:
    """For each pair of teacher and data: the latent terms before training and after each stage."""
    measured = [read_json(folder / METRICS) for folder, _ in stages]
    names = [settings["stage"] for _, settings in stages]
    table = []
    for position, before in enumerate(measured[0]["latent_before"]):
        pair = before["teacher"], before["data"]
        after = [{"stage": name, **m["latent"][position]["terms"]} for name, m in zip(names, measured, strict=True)]
        table.append(
            {
                **{key: before[key] for key in ("teacher", "data", "split", "rows")},
                "trained_by": [name for name in names if (STAGES[name].teacher, STAGES[name].data) == pair],
                "after": [{"stage": "start", **before["terms"]}, *after],
            }
        )
    return table


def _augmentation(stages: Stages) -> dict[str, Any] | None:
    """Rows that were added to the task data, copies given up, and samples; None without a stage on task data."""
    results = [read_json(folder / DONE)["result"] for folder, _ in stages]
    return next((result["augmentation"] for result in results if "augmentation" in result), None)


def _sizes(folder: RunFolder, manifest: dict[str, Any]) -> dict[str, Any]:
    files = [path for path in folder.bundle.iterdir() if path.is_file()]
    return {
        "bundle_mb": round(sum(path.stat().st_size for path in files) / 1e6, 3),
        "weights_mb": round((folder.bundle / f"{MODEL_STEM}.pdiparams").stat().st_size / 1e6, 3),
        "student_params": manifest["parameters"],
    }


def _training(folder: RunFolder, config: dict[str, Any], stages: Stages) -> list[dict[str, Any]]:
    """The loss curves of every step, as they were logged."""
    # by configuration, not by what is there: an earlier configuration may have left its folders
    steps = {
        "pretrain": folder.pretrained if config["teacher"]["pretrain"] else None,
        "finetune": folder.finetuned if config["teacher"]["finetune"] else None,
        "baseline": folder.baseline if config["baseline"] else None,
        **{stage.name: stage for stage, _ in stages},
    }
    curves = []
    for name, step in steps.items():
        if step is None:
            continue
        result = read_json(step / DONE)["result"]
        points = [
            {key: value for key, value in entry.items() if key == "step" or key.endswith(("loss", "dev_score"))}
            for entry in result["history"]
        ]
        curves.append({"name": name, **{key: result[key] for key in ("steps", "seconds", "best")}, "points": points})
    return curves
