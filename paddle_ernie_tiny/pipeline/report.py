"""The report of a run, from its folder alone: report.json (the contract), report.md and report.html."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from ..data.metrics import compute, fidelity
from ..deploy.bundle import MANIFEST
from ..deploy.predictor import softmax
from ..distillation.stages import STAGES
from ..errors import InputError
from .lineage import DONE, PREFLIGHT, RESOLVED, read_json, write_json


def write_report(root: Path, say=print) -> Path:
    """Collects what the steps recorded and writes the three files; returns the path of report.json.

    Of a run with several students, each one's folder gets its three files, and `root` a report.json that sets them
    side by side. Raises InputError when the folder holds no finished run.
    """
    from .report_pages import write_html, write_markdown

    students = read_resolved(root)["config"].get("students")
    if students:
        reports = {name: write_report(root / "students" / name, say) for name in students}
        write_json(root / "report.json", side_by_side(root, reports))
        return root / "report.json"
    report = collect(root)
    write_json(root / "report.json", report)
    write_markdown(report, root / "report.md")
    write_html(report, root / "report.html")
    say(f"report: {root / 'report.html'}")
    return root / "report.json"


def collect(root: Path) -> dict:
    """report.json as a mapping; its keys are described in the README, section "The report"."""
    written = read_resolved(root)
    config, header = written["config"], written["run"]
    shared = root / header.get("shared_folder", ".")  # teacher and data of a run with several students
    kind = config["task"]["kind"]
    stages = [
        (root / "stages" / f"{number}-{settings['stage']}", settings)
        for number, settings in enumerate(config["stages"], start=1)
    ]
    missing = [folder for folder, _ in stages if not (folder / DONE).is_file()]
    if missing or not (root / "bundle" / MANIFEST).is_file():
        raise InputError(
            "the run is not finished",
            str(missing[0] if missing else root / "bundle"),
            "run it again, it carries on",
        )
    teacher = _classifier(shared / "teacher" / ("finetuned" if config["teacher"]["finetune"] else "given"))
    baseline = _classifier(root / "baseline") if config["baseline"] is not None else None
    student = _classifier(stages[-1][0])
    manifest = read_json(root / "bundle" / MANIFEST)
    report = {
        "task": config["task"]["name"],
        "kind": kind,
        "metric": config["task"]["metric"],
        "evaluated_on": "test" if config["data"]["test"] else "dev",
        "teacher": _public(teacher),
        "student": _public(student),
        "baseline": _public(baseline) if baseline else {"score": None, "reason": "no baseline in the configuration"},
        "retention": student["score"] / teacher["score"] if teacher["score"] else None,
        "stages": [_stage(folder, settings) for folder, settings in stages],
        "latent": _latent(stages),
        "export": {
            "max_abs_diff": manifest["parity"]["max_abs_diff"],
            "label_agreement": manifest["parity"]["label_agreement"],
            "rows": manifest["parity"]["rows"],
            "tolerance": manifest["parity"]["tolerance"],
            "bundle": "bundle",
        },
        "int8": _int8(root) if config["export"].get("int8") is not None else None,
        "fidelity": {
            "student": _fidelity(student, teacher, kind),
            "baseline": _fidelity(baseline, teacher, kind) if baseline else None,
        },
        "sizes": _sizes(root, manifest),
        "training": _training(root, shared, config),
        "preflight": read_json(root / PREFLIGHT) or [],
        "augmentation": _augmentation(stages) if config["augmentation"] else None,
        "benchmark": _benchmark(root) if config.get("benchmark") is not None else None,
        "labels": header["labels"],
        "seed": config["seed"],
        "environment": header["environment"],
        "git_commit": header["git_commit"],
        "data_fingerprints": header["data_fingerprints"],
    }
    if config["teacher"]["pretrain"]:
        report["teacher"]["pretraining"] = read_json(shared / "teacher" / "pretrained" / DONE)["result"]["held_out"]
    if baseline and kind != "regression":
        student_disagrees = 1 - report["fidelity"]["student"]["agreement"]
        baseline_disagrees = 1 - report["fidelity"]["baseline"]["agreement"]
        report["fidelity"]["disagreement_ratio"] = (
            student_disagrees / baseline_disagrees if baseline_disagrees else None
        )
    return report


def read_resolved(root: Path) -> dict:
    """A run's configuration ("config") and what else decided it ("run"). Raises InputError where there is none."""
    resolved = root / RESOLVED
    if not resolved.is_file():
        raise InputError("no config.resolved.yaml, so this is no run folder", str(root), "give a run's output_dir")
    return yaml.safe_load(resolved.read_text(encoding="utf-8"))


def side_by_side(root: Path, reports: dict[str, Path]) -> dict:
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


def _int8(root: Path) -> dict:
    """What int8 cost against the fp32 bundle on the dev split, and the size of its files."""
    folder = root / "bundle-int8"
    manifest = read_json(folder / MANIFEST)
    if manifest is None:
        raise InputError("the int8 bundle is missing", str(folder), "run it again, it carries on")
    size = sum(file.stat().st_size for file in folder.iterdir())
    left = manifest["quantization"]["fp32"]
    return {"bundle": folder.name, **manifest["parity"], "left_in_fp32": left, "mb": round(size / 1e6, 1)}


def _benchmark(root: Path) -> dict:
    """The benchmark's result without its raw samples, which stay in benchmark/result.json."""
    result = read_json(root / "benchmark" / "result.json")
    if result is None:
        raise InputError("the benchmark is missing", str(root / "benchmark"), "run it again, it carries on")
    for name, raw in (("records", "rounds_ms"), ("text", "turns")):
        result[name] = [{key: value for key, value in record.items() if key != raw} for record in result[name]]
    return result


def _classifier(folder: Path) -> dict:
    metrics = read_json(folder / "metrics.json")
    if metrics is None:
        raise InputError("the step was not measured", str(folder), "run it again, it carries on")
    with np.load(folder / "predictions.npz") as arrays:
        return {**metrics, "logits": arrays["logits"], "unseen": arrays["unseen"]}


def _public(values: dict) -> dict:
    keep = ("params", "score", "score_unseen", "rows", "rows_unseen", "more_tests")
    return {key: values[key] for key in keep}


def _fidelity(model: dict, teacher: dict, kind: str) -> dict:
    """How close a model is to the teacher, on evaluation rows not seen in training.

    Label agreement and mean KL(teacher || model), over words for token classification. A regressor has no
    labels: correlation and mean squared difference of the scores instead.
    """
    unseen = teacher["unseen"]
    chosen = unseen if unseen.any() else np.ones_like(unseen)
    own, others = model["logits"][chosen], teacher["logits"][chosen]
    if kind == "regression":
        values = {
            "agreement": None,
            "kl": None,
            "reason": "a regressor gives scores, not labels",
            "pearson": compute("pearson", own, others[:, 0]),
            "mse": float(np.square(own - others).mean()),
        }
    else:
        values = fidelity(softmax(own), softmax(others))
    return {**values, "rows": int(chosen.sum()), "rows_are_unseen": bool(unseen.any())}


def _stage(folder: Path, settings: dict) -> dict:
    stage, done, metrics = (
        STAGES[settings["stage"]],
        read_json(folder / DONE),
        read_json(folder / "metrics.json"),
    )
    result = done["result"]
    entry = {
        "name": settings["stage"],
        "teacher": stage.teacher_kind,
        "data": stage.data_kind,
        "objective": "latent + soft label + hard label" if stage.label_terms else "latent",
        "equation": result["objective"],
        "steps": result["steps"],
        "seconds": result["seconds"],
        "score": metrics["score"],
        "score_kind": metrics["score_kind"],
        "score_unseen": metrics.get("score_unseen"),
    }
    if "together_with" in result:
        entry["together_with"] = result["together_with"]  # the seconds are those of all of them
    if metrics.get("reason"):
        entry["reason"] = metrics["reason"]
    return entry


def _latent(stages: list[tuple[Path, dict]]) -> list[dict]:
    """For each pair of teacher and data: the latent terms before training and after each stage."""
    first = read_json(stages[0][0] / "metrics.json")
    table = []
    for position, before in enumerate(first["latent_before"]):
        after = [read_json(folder / "metrics.json")["latent"][position]["terms"] for folder, _ in stages]
        trains_here = [
            settings["stage"]
            for _, settings in stages
            if (STAGES[settings["stage"]].teacher_kind, STAGES[settings["stage"]].data_kind)
            == (before["teacher"], before["data"])
        ]
        table.append(
            {
                "teacher": before["teacher"],
                "data": before["data"],
                "split": before["split"],
                "rows": before["rows"],
                "trained_by": trains_here,
                "after": [
                    {"stage": "start", **before["terms"]},
                    *({"stage": s["stage"], **terms} for (_, s), terms in zip(stages, after, strict=True)),
                ],
            }
        )
    return table


def _augmentation(stages: list[tuple[Path, dict]]) -> dict | None:
    """Rows that were added to the task data, copies given up, and samples; None without a stage on task data."""
    results = [read_json(folder / DONE)["result"] for folder, _ in stages]
    return next((result["augmentation"] for result in results if "augmentation" in result), None)


def _sizes(root: Path, manifest: dict) -> dict:
    files = [path for path in (root / "bundle").iterdir() if path.is_file()]
    return {
        "bundle_mb": round(sum(path.stat().st_size for path in files) / 1e6, 3),
        "weights_mb": round((root / "bundle" / "model.pdiparams").stat().st_size / 1e6, 3),
        "student_params": manifest["parameters"],
    }


def _training(root: Path, shared: Path, config: dict) -> list[dict]:
    """The loss curves of every step, as they were logged."""
    # by configuration, not by what lies there: an earlier configuration may have left its folders
    folders = {}
    if config["teacher"]["pretrain"]:
        folders["pretrain"] = shared / "teacher" / "pretrained"
    if config["teacher"]["finetune"]:
        folders["finetune"] = shared / "teacher" / "finetuned"
    if config["baseline"]:
        folders["baseline"] = root / "baseline"
    for number, settings in enumerate(config["stages"], start=1):
        folders[f"{number}-{settings['stage']}"] = root / "stages" / f"{number}-{settings['stage']}"
    curves = []
    for name, folder in folders.items():
        result = read_json(folder / DONE)["result"]
        points = [
            {key: value for key, value in entry.items() if key == "step" or key.endswith(("loss", "dev_score"))}
            for entry in result["history"]
        ]
        curves.append(
            {
                "name": name,
                "steps": result["steps"],
                "seconds": result["seconds"],
                "best": result["best"],
                "points": points,
            }
        )
    return curves
