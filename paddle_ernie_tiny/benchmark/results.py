"""What a benchmark found: tables in the terminal, and a folder with JSON, Markdown and plots."""

from __future__ import annotations

from pathlib import Path

from ..defaults import BATCH_SIZE, MAX_LENGTH_TOKENS
from ..files import write_json, write_text
from .request import Record

Table = tuple[str, str, tuple[str, ...], list[tuple[str, ...]]]  # title, how to read it, headings, cells
_TEXTS = ("model", "precision", "engine", "pipeline", "operation")  # the others hold numbers


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
    """The tables that there are figures for."""
    models = result["models"]
    shown = [
        ("Size", "GFLOP: matrix products of one text as exported, counted.", [_size(m, models[0]) for m in models]),
        ("Token ids to logits", _MODEL_NOTE, [_speed(record) for record in result["records"]]),
        ("Text to label", _TEXT_NOTE, [_speed_of_texts(record) for record in result["text"]]),
    ]
    for p in result.get("profiles", []):
        title = f"Where the time goes: {name_of(p)} {p['precision']}, {p['batch']} x {p['length']}"
        shown.append((title, _PROFILE_NOTE, [_operation(entry) for entry in p["operations"]]))
    return [(title, note, tuple(rows[0]), [tuple(r.values()) for r in rows]) for title, note, rows in shown if rows]


_MODEL_NOTE = (
    "Milliseconds per call of batch x tokens, without padding. Times as fast: as the first model in the same engine; "
    "median of the rounds, lowest and highest. GFLOP/s: matrix products by the median call. "
    "RSS: resident memory of the whole process."
)
_TEXT_NOTE = (
    f"usual: PaddleNLP's tokenizer, file order, padded to {MAX_LENGTH_TOKENS}, batch {BATCH_SIZE}. "
    f"toolkit: the bundle's predictor, batch {BATCH_SIZE}. "
    "Shares of the time: tokenizer, model, and the rest (batching, labels)."
)
_PROFILE_NOTE = "The engine's own profile, milliseconds per call; profiling itself slows small operations down."


def _size(model: Record, first: Record) -> dict[str, str]:
    return {
        "model": name_of(model),
        "precision": model["precision"],
        "parameters": f"{model['parameters'] / 1e6:.2f} M",
        "times fewer": f"{first['parameters'] / model['parameters']:.2f}",
        "files MB": f"{model['file_mb']:.1f}",
        "GFLOP at 128 tokens": _optional(model["gflop_128_tokens"], "{:.2f}"),
        "score": _optional(model.get("score"), "{:.4f}"),
    }


def _speed(record: Record) -> dict[str, str]:
    p50, p90, p99 = (f"{record['latency_ms'][name]:.2f}" for name in ("p50", "p90", "p99"))
    return {
        "model": name_of(record),
        "precision": record["precision"],
        "engine": record["engine"] + ("" if record["device"] == "cpu" else f" {record['device']}"),
        "threads": str(record["threads"]),
        "batch": f"{record['batch']} x {record['length']}",
        **{"p50 ms": p50, "p90": p90, "p99": p99},
        "texts/s": f"{record['items_per_second']:.1f}",
        "times as fast": _ratio(record["times_as_fast"]),
        "GFLOP/s": _optional(record["gflop_per_second"], "{:.0f}"),
        "RSS MB": f"{record['rss_mb']:.0f}",
    }


def _speed_of_texts(record: Record) -> dict[str, str]:
    tokenise, model, rest = (f"{record['share'][part]:.1%}" for part in ("tokenise", "model", "rest"))
    return {
        "pipeline": record["pipeline"],
        "model": name_of(record),
        "precision": record["precision"],
        "threads": str(record["threads"]),
        "rows": str(record["rows"]),
        "texts/s": f"{record['items_per_second']:.1f}",
        "times as fast": _ratio(record["times_as_fast"]),
        "ms per text": f"{record['ms_a_text']['total']:.3f}",
        **{"tokenise": tokenise, "model time": model, "rest": rest},
    }


def _operation(entry: Record) -> dict[str, str]:
    share = f"{entry['share']:.1%}"
    return {"operation": entry["operation"], "calls": f"{entry['calls']:g}", "ms": f"{entry['ms']:.3f}", "share": share}


def name_of(record: Record) -> str:
    """The record's model, and that its graph is the plain one."""
    return record["model"] + (" (plain graph)" if record["graph"] == "plain" else "")


def _ratio(ratio: Record | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


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
