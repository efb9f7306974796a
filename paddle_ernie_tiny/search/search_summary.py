"""The answer of a search on the screen: the finalists, and where the rest is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from ..files import read_json
from .search_pages import finals_table, lead


def print_search(report: Path) -> None:
    """Prints results.json beside the report: what was found, and the finalists with teacher and floor."""
    results, console = read_json(report.with_name("results.json")), Console()
    table = finals_table(results)
    if table.rows:
        first, *others = table.headings
        columns = (Column(heading, justify="right", overflow="fold") for heading in others)
        shown = Table(Column(first, overflow="fold"), *columns)
        for row in table.cells:
            shown.add_row(*row, style="bold" if row[0] == results["winner"] else None)
        console.print(shown)
    for text in lead(results):
        console.print(text, highlight=False)
    console.print(f"report   {report}", highlight=False, soft_wrap=True)
