"""The table that a run ends with."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..files import read_json


def print_summary(report_file: Path) -> None:
    """Prints teacher, baseline, each stage and the student (of every student), and the paths of everything."""
    report = read_json(report_file)
    students = report.get("students", {"": {"report": report_file.name}})
    files = {name: report_file.parent / student["report"] for name, student in students.items()}
    table = Table(title=f"{report['task']}: {report['metric']} on {report['evaluated_on']}")
    for heading in ("model", "parameters", "score", "of teacher", "agrees with teacher"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    _add(table, report, "teacher", report["teacher"])
    for name, file in files.items():
        _add_student(table, read_json(file), f" {name}" if name else "")
    console = Console()
    console.print(table)
    for name, file in files.items():
        if name:
            console.print(f"[bold]{name}[/bold]")
        for what, place in (
            ("report", file.with_name("report.html")),
            ("bundle", file.with_name("bundle")),
            ("curves", f"visualdl --logdir {file.with_name('vdl')}"),
        ):
            console.print(f"{what}   {place}", highlight=False, soft_wrap=True)


def _add_student(table: Table, report: dict, name: str) -> None:
    if report["baseline"]["score"] is not None:
        _add(table, report, f"baseline{name} (no distillation)", report["baseline"], report["fidelity"]["baseline"])
    for stage in report["stages"]:
        if stage["score_kind"] != "classifier":
            _add(table, report, f"  after {stage['name']} (linear probe)", stage, style="dim")
    _add(table, report, f"distilled student{name}", report["student"], report["fidelity"]["student"], "bold")


def _add(
    table: Table, report: dict, name: str, model: dict, fidelity: dict | None = None, style: str | None = None
) -> None:
    params, score, teacher = model.get("params"), model["score"], report["teacher"]["score"]
    agreement = fidelity and fidelity["agreement"]
    table.add_row(
        name,
        f"{params / 1e6:.2f} M" if params else "",
        "–" if score is None else f"{score:.4f}",
        "" if name == "teacher" else "–" if score is None or not teacher else f"{score / teacher:.1%}",
        "" if agreement is None else f"{agreement:.1%}",
        style=style,
    )
