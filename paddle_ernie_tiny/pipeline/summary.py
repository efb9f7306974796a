"""The table that a run ends with."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..files import read_json


def print_summary(report_file: Path) -> None:
    """Prints teacher, baseline, each stage and the student (of every student), and the paths of everything."""
    root, report = report_file.parent, read_json(report_file)
    files = {name: root / student["report"] for name, student in report.get("students", {}).items()}
    table = Table(title=f"{report['task']}: {report['metric']} on {report['evaluated_on']}")
    for heading in ("model", "parameters", "score", "of teacher", "agrees with teacher"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    teacher = report["teacher"]["score"]
    _row(table, teacher, "teacher", report["teacher"]["params"], teacher)
    for name, file in (files or {"": report_file}).items():
        _student_rows(table, teacher, read_json(file), f" {name}" if name else "")
    console = Console()
    console.print(table)
    for name, file in (files or {"": report_file}).items():
        if name:
            console.print(f"[bold]{name}[/bold]")
        for what, place in (
            ("report", file.with_name("report.html")),
            ("bundle", file.with_name("bundle")),
            ("curves", f"visualdl --logdir {file.with_name('vdl')}"),
        ):
            console.print(f"{what}   {place}", highlight=False, soft_wrap=True)


def _student_rows(table: Table, teacher: float, report: dict, name: str) -> None:
    fidelity = report["fidelity"]
    if report["baseline"]["score"] is not None:
        agreement = fidelity["baseline"]["agreement"]
        values = report["baseline"]["params"], report["baseline"]["score"], agreement
        _row(table, teacher, f"baseline{name} (no distillation)", *values)
    for stage in report["stages"]:
        if stage["score_kind"] != "classifier":
            _row(table, teacher, f"  after {stage['name']} (linear probe)", None, stage["score"], style="dim")
    student = report["student"]
    agreement = fidelity["student"]["agreement"]
    _row(table, teacher, f"distilled student{name}", student["params"], student["score"], agreement, "bold")


def _row(
    table: Table,
    teacher: float,
    name: str,
    params: int | None,
    score: float | None,
    agreement: float | None = None,
    style: str | None = None,
) -> None:
    table.add_row(
        name,
        f"{params / 1e6:.2f} M" if params else "",
        "–" if score is None else f"{score:.4f}",
        "" if name == "teacher" else "–" if score is None or not teacher else f"{score / teacher:.1%}",
        "" if agreement is None else f"{agreement:.1%}",
        style=style,
    )
