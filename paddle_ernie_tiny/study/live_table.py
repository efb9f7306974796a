"""What a study has done and is doing, on the screen: a table that moves on a terminal, else a line for each job."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text
from tqdm import tqdm

from ..files import read_json
from .jobs import PROGRESS, RECORD, Job
from .study_settings import StudySettings


class LiveTable:
    """Shows a study's jobs while the `with` block lasts; `update` looks at them again."""

    def __init__(self, settings: StudySettings, jobs: list[Job], waiting: list[Job], say: Callable[[str], None]):
        self.settings, self.jobs, self.say, self._began = settings, jobs, say, time.time()
        self._waiting = len(waiting)  # jobs that are to be done now
        self._known = {job.name: job.record(settings) for job in jobs}
        self._before = self._done
        self._live = Live(self._table(), auto_refresh=False, transient=True) if Console().is_terminal else None

    @property
    def _done(self) -> int:
        return sum(record is not None for record in self._known.values())

    def __enter__(self) -> LiveTable:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> bool:
        """Shows what has changed since the last time. Is a job finished since?"""
        before = self._done
        for job in self.jobs:
            if self._known[job.name] is None and (job.folder / RECORD).is_file():
                record = self._known[job.name] = job.record(self.settings)
                if record is not None:
                    self.say(f"[{self._done}/{len(self.jobs)}] {job.name[:-1]}: {_score(record)}; {self._left()}")
        if self._live:
            self._live.update(self._table(), refresh=True)
        return self._done > before

    def _left(self) -> str:
        """The time that the rest takes if its jobs take as long as those before."""
        made = self._done - self._before
        each = (time.time() - self._began) / made if made else 0.0
        rest = self._waiting - made
        return f"left about {tqdm.format_interval(each * rest)}" if made else "time left not known yet"

    def _table(self) -> Table:
        tasks = list(dict.fromkeys(job.task for job in self.jobs))
        title = f"{self._done} of {len(self.jobs)} jobs, {self._left()}"
        table = Table("variant", *(Column(Text(task), overflow="fold") for task in tasks), title=title)
        for variant in self.settings.every_variant:
            table.add_row(variant, *(Text(self._cell(task, variant)) for task in tasks))  # not markup: [general 25%]
        return table

    def _cell(self, task: str, variant: str) -> str:
        parts = []
        for job in self.jobs:
            if (job.task, job.variant) == (task, variant):
                record, progress = self._known[job.name], None
                if record is None:
                    progress = read_json(job.folder / PROGRESS)
                parts.append(_score(record) if record else "·" if progress is None else _now(progress))
        return "  ".join(parts)


def _score(record: dict) -> str:
    return "–" if record["score"] is None else f"{record['score']:.4f}"


def _now(progress: dict) -> str:
    return f"[{progress['title']} {progress['done'] / progress['of']:.0%}]"
