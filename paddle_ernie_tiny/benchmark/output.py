"""What a benchmark found: tables in the terminal, JSON, and a folder with Markdown and plots."""

from __future__ import annotations

import json
from pathlib import Path

from ..files import write_text

Table = tuple[str, str, tuple[str, ...], list[tuple[str, ...]]]  # title, how to read it, headings, cells


def write_json(result: dict, path: Path) -> None:
    """The whole result, raw samples included."""
    write_text(path, json.dumps(result, ensure_ascii=False, indent=1) + "\n")


def write_folder(result: dict, folder: Path) -> None:
    """result.json, tables.md and the plots that there are figures for."""
    from .plots import write_plots

    folder.mkdir(parents=True, exist_ok=True)
    write_json(result, folder / "result.json")
    pictures = write_plots(result, folder)
    write_text(folder / "tables.md", markdown(result, pictures))


def tables(result: dict) -> list[Table]:
    """The tables that there are figures for."""
    made = [_size_table(result["models"])]
    if result["records"]:
        made.append(_model_table(result["records"]))
    if result["text"]:
        made.append(_text_table(result["text"]))
    made += [_profile_table(profile) for profile in result.get("profiles", [])]
    return made


def _size_table(models: list[dict]) -> Table:
    first = models[0]["parameters"]
    cells = [
        (
            _name(model),
            model["precision"],
            f"{model['parameters'] / 1e6:.2f} M",
            f"{first / model['parameters']:.2f}",
            f"{model['file_mb']:.1f}",
            _optional(model["gflop_128_tokens"], "{:.2f}"),
            _optional(model.get("score"), "{:.4f}"),
        )
        for model in models
    ]
    headings = ("model", "precision", "parameters", "times fewer", "files MB", "GFLOP at 128 tokens", "score")
    return "Size", "GFLOP: matrix products of one text as exported, counted.", headings, cells


def _model_table(records: list[dict]) -> Table:
    cells = [
        (
            _name(r),
            r["precision"],
            _engine(r),
            str(r["threads"]),
            f"{r['batch']} x {r['length']}",
            *(f"{r['latency_ms'][key]:.2f}" for key in ("p50", "p90", "p99")),
            f"{r['items_per_second']:.1f}",
            _ratio(r["times_as_fast"]),
            _optional(r["gflop_per_second"], "{:.0f}"),
            _optional(r["rss_mb"], "{:.0f}"),
        )
        for r in records
    ]
    headings = ("model", "precision", "engine", "threads", "batch", "p50 ms", "p90", "p99", "texts/s")
    headings += ("times as fast", "GFLOP/s", "RSS MB")
    note = (
        "Milliseconds a call of batch x tokens, no padding in it. Times as fast: as the first model in the same "
        "engine; median of the rounds, lowest and highest. GFLOP/s: matrix products by the median call. "
        "RSS: resident memory of the whole process."
    )
    return "Token ids to logits", note, headings, cells


def _text_table(records: list[dict]) -> Table:
    cells = [
        (
            r["pipeline"],
            _name(r),
            r["precision"],
            str(r["threads"]),
            str(r["rows"]),
            f"{r['items_per_second']:.1f}",
            _ratio(r["times_as_fast"]),
            f"{r['ms_a_text']['total']:.3f}",
            *(f"{r['share'][part]:.1%}" for part in ("tokenise", "model", "rest")),
        )
        for r in records
    ]
    headings = ("pipeline", "model", "precision", "threads", "rows", "texts/s", "times as fast", "ms a text")
    note = (
        "usual: PaddleNLP's tokenizer, file order, padded to 128, batch 32. toolkit: the bundle's predictor, batch 32. "
        "Shares of the time: tokenizer, model, and the rest (batching, labels)."
    )
    return "Text to label", note, headings + ("tokenise", "model", "rest"), cells


def _profile_table(profile: dict) -> Table:
    cells = [
        (entry["operation"], f"{entry['calls']:g}", f"{entry['ms']:.3f}", f"{entry['share']:.1%}")
        for entry in profile["operations"]
    ]
    title = f"Where the time goes: {_name(profile)} {profile['precision']}, {profile['batch']} x {profile['length']}"
    note = "The engine's own profile, milliseconds a call; profiling itself slows small operations down."
    return title, note, ("operation", "calls", "ms", "share"), cells


def _name(record: dict) -> str:
    return record["model"] + (" (plain graph)" if record["graph"] == "plain" else "")


def _engine(record: dict) -> str:
    return record["engine"] + ("" if record["device"] == "cpu" else f" {record['device']}")


def _ratio(ratio: dict | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def print_tables(result: dict) -> None:
    """The tables in the terminal, and every warning."""
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file has no width to fit into
    for title, note, headings, cells in tables(result):
        shown = RichTable(title=title)
        for heading in headings:
            text = heading in ("model", "precision", "engine", "pipeline", "operation")
            shown.add_column(heading, justify="left" if text else "right", no_wrap=not text)
        for row in cells:
            shown.add_row(*row)
        console.print(shown)
        console.print(note, style="dim", highlight=False)
    for warning in result["warnings"]:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def markdown(result: dict, pictures: list[str]) -> str:
    """The tables and plots as a Markdown page."""
    lines = ["# Speed and size", ""]
    for warning in result["warnings"]:
        lines += [f"**Warning: {warning}.**", ""]
    for title, note, headings, cells in tables(result):
        lines += [f"## {title}", "", *markdown_table(headings, cells), "", note, ""]
    for picture in pictures:
        lines += [f"![{Path(picture).stem.replace('-', ' ')}]({picture})", ""]
    return "\n".join([*lines, "## Machine", "", *describe_machine(result["environment"]), ""])


def describe_machine(environment: dict) -> list[str]:
    """The machine in Markdown lines."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    load = environment["load_average"]
    return [
        f"- {environment['cpu']}, {environment['cores']} core(s), {environment['system']}; "
        f"instruction sets: {', '.join(environment['instruction_sets']) or 'not known'}",
        f"- {versions}; commit {environment['git_commit'] or 'not known'}",
        f"- started {environment['started']}; load average "
        f"{'not known' if load is None else ', '.join(f'{value:.2f}' for value in load)}; "
        f"{_optional(environment['busy_share'], '{:.0%}') or 'not known'} of the cores at work just before",
    ]


def markdown_table(headings: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *cells)]
