"""What every part of the harness shares: cases from a seed, outcomes, a journal that is resumed, figures."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

# What an attack may end in. All else is a fault.
GOOD = {
    "right": "the result is that of an undisturbed run, to the byte",
    "refused": "one clear message, with place and remedy, and the exit code of wrong input",
    "accepted": "valid input was taken, and nothing in it is nonsense",
    "answered": "an HTTP answer that the server's OpenAPI document names",
    "flat": "memory did not grow",
}
FAULTS = {
    "silent": "exit code 0 with another result",
    "bare": "a traceback or a bare Python error",
    "unclear": "the message lacks place or remedy, is unprintable or endless, or the exit code is another",
    "nonsense": "input that makes no sense was taken",
    "hang": "no end within the limit of time",
    "slow": "ended, but later than the limit",
    "memory": "took more memory than the limit",
    "crash": "the process died",
    "orphan": "a child process lived on",
    "undocumented": "an HTTP answer that the OpenAPI document does not name, or none",
    "grown": "memory grew beyond the limit",
    "harness": "the harness itself failed",
}


@dataclass
class Outcome:
    """What became of one case.

    weight: how many attacks the case held (the kills of one run). keep: bytes of the failing input by file name.
    """

    verdict: str
    detail: str = ""
    weight: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    keep: dict[str, bytes] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Is it one of GOOD?"""
        return self.verdict in GOOD


class Part:
    """One kind of attack. `cases` gives JSON values that a seed decides; `attack` carries one out.

    whole and short: how many attacks the bar asks for, and how many the short form makes. unit: what is counted.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    bar: ClassVar[str]
    whole: ClassVar[int]
    workers: ClassVar[int] = 2  # cases at the same time

    def __init__(self, seed: int, work: Path, minutes: float | None = None):
        self.seed, self.work, self.minutes = seed, work, minutes

    def cases(self, count: int) -> list[dict[str, Any]]:
        """The cases of `count` attacks, the same for the same seed."""
        raise NotImplementedError

    @contextmanager
    def opened(self) -> Iterator[None]:
        """What all cases need, such as a reference run, is there inside the block."""
        yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Carries one case out."""
        raise NotImplementedError

    def figures(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """More figures for the summary, from the journal's lines."""
        return {}


@dataclass
class Summary:
    """The figures of one part."""

    part: str
    unit: str
    bar: str
    seed: int
    attacks: int
    verdicts: dict[str, int]
    faults: list[dict[str, Any]]
    seconds: float
    seconds_per_attack: float
    figures: dict[str, Any]

    @property
    def line(self) -> str:
        """The figures on one line."""
        good = ", ".join(f"{verdict} {count}" for verdict, count in sorted(self.verdicts.items()))
        return f"{self.part}: {self.attacks} {self.unit}, {len(self.faults)} faults ({good}), {self.seconds:.0f} s"


def run_part(
    part: Part, count: int, output: Path, workers: int, say: Callable[[str], None] = print, every: float = 10.0
) -> Summary:
    """Carries out the cases that the journal in `output` does not hold yet; writes `PART.jsonl` and `PART.json`.

    A line of progress with the time left every `every` seconds, and one for each fault.
    """
    output.mkdir(parents=True, exist_ok=True)
    cases = [{"id": number, **case} for number, case in enumerate(part.cases(count))]
    journal = output / f"{part.name}.jsonl"
    header = {"part": part.name, "seed": part.seed, "count": count, "minutes": part.minutes}
    known = _read_journal(journal, header)
    todo = [case for case in cases if case["id"] not in known]
    if known and todo:
        say(f"{part.name}: {len(known)} of {len(cases)} cases are in the journal already")
    start, lock = time.monotonic(), threading.Lock()
    shown = [start]

    def one(case: dict[str, Any]) -> None:
        began = time.monotonic()
        try:
            outcome = part.attack(case)
        except Exception as error:  # a fault of the harness must not look like a good case
            outcome = Outcome("harness", f"{type(error).__name__}: {error}")
        line = {**asdict(outcome), "id": case["id"], "case": case, "seconds": round(time.monotonic() - began, 3)}
        for name, content in line.pop("keep").items() if not outcome.good else ():
            (output / "failing").mkdir(exist_ok=True)
            (output / "failing" / f"{part.name}-{case['id']}-{name}").write_bytes(content)
        line.pop("keep", None)
        with lock:
            known[case["id"]] = line
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=True, default=str) + "\n")
            if not outcome.good:
                say(f"{part.name} #{case['id']}: {outcome.verdict.upper()}: {outcome.detail[:300]}")
            if time.monotonic() - shown[0] >= every:
                shown[0] = time.monotonic()
                done = len(known) - (len(cases) - len(todo))
                left = (shown[0] - start) / done * (len(todo) - done)
                faults = sum(entry["verdict"] not in GOOD for entry in known.values())
                clock = f"{int(left) // 60:02d}:{int(left) % 60:02d}"
                say(f"{part.name}: {len(known)}/{len(cases)} cases, {faults} faults, left {clock}")

    if todo:
        with part.opened(), ThreadPoolExecutor(min(workers, part.workers)) as pool:
            list(pool.map(one, todo))
    with (output / f"{part.name}.time").open("a+", encoding="ascii") as file:  # of all runs that the journal is of
        file.write(f"{time.monotonic() - start:.1f}\n")
        file.seek(0)
        seconds = sum(map(float, file.read().split())) if len(known) > len(todo) else time.monotonic() - start
    summary = _summary(part, [known[case["id"]] for case in cases], seconds)
    text = json.dumps(asdict(summary), ensure_ascii=False, indent=1, default=str)
    (output / f"{part.name}.json").write_text(text + "\n", encoding="utf-8")
    say(summary.line)
    return summary


def _read_journal(path: Path, header: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The lines of an earlier, equal call by case; an empty journal is begun if there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if lines and json.loads(lines[0]) == header:
        whole = [line for line in lines[1:] if line.endswith("}")]  # the last one may be cut off
        return {entry["id"]: entry for entry in map(json.loads, whole)}
    path.write_text(json.dumps(header) + "\n", encoding="utf-8")
    path.with_suffix(".time").unlink(missing_ok=True)
    return {}


def _summary(part: Part, lines: list[dict[str, Any]], seconds: float) -> Summary:
    verdicts: Counter[str] = Counter()
    for line in lines:
        verdicts[line["verdict"]] += line["weight"]
    attacks = sum(verdicts.values())
    faults = [
        {"verdict": line["verdict"], "detail": line["detail"], "case": line["case"]}
        for line in lines
        if line["verdict"] not in GOOD
    ]
    per = sum(line["seconds"] for line in lines) / max(1, attacks)
    return Summary(
        part.name,
        part.unit,
        part.bar,
        part.seed,
        attacks,
        dict(verdicts),
        faults,
        round(seconds, 1),
        round(per, 4),
        part.figures(lines),
    )
