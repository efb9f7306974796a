"""A finished run on the screen: a table of its models, what is to be said of them, and where everything is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from ..files import read_json
from .verdicts import of_student, retention, shown, with_interval


def print_summary(report_file: Path) -> None:
    """Prints teacher, baseline, each stage and the student (of every student), and the paths of everything."""
    report = read_json(report_file)
    students = report.get("students", {"": {"report": report_file.name}})
    files = {name: report_file.parent / student["report"] for name, student in students.items()}
    rows: list[tuple] = []  # heading, scored, agreement with the teacher, style
    if report["teacher"]["score"] is not None:
        rows.append(("teacher", report["teacher"], None, None))
    if report.get("floor"):
        rows.append(("floor (n-grams)", with_interval(report["floor"]), None, "dim"))
    for name, file in files.items():
        own, of = read_json(file), f" {name}" if name else ""
        baseline, student = own["baseline"], own["student"]
        fidelity = {name: values or {"agreement": None} for name, values in own["fidelity"].items()}
        if baseline["score"] is not None:
            rows.append((f"baseline{of}", baseline, fidelity["baseline"]["agreement"], None))
        for stage in own["stages"]:
            if stage["score_kind"] != "classifier" and stage["score"] is not None:
                rows.append((f"  {stage['name']} (probe)", stage, None, "dim"))
        rows.append((f"student{of}", student, fidelity["student"]["agreement"], "bold"))
    headings = ("weights", "score (95 % interval)", "of teacher", "agrees")
    scores = (Column(heading, justify="right", no_wrap=heading.startswith("score")) for heading in headings)
    told = retention(read_json(next(iter(files.values())))) is not None  # does the teacher's score say something?
    table = Table("model", *scores, title=f"{report['task']}: {report['metric']} on {report['evaluated_on']}")
    for name, model, agreement, style in rows:
        params, score, of = model.get("params"), model["score"], report["teacher"]["score"]
        table.add_row(
            name,
            f"{params / 1e6:.2f} M" if params else "",
            shown(model),
            "" if name == "teacher" else "–" if score is None or not told else f"{score / of:.1%}",
            "" if agreement is None else f"{agreement:.1%}",
            style=style,
        )
    console = Console()
    console.print(table)
    for name, file in files.items():
        if name:
            console.print(f"[bold]{name}[/bold]")
        for sentence in filter(None, of_student(read_json(file))):
            console.print(sentence, highlight=False, markup=False)
        for what, place in (
            ("report", file.with_name("report.html")),
            ("bundle", file.with_name("bundle")),
            ("curves", f"visualdl --logdir {file.with_name('vdl')}"),
        ):
            console.print(f"{what}   {place}", highlight=False, soft_wrap=True)
