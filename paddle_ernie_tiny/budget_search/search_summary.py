"""The answer of a search on the screen: the finalists, and where the rest is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from ..files import read_json
from .search_pages import finals_table, lead

_REPORT_ALONE = ("agreement", "memory, MB", "million parameters", "texts per second")  # columns for which it has room


def print_search(report: Path) -> None:
    """Prints results.json beside the report: what was found, and the finalists with teacher and floor."""
    results, console = read_json(report.with_name("results.json")), Console()
    finals = finals_table(results)
    if finals.rows:
        first, *others = (heading for heading in finals.headings if heading not in _REPORT_ALONE)
        columns = (Column(heading, justify="right", overflow="fold") for heading in others)
        table = Table(Column(first, overflow="fold"), *columns)
        for row in finals.rows:
            cells = [row[heading] for heading in (first, *others)]
            table.add_row(*cells, style="bold" if row[first] == results["winner"] else None)
        console.print(table)
    for text in lead(results):
        console.print(text, highlight=False)
    console.print(f"report   {report}", highlight=False, soft_wrap=True)
