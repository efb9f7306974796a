"""What a benchmark found: tables in the terminal, and a folder with JSON, Markdown and plots."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..defaults import BATCH_SIZE, MAX_LENGTH_TOKENS
from ..files import write_json, write_text
from .request import Record

Table = tuple[str, str, tuple[str, ...], list[tuple[str, ...]]]  # title, how to read it, headings, cells
_LAYOUTS = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))
_TEXTS = ("model", "precision", "engine", "pipeline", "operation")  # the other columns hold numbers


def write_folder(result: Record, folder: Path) -> None:
    """result.json (raw samples included), tables.md and the plots that there are figures for."""
    from jinja2 import Environment, PackageLoader

    from .plots import write_plots

    write_json(folder / "result.json", result)
    loader = PackageLoader("paddle_ernie_tiny.benchmark")
    page = Environment(loader=loader, trim_blocks=True, keep_trailing_newline=True).get_template("tables.md.j2")
    shown = {"warnings": result["warnings"], "machine": result["environment"], "tables": tables(result)}
    write_text(folder / "tables.md", page.render(**shown, pictures=write_plots(result, folder)))


def tables(result: Record) -> list[Table]:
    """The tables that there are figures for, as tables.yaml lays them out."""
    first = result["models"][0]["parameters"]
    sizes = [
        {"score": None, **m, "millions": m["parameters"] / 1e6, "times_fewer": first / m["parameters"]}
        for m in result["models"]
    ]
    speeds = [
        {**r, "runs_in": r["engine"] + ("" if r["device"] == "cpu" else f" {r['device']}")} for r in result["records"]
    ]
    parts = [("models", sizes), ("records", speeds), ("text", result["text"])]
    for profile in result.get("profiles", []):
        parts.append(("operations", [{**profile, **entry} for entry in profile["operations"]]))
    return [_table(_LAYOUTS[part], [named(row) for row in rows]) for part, rows in parts if rows]


def _table(layout: Record, rows: list[Record]) -> Table:
    note = layout["note"].format(max_length_tokens=MAX_LENGTH_TOKENS, batch_size=BATCH_SIZE)
    cells = [tuple(_cell(form, row) for form in layout["columns"].values()) for row in rows]
    return layout["title"].format(**rows[0]), note, tuple(layout["columns"]), cells


def _cell(form: str, record: Record) -> str:
    try:
        return form.format(**record)
    except TypeError:  # None takes no format
        return ""


def named(record: Record) -> Record:
    """The record with the graph in its model's name, if that is the plain one."""
    return {**record, "model": f"{record['model']} (plain graph)"} if record.get("graph") == "plain" else record


def print_tables(result: Record) -> None:
    """The tables in the terminal, and every warning."""
    from rich.console import Console
    from rich.table import Column
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file has no width to fit into
    for title, note, headings, cells in tables(result):
        columns = [Column(name) if name in _TEXTS else Column(name, justify="right", no_wrap=True) for name in headings]
        shown = RichTable(*columns, title=title)
        for row in cells:
            shown.add_row(*row)
        console.print(shown)
        console.print(note, style="dim", highlight=False)
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False)
