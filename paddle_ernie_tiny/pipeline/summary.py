"""The table that a run ends with."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from ..files import read_json


def print_summary(report_file: Path) -> None:
    """Prints teacher, baseline, each stage and the student (of every student), and the paths of everything."""
    report = read_json(report_file)
    students = report.get("students", {"": {"report": report_file.name}})
    files = {name: report_file.parent / student["report"] for name, student in students.items()}
    rows: list[tuple] = [("teacher", report["teacher"], None, None)]  # heading, scored, agreement with it, style
    for name, file in files.items():
        own, of = read_json(file), f" {name}" if name else ""
        baseline, student, fidelity = own["baseline"], own["student"], own["fidelity"]
        if baseline["score"] is not None:
            rows.append((f"baseline{of} (no distillation)", baseline, fidelity["baseline"]["agreement"], None))
        for stage in own["stages"]:
            if stage["score_kind"] != "classifier":
                rows.append((f"  after {stage['name']} (linear probe)", stage, None, "dim"))
        rows.append((f"distilled student{of}", student, fidelity["student"]["agreement"], "bold"))
    scores = (
        Column(heading, justify="right") for heading in ("parameters", "score", "of teacher", "agrees with teacher")
    )
    table = Table("model", *scores, title=f"{report['task']}: {report['metric']} on {report['evaluated_on']}")
    for name, model, agreement, style in rows:
        params, score, of = model.get("params"), model["score"], report["teacher"]["score"]
        table.add_row(
            name,
            f"{params / 1e6:.2f} M" if params else "",
            "–" if score is None else f"{score:.4f}",
            "" if name == "teacher" else "–" if score is None or not of else f"{score / of:.1%}",
            "" if agreement is None else f"{agreement:.1%}",
            style=style,
        )
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
