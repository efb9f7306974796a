"""The folder of results: what was called, the figures as JSON, and a README made of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from paddle_ernie_tiny.machine import describe_machine, git_commit

from .harness import FAULTS, GOOD, Summary
from .parts import PARTS

_TOOLS = ("hypothesis", "schemathesis", "psutil", "pydantic", "uvicorn")


def write_results(folder: Path, output: Path, arguments: Sequence[str]) -> None:
    """Writes command.txt, result.json and README.md, of every part that has figures in `output`."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = [output / f"{name}.json" for name in PARTS]
    summaries = [Summary(**json.loads(path.read_text(encoding="utf-8"))) for path in figures if path.is_file()]
    command = "python -m tests.faults " + shlex.join(arguments)
    journals = [output / f"{summary.part}.jsonl" for summary in summaries]
    commands = [_command(journal) for journal in journals if journal.is_file()]
    (folder / "command.txt").write_text("\n".join(commands) + "\n", encoding="utf-8")
    machine = describe_machine()
    machine["versions"] |= {tool: metadata.version(tool) for tool in _TOOLS}
    parts = {summary.part: asdict(summary) for summary in summaries}
    result = {"command": command, "commands": commands, "commit": git_commit(), "machine": machine, "parts": parts}
    text = json.dumps(result, ensure_ascii=False, indent=1, default=str)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(command, machine, summaries), encoding="utf-8")


def _command(journal: Path) -> str:
    """The command that gives a part's figures again, from the first line of its journal."""
    with journal.open(encoding="utf-8") as file:
        header = json.loads(file.readline())
    minutes = [] if header["minutes"] is None else ["--minutes", str(header["minutes"])]
    count = ["--count", str(header["count"])]
    arguments = [header["part"], *count, "--seed", str(header["seed"]), *minutes, "--output", "runs/faults"]
    return "python -m tests.faults " + shlex.join(arguments)


def _readme(command: str, machine: dict, summaries: Sequence[Summary]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rows = []
    for summary in summaries:
        verdicts = ", ".join(f"{verdict} {count}" for verdict, count in sorted(summary.verdicts.items()))
        cost = f"{summary.seconds_per_attack:.3g} s"
        reached = "yes" if not summary.faults else "**no**"
        rows.append(
            f"| {summary.part} | {summary.attacks:,} {summary.unit} | {verdicts} | {len(summary.faults)} | {cost} "
            f"| {summary.seconds / 60:.1f} | {summary.seed} | {reached} |"
        )
    found = [
        f"- {summary.part}: {fault['verdict']}: `{' '.join(fault['detail'].replace('`', ' ').split())[:300]}`"
        for summary in summaries
        for fault in summary.faults
    ]
    attacks = {summary.part: summary.attacks for summary in summaries}
    short = [f"{n} {attacks.get(n, 0)} of {p.whole:,}" for n, p in PARTS.items() if attacks.get(n, 0) < p.whole]
    bars = [f"- {summary.part}: {summary.bar}" for summary in summaries]
    words = [f"- {verdict}: {meaning}" for verdict, meaning in (GOOD | FAULTS).items()]
    figures = [f"- {s.part}: {json.dumps(s.figures, ensure_ascii=False)}" for s in summaries if s.figures]
    lines = [
        "# Faults",
        "",
        "What happens when a run is killed or stopped, its files are damaged or its disk fills up? And when",
        "configuration, data, bundles or requests are hostile? The harness is `tests/faults/`; it writes this page.",
        "",
        f"Written by `{command}`; the command of each part is in `command.txt`.",
        "",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}. Versions: {versions}.",
        "",
        "| part | attacks | ended in | faults | one costs | minutes | seed | no fault |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *(["Fewer than the bar asks for: " + "; ".join(short) + ".", ""] if short else []),
        "## Faults found",
        "",
        *(found or ["None."]),
        "",
        "## More figures",
        "",
        *(figures or ["None."]),
        "",
        "## What the bars are",
        "",
        *bars,
        "",
        "## What the words mean",
        "",
        *words,
        "",
        "## What this does not show",
        "",
        "The runs are miniatures: ten steps of models with two layers. A kill is SIGKILL of every process of a run,",
        "not a loss of power: what the disk had not written by then is not lost. No case ran on a GPU or on several",
        "machines. What a seed draws is a sample; another seed draws another.",
    ]
    return "\n".join(lines) + "\n"
