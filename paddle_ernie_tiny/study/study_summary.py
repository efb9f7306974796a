"""A study on the screen: a table of its variants for each task, and where the report is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from ..files import read_json
from ..pipeline.verdicts import points


def print_study(report: Path) -> None:
    """Prints results.json beside the report: score, difference from the reference, retention, steps, seconds."""
    results, console = read_json(report.with_name("results.json")), Console()
    for task, summary in results["summary"].items():
        headings = ("score", "difference from the reference", "of teacher", "steps", "seconds")
        columns = (Column(heading, justify="right") for heading in headings)
        metric = results["tasks"].get(task, {}).get("metric", "mean over tasks")
        table = Table("variant", *columns, title=f"{task}: {metric}, {len(results['seeds'])} seeds")
        for variant, row in summary.items():
            spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
            table.add_row(
                variant,
                "–" if row["mean"] is None else f"{row['mean']:.4f}{spread}",
                points(row["difference"]),
                "–" if row["retention"] is None else f"{row['retention']:.1%}",
                _whole(row["steps"]),
                _whole(row["seconds"]),
                style="bold" if variant == results["reference"] else None,
            )
        console.print(table)
    console.print(f"report   {report}", highlight=False, soft_wrap=True)


def _whole(value: Any) -> str:
    return "–" if value is None else f"{value:,.0f}"
