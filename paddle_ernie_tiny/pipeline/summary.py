"""The table that a run ends with."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table


def print_summary(report_file: Path) -> None:
    """Prints teacher, baseline, each stage and the student, and where everything lies."""
    report = json.loads(report_file.read_text(encoding="utf-8"))
    root = report_file.parent
    table = Table(title=f"{report['task']}: {report['metric']} on {report['evaluated_on']}")
    for heading in ("model", "parameters", "score", "of teacher", "agrees with teacher"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    teacher = report["teacher"]["score"]

    def row(name: str, params: int | None, score: float | None, agreement: float | None, style: str | None = None):
        table.add_row(
            name,
            f"{params / 1e6:.2f} M" if params else "",
            "–" if score is None else f"{score:.4f}",
            "–" if score is None or not teacher else f"{score / teacher:.1%}",
            "" if agreement is None else f"{agreement:.1%}",
            style=style,
        )

    fidelity = report["fidelity"]
    row("teacher", report["teacher"]["params"], teacher, None)
    if report["baseline"]["score"] is not None:
        row(
            "baseline (no distillation)",
            report["baseline"]["params"],
            report["baseline"]["score"],
            fidelity["baseline"]["agreement"],
        )
    for stage in report["stages"]:
        if stage["score_kind"] != "classifier":
            row(f"  after {stage['name']} (linear probe)", None, stage["score"], None, "dim")
    row(
        "distilled student",
        report["student"]["params"],
        report["student"]["score"],
        fidelity["student"]["agreement"],
        "bold",
    )
    console = Console()
    console.print(table)
    console.print(f"report   {root / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"bundle   {root / report['export']['bundle']}", highlight=False, soft_wrap=True)
    console.print(f"curves   visualdl --logdir {root / 'vdl'}", highlight=False, soft_wrap=True)
