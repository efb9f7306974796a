"""A search from its YAML file to its answer: measure shapes, drop what is over budget, halve, train the last ones."""

from __future__ import annotations

import copy
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..benchmark.subjects import Shape, flops
from ..config import RunConfig, check_config
from ..errors import ErnieTinyError, InputError, Interrupted
from ..files import at, locked, require_folder, write_json, write_text
from ..pipeline.step import FINAL, RunFolder
from ..study.ablate import teacher_sizes
from ..study.group import shared_out
from .bounds import broken_bounds, in_the_way, sign
from .desk import Desk, ProcessEnded
from .halving import best, elder_of, entrants, places, rung_steps
from .measure_shapes import measure_more, measure_space, read_device_table
from .remeasure import MEASURED, measure_finalists
from .search_pages import write_search_pages
from .search_settings import SearchSettings, as_overrides, load_search
from .search_state import Entry, SearchState
from .shape_speed import Effort, Setting, ShapeSpeeds
from .space import CandidateStudent, candidates_of, check_base, general_stages, recipe
from .trials import Trial, count_steps, describe, last_alone, short_run

RESULTS, WINNER = "results.json", "winner.yaml"


def search(
    path: str | os.PathLike,
    overrides: Sequence[str] = (),
    budget: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Runs the search; the same call again continues where it stopped. Returns the path of report.html.

    overrides: "key.sub=value", of the search's file. budget: bounds such as "latency_ms<=5", on top of the file's.
    Raises InputErrors for wrong input, before any work, and InputError, once the report is written, if no candidate
    keeps to the budget.
    """
    settings, base = load_search(path, [*overrides, *as_overrides(budget)])
    check_config({**copy.deepcopy(base), "output_dir": settings.output_dir}, settings.base)  # all its mistakes
    check_base(base, settings.base)
    sizes = teacher_sizes(base)
    if sizes is None:
        raise InputError("the teacher's sizes are not known", f"{settings.base}: teacher", "give teacher.model")
    candidates, left_out = candidates_of(settings, sizes)
    if not candidates:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"no candidate fits together: {reasons}", f"{path}: space", "give other sizes")
    root = Path(settings.output_dir)
    if (resolved := RunFolder(root).resolved).exists():
        raise InputError("this is the folder of a run", str(resolved), "give the search another output_dir")
    for one in {one.trained: one for one in candidates}.values():
        recipe(settings, base, one, str(root), baseline=True)  # every mistake before any work
    require_folder(root)
    command = shlex.join(["ernie-tiny", "search", str(path), *overrides, *(f"--budget={text}" for text in budget)])
    with at(root), locked(root, "search"), Desk(root, say) as desk:
        return _Search(settings, base, root, desk, say, command).run(candidates, left_out)


class _Search:
    """One call of `search`: what it knows so far, and its steps in their order."""

    def __init__(
        self,
        settings: SearchSettings,
        base: dict[str, Any],
        root: Path,
        desk: Desk,
        say: Callable[[str], None],
        command: str,
    ):
        self.settings, self.base, self.root, self.desk, self.say = settings, base, root, desk, say
        self.state = SearchState(settings, command)
        self.facts: dict[str, Any] = {}

    def run(self, candidates: list[CandidateStudent], left_out: dict[str, str]) -> Path:
        self.state.entries = {one: Entry(one) for one in candidates}
        self.state.left_out = left_out
        pruned = [one for one in candidates if one.vocabulary == "used"]
        described = self._full((pruned or candidates)[-1])
        each = {one.trained: self._full(one) for one in candidates}
        self.facts = self.desk.ask(describe, described, self.root, bool(pruned), each)
        self.state.facts = self.facts
        speeds = self._speeds(candidates)
        (self.root / WINNER).unlink(missing_ok=True)  # it may be of another budget
        chosen = self._within(candidates, speeds)
        self.write()
        chosen = self._halved(chosen)
        self._finals(chosen)
        for signals in self.root.glob("shared/data/signals"):
            shutil.rmtree(signals)
        report = self.write()
        if self.state.winner is None:
            raise self._none_as_measured()
        return report

    def write(self) -> Path:
        """results.json and the pages of what is known by now."""
        results = self.state.results()
        write_json(self.root / RESULTS, results)
        return write_search_pages(results, self.root)

    # -- what is fast and small enough

    def shape(self, one: CandidateStudent) -> Shape:
        """What is measured of a candidate."""
        tokens = self.facts["teacher"]["vocab_size"]
        return one.shape(self.facts["used_tokens"] if one.vocabulary == "used" else tokens, self.facts["labels"])

    @property
    def setting(self) -> Setting:
        """What is measured, and how."""
        how = self.settings.at
        lengths = self.facts["lengths"] if how.length == "data" else [how.length]
        return Setting(how.batch, tuple(dict.fromkeys(lengths)), how.threads, how.engine)

    def _speeds(self, candidates: list[CandidateStudent]) -> ShapeSpeeds:
        how = self.settings.at
        shapes = list(dict.fromkeys((self.shape(one), one.precision) for one in candidates))
        if how.table is not None:
            precisions = list(dict.fromkeys(precision for _, precision in shapes))
            speeds = read_device_table(Path(how.table), self.setting, precisions)
        else:
            self.say(f"{len(candidates)} candidates, {len(shapes)} different shapes to be exported; some are measured")
            speeds = measure_space(shapes, self.setting, self.root, self.say, self.effort)
        self._take(speeds)
        return speeds

    @property
    def effort(self) -> Effort:
        """How thoroughly shapes are measured."""
        how = self.settings.at
        return Effort(how.shapes, how.held_out, how.passes, how.seconds, how.rounds)

    def _take(self, speeds: ShapeSpeeds) -> None:
        """Gives every candidate its figures."""
        self.state.speeds = speeds
        for one, entry in self.state.entries.items():
            entry.predicted = self.state.values(one, self.shape(one))

    def _within(self, candidates: list[CandidateStudent], speeds: ShapeSpeeds) -> list[CandidateStudent]:
        """Those that keep to the budget and are to be trained, with measured figures. Raises InputError for none."""
        limits, entries = self.settings.budget.bounds, self.state.entries
        work = {one: flops(self.shape(one), self.setting.lengths[-1]) for one in candidates}
        elsewhere = self.settings.at.table is not None
        while True:
            values = {one: entries[one].values if elsewhere else entries[one].at_best for one in candidates}
            fitting = [one for one in candidates if not broken_bounds(values[one], limits)]
            if not fitting:
                raise self._nothing_fits()
            chosen = entrants(fitting, work, self.settings.halving.candidates)
            todo = [one for one in chosen if not speeds.figures(self.shape(one), one.precision).measured]
            if not todo or elsewhere:
                break
            shapes = [(self.shape(one), one.precision) for one in todo]
            speeds = measure_more(speeds, shapes, self.say, self.effort)
            self._take(speeds)
        for one in candidates:
            broken = broken_bounds(entries[one].values, limits)
            entries[one].out = "; ".join(map(str, broken)) or (
                "" if one in chosen else "not among those that are trained"
            )
        self.say(
            f"{len(fitting)} of {len(candidates)} candidates keep to the budget, {len(chosen)} of them are trained"
        )
        return chosen

    def _nothing_fits(self) -> InputError:
        limits, entries = self.settings.budget.bounds, self.state.entries
        off = {one: max(b.times for b in broken_bounds(e.values, limits)) for one, e in entries.items()}
        nearest = min(off, key=lambda one: off[one])
        for entry in entries.values():
            entry.out = "; ".join(map(str, broken_bounds(entry.values, limits)))
        ways = in_the_way([entry.values for entry in entries.values()], limits)
        self.state.nearest = nearest
        self.write()
        bounds = ", ".join(f"{bound}{sign(bound)}{limits[bound]:g}" for bound in ways)
        what = f"no candidate keeps to {bounds}; the nearest is {nearest.name}: {entries[nearest].out}"
        return InputError(what, "budget", f"widen the budget or the space; {self.root / 'report.html'} has all figures")

    def _none_as_measured(self) -> InputError:
        over = (f"{one.name}: {entry.out}" for one, entry in self.state.entries.items() if entry.final)
        what = f"no finalist keeps to the budget when its bundle is measured; {'; '.join(over)}"
        remedy = f"widen the budget; or remove {self.root / MEASURED}, and the same command measures them again"
        return InputError(what, "budget", remedy)

    @property
    def engine(self) -> str:
        """What bundles are to run in: the engine that was measured."""
        return self.state.speeds.engine if self.state.speeds else "paddle"

    # -- what is good enough

    def _full(self, one: CandidateStudent, baseline: bool = False) -> RunConfig:
        return recipe(
            self.settings, self.base, one, str(self.root / "students" / one.trained), None, baseline, self.engine
        )

    def _trial(self, one: CandidateStudent, until: str | None, measured: bool = False) -> Trial:
        return Trial(f"students/{one.trained}", self._full(one), until, self.root, measured)

    def _halved(self, chosen: list[CandidateStudent]) -> list[CandidateStudent]:
        """The finalists, after teacher, general stages by width, and rungs."""
        config = self._full(chosen[0])
        teacher = config.teacher
        assert teacher is not None, "the base was checked"
        self.say("the teacher, for all candidates")
        self.desk.do(self._trial(chosen[0], "finetune" if teacher.finetune is not None else "teacher"), 0)
        counted = max((one for one in self.state.entries), key=lambda one: one.num_hidden_layers)
        full = self._full(counted)
        counts = self.desk.ask(count_steps, full, self.root)
        general, on_task = counts[: general_stages(full)], counts[general_stages(full) :]
        self.state.full_steps = {"general": sum(general), "task": sum(on_task)}
        rungs = rung_steps(self.settings.halving, sum(on_task), len(on_task))
        try:
            shared_out(list(on_task), rungs[0])  # before the general stages are trained
        except InputError as error:
            raise InputError(error.what, "halving.steps", error.remedy) from None
        counts_by_rung = places(self.settings.halving, len(chosen))
        groups: dict[Any, list[CandidateStudent]] = {}
        for one in chosen if general else ():
            if one.num_hidden_layers:
                groups.setdefault(one.width, []).append(one)
        rung_total = sum(steps * count for steps, count in zip(rungs, counts_by_rung, strict=False))
        self.desk.planned = len(groups) * sum(general) + rung_total + counts_by_rung[-1] * sum(counts)
        starts = {width: self._elder(group, full, sum(general)) for width, group in groups.items()}
        going = chosen
        for number in range(len(rungs)):
            scores = {}
            for place, one in enumerate(going, start=1):
                start = starts.get(one.width) if one.num_hidden_layers else None
                score = self._partial(one, start, on_task, rungs[: number + 1])
                scores[one] = score
                title = f"[rung {number + 1}: {place}/{len(going)}] {one.trained}"
                self.say(f"{title}: {score:.4f} on dev after {sum(rungs[: number + 1])} steps; {self.desk.left}")
            going = best(scores, counts_by_rung[number + 1])
            for one in scores:
                if one not in going:
                    self.state.entries[one].out = f"not among the best {len(going)} after rung {number + 1}"
            self.write()
        return going

    def _elder(self, group: list[CandidateStudent], full: RunConfig, steps: int) -> str:
        """Folder of the student that the candidates of a width start from: with the general stages behind it."""
        elder = elder_of(group)
        self.say(f"general stages for {len(group)} candidates of width {elder.hidden_size}; {self.desk.left}")
        last = general_stages(full) - 1
        names = [stage.stage for stage in full.stages[: last + 1]]
        times = names.count(names[-1])
        trial = self._trial(elder, names[-1] if times == 1 else f"{names[-1]}-{times}")
        self.state.count(trial, self.desk.do(trial, steps))
        folder = RunFolder(Path(trial.config.output_dir), trial.shared)
        return str(folder.stage(last, names[-1]) / FINAL)

    def _partial(self, one: CandidateStudent, start: str | None, on_task: list[int], rungs: list[int]) -> float:
        """The dev score of a candidate after some rungs."""
        folder = str(self.root / "rungs" / one.trained)
        config = recipe(self.settings, self.base, one, folder, start)
        parts = on_task if one.num_hidden_layers else [sum(on_task)]
        config, until = short_run(config, folder, parts, rungs)
        trial = Trial(f"rungs/{one.trained}", config, until, self.root)
        record = self.desk.do(trial, rungs[-1])
        self.state.count(trial, record)
        score = record["stages"][-1]["dev"]
        self.state.entries[one].rungs.append({"steps": sum(rungs), "score": score})
        return score

    # -- the last ones

    def _finals(self, finalists: list[CandidateStudent]) -> None:
        steps, done, failed = self.state.full_steps, list[CandidateStudent](), list[ErnieTinyError]()
        for place, one in enumerate(finalists, start=1):
            self.say(f"[final: {place}/{len(finalists)}] {one.name}: the full recipe; {self.desk.left}")
            trial = self._final_trial(one)
            try:
                record = self.desk.do(trial, steps["general"] + steps["task"])
            except (Interrupted, ProcessEnded):
                raise
            except ErnieTinyError as error:  # such as a gate that does not pass: the others may
                self.state.entries[one].out = f"failed: {error.what}"
                failed.append(error)
                continue
            self.state.count(trial, record)
            self.state.entries[one].finish(record, Path(trial.config.output_dir), self.root)
            self.say(f"[final: {place}/{len(finalists)}] {one.name}: {record['stages'][-1]['dev']:.4f} on dev")
            done.append(one)
            self.write()
        if not done:
            raise failed[-1]
        measure_finalists(self.state, done, self.setting, self.root, self.say)
        winner = self.state.choose(done)
        if winner is None:
            return
        if self.base.get("baseline") is not None:
            self.say(f"{winner.trained} without distillation, for comparison; {self.desk.left}")
            config = self._final_config(winner, baseline=True)
            trial = replace(self._final_trial(winner), config=config, mark="baseline")
            self.desk.do(trial, 0)
            self.state.add_report(winner, self.root)
        text = yaml.safe_dump(self._final_config(winner, baseline=True).model_dump(mode="json"), allow_unicode=True)
        how = "# The winner's run: `ernie-tiny run winner.yaml` makes it again, with every default filled in.\n"
        write_text(self.root / WINNER, how + text)

    def _final_config(self, one: CandidateStudent, baseline: bool = False) -> RunConfig:
        config = self._full(one, baseline)
        return config if one.num_hidden_layers else last_alone(config, self.state.full_steps["task"])

    def _final_trial(self, one: CandidateStudent) -> Trial:
        return Trial(f"students/{one.trained}", self._final_config(one), None, self.root, measured=True)
