"""What a benchmark found: a table in the terminal, JSON, Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from ..files import write_text

_HEADINGS = ("model", "precision", "engine", "threads", "batch", "tokens", "p50 ms", "p90 ms", "p99 ms", "texts/s")
_MORE = ("times as fast (rounds)", "GFLOP/s", "parameters", "files MB", "resident MB")


def write_json(result: dict, path: Path) -> None:
    """The whole result, raw samples included."""
    write_text(path, json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def rows(records: list[dict]) -> list[tuple[str, ...]]:
    """The cells of the table, a row a record."""
    return [_row(record) for record in records]


def _row(record: dict) -> tuple[str, ...]:
    name = record["model"] + (" (plain graph)" if record["graph"] == "plain" else "")
    latency, ratio = record["latency_ms"], record["times_as_fast"]
    return (
        name,
        record["precision"],
        record["engine"] + (f" {record['device']}" if record["device"] != "cpu" else ""),
        str(record["threads"]),
        str(record["batch"]),
        str(record["length"]),
        *(f"{latency[key]:.2f}" for key in ("p50", "p90", "p99")),
        f"{record['items_per_second']:.1f}",
        "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        "" if record["gflop_per_second"] is None else f"{record['gflop_per_second']:.0f}",
        f"{record['parameters'] / 1e6:.2f} M",
        f"{record['file_mb']:.1f}",
        "" if record["rss_mb"] is None else f"{record['rss_mb']:.0f}",
    )


def print_tables(result: dict) -> None:
    """The tables in the terminal, and every warning."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if result["records"]:
        table = Table(title="Token ids to logits, milliseconds a call")
        for index, heading in enumerate(_HEADINGS + _MORE):
            table.add_column(heading, justify="left" if index < 3 else "right")
        for row in rows(result["records"]):
            table.add_row(*row)
        console.print(table)
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def markdown(result: dict) -> str:
    """The same as Markdown."""
    environment = result["environment"]
    lines = ["# Benchmark", ""]
    lines += [f"**Warning: {warning}.**" for warning in result["warnings"]] + [""] * bool(result["warnings"])
    if result["records"]:
        lines += ["## Token ids to logits", "", *table(_HEADINGS + _MORE, rows(result["records"])), ""]
        lines += [
            "Milliseconds a call; a call holds `batch` texts of `tokens` tokens, none of them padding. "
            "Times as fast: as the first model in the same engine, median of the rounds (lowest to highest). "
            "GFLOP/s: matrix products only, by the median call.",
            "",
        ]
    lines += ["## Machine", "", *describe(environment), ""]
    return "\n".join(lines)


def describe(environment: dict) -> list[str]:
    """The machine in Markdown lines."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return [
        f"- {environment['cpu']}, {environment['cores']} core(s), {environment['system']}; "
        f"instruction sets: {', '.join(environment['instruction_sets']) or 'not known'}",
        f"- {versions}; commit {environment['git_commit'] or 'not known'}",
        f"- load before the start: {environment['load_average']}, {environment['busy_share']} of all cores busy; "
        f"started {environment['started']}",
    ]


def table(headings: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [headings, ["---"] * len(headings), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]
