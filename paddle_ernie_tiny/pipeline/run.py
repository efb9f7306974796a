"""The whole pipeline: ordered steps, each skipped when its work still holds, resumed when it was cut off."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import paddle

from ..config import RunConfig, dump_config
from ..distributed import connect, is_main, wait_for_all
from ..errors import InputError
from . import environment
from .context import RunContext
from .lineage import PREFLIGHT, RESOLVED, Step, StepRecord, differences, fingerprint, read_json, write_json
from .plan import JointStep, plan
from .preflight import preflight

OWN_FOLDERS = ("teacher", "baseline", "stages", "students", "bundle", "bundle-int8", "benchmark", "vdl", "data")


def run(
    config: RunConfig,
    from_stage: str | None = None,
    until: str | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = print,
) -> Path | None:
    """Runs the pipeline in `config.output_dir`; returns the report's path (None when `until` stopped it).

    A step whose recorded inputs equal the present ones is not repeated; one that was cut off goes on from
    its last checkpoint; one whose inputs changed is made anew, and what changed is said.
    Raises InputError for bad input, GateError when the export's parity gate fails, Interrupted on Ctrl-C.
    """
    root = Path(config.output_dir)
    if not is_main():
        say = _nothing
    contexts = preflight(config, say)
    paddle.set_device(environment.find_device(config.device))
    connect()
    wait_for_all()  # preflight looks into the folder that the main process is about to open
    if is_main():
        root.mkdir(parents=True, exist_ok=True)
    with _locked(root) if is_main() else nullcontext():
        steps = plan(contexts)
        names = [step.name for step in steps]
        for option, value in (("--from-stage", from_stage), ("--until", until)):
            if value is not None and value not in names:
                raise InputError(f"no step {value!r} in this run", option, f"steps: {', '.join(dict.fromkeys(names))}")
        if is_main():
            if fresh:
                for name in OWN_FOLDERS:
                    shutil.rmtree(root / name, ignore_errors=True)
            _write_headers(config, contexts)
            if from_stage is not None:
                for step in steps[names.index(from_stage) :]:
                    for each in (step, *(step.members.values() if isinstance(step, JointStep) else ())):
                        shutil.rmtree(each.folder, ignore_errors=True)
        # of a step that every student has, the last one
        last = len(names) - 1 - names[::-1].index(until) if until else None
        for number, step in enumerate(steps):
            perform = _perform_together if isinstance(step, JointStep) else _perform
            perform(step, f"[{number + 1}/{len(steps)}]", say)
            if number == last:
                say(f"stopped after {until}, as --until asks")
                return None
        if not is_main():
            return None
        from .report import write_report

        return write_report(root, say)


def _nothing(_: str) -> None:
    """Says nothing: of several processes, one speaks."""


def _write_headers(config: RunConfig, contexts: dict[str, RunContext]) -> None:
    """What decides the run, in its folder and in that of each student."""
    for context in contexts.values():
        context.root.mkdir(parents=True, exist_ok=True)
        header = environment.header(context)
        if context.root != context.shared:
            dump_config(config, context.shared / RESOLVED, header)
            header["shared_folder"] = "../.."  # teacher and prepared data, seen from output_dir/students/NAME
        dump_config(context.config, context.root / RESOLVED, header)
        write_json(context.root / PREFLIGHT, [finding.as_dict() for finding in context.findings])


def _perform(step: Step, number: str, say: Callable[[str], None]) -> None:
    title = f"{number} {step.name}" + (f" of {step.student}" if step.student else "")
    wait_for_all()  # until what the step builds on is written
    record = StepRecord(step.folder, step.inputs())
    state, changed = _state(step, record)
    wait_for_all()  # until every process has seen the same
    if state == "done":
        say(f"{title}: already done")
    else:
        if state == "stale":
            say(f"{title}: made anew, because of " + "; ".join(changed[:3]))
        else:
            say(title + (": carrying on" if state == "resume" else ""))
        if is_main():
            record.begin(fresh=state in ("stale", "new"))
        wait_for_all()
        start = time.time()
        with _fresh_names():
            result = step.train(step.folder) if step.shared or is_main() else {}
        if is_main():
            record.finish(result)
        say(f"{title}: done in {result.get('seconds', time.time() - start):.0f} s")
    if not is_main():
        return
    if step.measure is not None:
        _measure(step, title, say)
    if step.gate is not None:
        step.gate(step.folder)


def _perform_together(step: JointStep, number: str, say: Callable[[str], None]) -> None:
    """Trains those students together whose own record does not hold; a student that is added later trains alone."""
    title = f"{number} {step.name}"
    wait_for_all()
    records = {name: StepRecord(member.folder, member.inputs()) for name, member in step.members.items()}
    states = {name: _state(member, records[name]) for name, member in step.members.items()}
    wait_for_all()
    pending = [name for name, (state, _) in states.items() if state != "done"]
    for name, (state, changed) in states.items():
        if state == "stale":
            say(f"{title} of {name}: made anew, because of " + "; ".join(changed[:3]))
    if pending:
        training = StepRecord(step.folder, {name: records[name].inputs for name in pending})
        resume = training.state()[0] == "resume"
        wait_for_all()
        say(f"{title} of {', '.join(pending)}" + (": carrying on" if resume else ""))
        if is_main():
            training.begin(fresh=not resume)
            for name in pending:
                records[name].begin(fresh=True)
        wait_for_all()
        with _fresh_names():
            results = step.train(step.folder, pending)
        if is_main():
            for name in pending:
                records[name].finish(results[name])
            shutil.rmtree(step.folder)
        say(f"{title} of {', '.join(pending)}: done in {results[pending[0]]['seconds']:.0f} s")
    else:
        say(f"{title}: already done")
    if is_main():
        for name, member in step.members.items():
            _measure(member, f"{title} of {name}", say)


def _state(step: Step, record: StepRecord) -> tuple[str, list[str]]:
    state, changed = record.state()
    if state == "done" and not step.product.exists():
        return "stale", [f"{step.product} is gone"]
    return state, changed


def _fresh_names():
    """Paddle names parameters by a counter, and optimiser states by parameters: each step counts from zero, so
    that a process that skips finished steps finds the names that its checkpoint holds."""
    return paddle.utils.unique_name.guard()


def _measure(step: Step, title: str, say: Callable[[str], None]) -> None:
    inputs = {"step": StepRecord(step.folder, {}).identity(), **step.measure_inputs()}
    file = step.folder / "metrics.json"
    known = read_json(file)
    if known is None or differences(known["inputs"], fingerprint(inputs)):
        values = step.measure(step.folder)
        write_json(file, {"inputs": fingerprint(inputs), **values})
        score = values.get("score")
        if score is not None:
            say(f"{title}: score {score:.4f} ({values.get('score_kind', 'classifier')})")


@contextmanager
def _locked(root: Path):
    """One run at a time in a folder; the lock goes with the process, however it ends."""
    with open(root / ".lock", "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another run is at work in this folder",
                str(root),
                "wait for it, or choose another output_dir",
            ) from None
        yield
