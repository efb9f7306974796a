"""A study on the screen: a table of its variants for each task, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..files import read_json
from .study_verdicts import in_points


def print_study(report: Path) -> None:
    """Prints results.json beside the report: score, difference from the reference, retention."""
    results, console = read_json(report.with_name("results.json")), Console()
    for task, summary in results["summary"].items():
        headings = ("score", f"points from {results['reference']}", "of teacher")
        columns = (Column(heading, justify="right", overflow="fold") for heading in headings)
        metric = results["tasks"].get(task, {}).get("metric", "mean over tasks")
        done = sorted({row["seeds"] for row in summary.values()}) or [0]
        title = f"{task}: {metric}, {' to '.join(map(str, dict.fromkeys((done[0], done[-1]))))} seed(s), 95 % intervals"
        table = Table(Column("variant", overflow="fold"), *columns, title=Text(title))
        for variant, row in summary.items():
            spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
            table.add_row(
                variant,
                "–" if row["mean"] is None else f"{row['mean']:.4f}{spread}",
                in_points(row["difference"]) if row["difference"] else "",
                "–" if row["retention"] is None else f"{row['retention']:.1%}",
                style="bold" if variant == results["reference"] else None,
            )
        console.print(table)
    console.print(f"report   {report}", highlight=False, soft_wrap=True)
