"""The front door for Python: what the command line does, as functions. Import it as `paddle_ernie_tiny`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import RunConfig, load_config
from .defaults import AUTO
from .deploy.predictor import Predictor
from .errors import InputError
from .files import read_json
from .watch import Progress, Watcher


@dataclass(frozen=True)
class Distilled:
    """A finished run: its folder, its report, and where the bundle is.

    report: `report.json` as a mapping. bundle: the exported student. students: of a run with several students, each
    one's own by name; such a run has no bundle itself.
    """

    folder: Path
    report: dict[str, Any]
    bundle: Path | None
    students: dict[str, Distilled] = field(default_factory=dict)

    def predictor(self, threads: int | str = 1, engine: str = AUTO) -> Predictor:
        """The exported student, loaded. Raises InputError for a run with several students."""
        if self.bundle is None:
            names = ", ".join(self.students)
            raise InputError(f"the run has several students: {names}", str(self.folder), "ask one of .students")
        return Predictor(self.bundle, threads=threads, engine=engine)


def distil(
    config: RunConfig | str | os.PathLike | None = None,
    overrides: Sequence[str] = (),
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    say: Callable[[str], None] = print,
    **sections: Any,
) -> Distilled:
    """Runs the whole pipeline; the same call again continues where it stopped.

    Args:
        config: a checked configuration, or the path of a YAML file; None: `sections` alone.
        overrides: "key.sub=value", as on the command line.
        on_progress: called at every log line of a training.
        should_stop: asked after every training step; true ends the run after a checkpoint, with Interrupted.
        say: gets the lines that the command line prints.
        sections: keys of the YAML file, merged over it: `output_dir="runs/mine", student={"hidden_size": 192}`.

    Raises InputError or InputErrors for wrong input, GateError if a gate does not pass, Interrupted when stopped.
    """
    from .pipeline.run import run

    checked = config if isinstance(config, RunConfig) else load_config(config, overrides, sections)
    if isinstance(config, RunConfig) and (overrides or sections):
        remedy = "give them with the path of a YAML file, or change the configuration itself"
        raise InputError("overrides and keywords go with a file, not with a checked configuration", "distil", remedy)
    report_file = run(checked, say=say, watcher=Watcher(on_progress, should_stop))
    assert report_file is not None, "only `until` ends a run without a report"
    return _finished(report_file)


def _finished(report_file: Path) -> Distilled:
    folder, report = report_file.parent, read_json(report_file)
    students = {name: _finished(folder / entry["report"]) for name, entry in report.get("students", {}).items()}
    return Distilled(folder, report, None if students else folder / report["export"]["bundle"], students)


def bench(
    models: Sequence[str | os.PathLike],
    *,
    json_file: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    say: Callable[[str], None] = print,
    **options: Any,
) -> dict[str, Any]:
    """Measures bundles and named shapes side by side; the first model is the reference.

    json_file, out: where the result goes besides, as a file and as a folder of tables and plots. say: told every step.
    `options` are the fields of `BenchRequest` (batches, lengths, threads, engines, seconds, ...). Returns the result
    as `ernie-tiny bench --json` writes it. Raises InputError.
    """
    from .benchmark.bench import bench as run_bench
    from .benchmark.request import BenchRequest

    request = BenchRequest(models=[str(model) for model in models], **options)
    return run_bench(request, Path(json_file) if json_file else None, Path(out) if out else None, say)
