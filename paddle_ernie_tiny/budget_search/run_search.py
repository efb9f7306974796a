"""A search from its YAML file to its answer: measure shapes, drop what is over budget, halve, train the last ones."""

from __future__ import annotations

import copy
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..benchmark.subjects import Shape, flops
from ..config import RunConfig, check_config
from ..errors import ErnieTinyError, InputError, Interrupted
from ..files import at, locked, require_folder, write_json
from ..models.initialise import check_start
from ..pipeline.report import measured_classifier
from ..pipeline.step import FINAL, RunFolder
from ..stages import step_names
from ..study.ablate import teacher_sizes
from .bounds import broken_bounds, in_the_way, sign
from .desk import Desk, ProcessEndedError
from .halving import best, elder_of, entrants, places, rung_steps
from .measure_shapes import measure_more, measure_space, read_device_table
from .remeasure import measure_finalists
from .search_pages import write_search_pages
from .search_settings import SearchSettings, as_overrides, check_length, load_search
from .search_state import Entry, SearchState
from .shape_speed import Effort, Setting, ShapeSpeeds
from .space import CandidateStudent, candidates_of, check_base, general_stages, recipe
from .trials import Trial, bundle_of, count_steps, describe, last_alone, on_task_alone, short_run
from .winner_runs import GENERAL, WINNER, write_winner

RESULTS, BASELINE = "results.json", "baseline"


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
    whole = check_config({**copy.deepcopy(base), "output_dir": settings.output_dir}, settings.base)
    check_base(base, settings.base)
    check_length(settings, whole.task.max_length_tokens, f"{path}: at.length")
    sizes = teacher_sizes(whole.model_dump())
    assert sizes is not None, "the base was checked"
    candidates, left_out = candidates_of(settings, sizes)
    for one in {one.trained: one for one in candidates}.values():
        config = recipe(settings, base, one, settings.output_dir, baseline=True)  # every mistake before any work
        try:
            check_start(config.student, sizes)
        except InputError as reason:
            left_out[one.trained] = reason.what
    candidates = [one for one in candidates if one.trained not in left_out]
    if not candidates:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"no candidate fits together: {reasons}", f"{path}: space", "give other sizes")
    root = Path(settings.output_dir)
    if (resolved := RunFolder(root).resolved).exists():
        raise InputError("this is the folder of a run", str(resolved), "give the search another output_dir")
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
        self.elders: dict[Any, CandidateStudent] = {}  # by width: who has the general stages
        self.failure: ErnieTinyError | None = None  # of the last candidate that failed

    def run(self, candidates: list[CandidateStudent], left_out: dict[str, str]) -> Path:
        self.state.entries = {one: Entry(one) for one in candidates}
        self.state.left_out = left_out
        for name in (WINNER, GENERAL):
            (self.root / name).unlink(missing_ok=True)  # of another budget, perhaps
        pruned = [one for one in candidates if one.vocabulary == "used"]
        described = self._full((pruned or candidates)[-1])
        each = {one.trained: self._full(one) for one in candidates}
        measured = self.settings.at.length == "data"
        self.state.facts = self.desk.ask(describe, described, self.root, measured, bool(pruned), each)
        speeds = self._speeds(candidates)
        chosen = self._within(candidates, speeds)
        self.write()
        chosen = self._halved(chosen)
        self._finals(chosen)
        for signals in self.root.glob("shared/data/signals"):
            shutil.rmtree(signals)
        return self.write()

    def write(self) -> Path:
        """results.json and the pages of what is known by now."""
        results = self.state.results()
        write_json(self.root / RESULTS, results)
        return write_search_pages(results, self.root)

    # -- what is fast and small enough

    def shape(self, one: CandidateStudent) -> Shape:
        """What is measured of a candidate."""
        return one.shape(
            self.state.facts["used_tokens" if one.vocabulary == "used" else "tokens"], self.state.facts["labels"]
        )

    @property
    def setting(self) -> Setting:
        """What is measured, and how."""
        how = self.settings.at
        lengths = self.state.facts["lengths"] if how.length == "data" else [how.length]
        return Setting(how.batch, tuple(lengths), how.threads, how.engine, graph=self.state.facts["graph"])

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
                raise self._nothing_fits("candidate", candidates)
            chosen = entrants(fitting, work, self.settings.halving.candidates)
            todo = [one for one in chosen if not speeds.figures(self.shape(one), one.precision).measured]
            if not todo or elsewhere:
                break
            shapes = [(self.shape(one), one.precision) for one in todo]
            speeds = measure_more(speeds, shapes, self.say, self.effort)
            self._take(speeds)
        kept, forms = 0, {one.trained: one for one in chosen}
        for one in candidates:
            broken = broken_bounds(entries[one].values, limits)
            kept += not broken
            form = forms.get(one.trained)
            out = f"trained as {form.name}" if form else "not among those that are trained"
            entries[one].out = "; ".join(map(str, broken)) or ("" if one == form else out)
        self.say(f"{kept} of {len(candidates)} candidates keep to the budget, {len(chosen)} of them are trained")
        return chosen

    def _nothing_fits(self, what: str, among: Sequence[CandidateStudent]) -> InputError:
        limits, entries = self.settings.budget.bounds, {one: self.state.entries[one] for one in among}
        off = {one: max(b.times for b in broken_bounds(e.values, limits)) for one, e in entries.items()}
        nearest = min(off, key=lambda one: off[one])
        for entry in entries.values():
            entry.out = "; ".join(map(str, broken_bounds(entry.values, limits)))
        ways = in_the_way([entry.values for entry in entries.values()], limits)
        self.state.nearest = nearest
        self.write()
        bounds = ", ".join(f"{bound}{sign(bound)}{limits[bound]:g}" for bound in ways)
        what = f"no {what} keeps to {bounds}; the nearest is {nearest.name}: {entries[nearest].out}"
        return InputError(what, "budget", f"widen the budget or the space; {self.root / 'report.html'} has all figures")

    @property
    def engine(self) -> str:
        """What bundles are to run in: the engine that was measured."""
        return self.state.speeds.engine if self.state.speeds else "paddle"

    # -- what is good enough

    def _full(self, one: CandidateStudent, start: str | None = None) -> RunConfig:
        folder = str(self.root / "students" / one.trained)
        return recipe(self.settings, self.base, one, folder, start, engine=self.engine)

    def _trial(self, one: CandidateStudent, until: str | None, measured: bool = False) -> Trial:
        return Trial(f"students/{one.trained}", self._full(one), until, self.root, measured)

    def _halved(self, chosen: list[CandidateStudent]) -> list[CandidateStudent]:
        """The finalists, after teacher, general stages by width, and rungs."""
        config = self._full(chosen[0])
        teacher = config.teacher
        assert teacher is not None, "the base was checked"
        self.say("the teacher, for all candidates")
        # measured: one that is no better than chance is found now, not after all else
        self.desk.do(self._trial(chosen[0], "finetune" if teacher.finetune is not None else "teacher", True), 0)
        counted = max((one for one in self.state.entries), key=lambda one: one.num_hidden_layers)
        if not counted.num_hidden_layers:  # its stages are counted as those of others, of which it has the sum
            counted = replace(counted, num_hidden_layers=1, start="random")
        full = self._full(counted)
        counts = self.desk.ask(count_steps, full, self.root)
        general, on_task = counts[: general_stages(full)], counts[general_stages(full) :]
        self.state.full_steps = {"general": sum(general), "task": sum(on_task)}
        rungs = rung_steps(self.settings.halving, on_task)
        counts_by_rung = places(self.settings.halving, len(chosen))
        groups: dict[Any, list[CandidateStudent]] = {}
        for one in chosen if general else ():
            if one.num_hidden_layers:
                groups.setdefault(one.width, []).append(one)
        rung_total = sum(steps * count for steps, count in zip(rungs, counts_by_rung, strict=False))
        self.desk.planned = len(groups) * sum(general) + rung_total + counts_by_rung[-1] * sum(on_task)
        self.elders = {width: elder_of(group) for width, group in groups.items()}
        for width, group in groups.items():
            self._general(self.elders[width], len(group), sum(general))
        going = chosen
        for number in range(len(rungs)):
            scores = {}
            for place, one in enumerate(going, start=1):
                title = f"[rung {number + 1}: {place}/{len(going)}] {one.trained}"
                score = self._partial(one, on_task, rungs[: number + 1])
                if score is None:
                    self.say(f"{title}: {self.state.entries[one].out}")
                    continue
                scores[one] = score
                self.say(f"{title}: {score:.4f} on dev after {sum(rungs[: number + 1])} steps; {self.desk.left}")
            self._require_one(scores)
            going = best(scores, counts_by_rung[number + 1])
            for one in scores:
                if one not in going:
                    self.state.entries[one].out = f"not among the best {len(going)} after rung {number + 1}"
            self.write()
        return going

    def _general(self, elder: CandidateStudent, count: int, steps: int) -> None:
        """The general stages of a width."""
        self.say(f"general stages of width {elder.hidden_size}, for {count} candidate(s); {self.desk.left}")
        config = self._full(elder)
        last = general_stages(config) - 1
        trial = self._trial(elder, step_names([stage.stage for stage in config.stages])[last])
        self.state.count(trial, self.desk.do(trial, steps))

    def _start(self, one: CandidateStudent) -> str | None:
        """Folder that a candidate starts from in place of the base's own start; None: it has no general stages."""
        if not one.num_hidden_layers or one.width not in self.elders:
            return None
        config = self._full(self.elders[one.width])
        last = general_stages(config) - 1
        return str(RunFolder(Path(config.output_dir)).stage(last, config.stages[last].stage) / FINAL)

    def _partial(self, one: CandidateStudent, on_task: list[int], rungs: list[int]) -> float | None:
        """The dev score of a candidate after some rungs; None: it failed."""
        folder = str(self.root / "rungs" / one.trained)
        config = recipe(self.settings, self.base, one, folder, self._start(one))
        parts = on_task if one.num_hidden_layers else [sum(on_task)]
        config, until = short_run(config, folder, parts, rungs)
        trial = Trial(f"rungs/{one.trained}", config, until, self.root)
        record = self._record(one, trial, rungs[-1])
        if record is None:
            return None
        score = record["stages"][-1]["dev"]
        self.state.entries[one].rungs.append({"steps": sum(rungs), "score": score})
        return score

    def _record(self, one: CandidateStudent, trial: Trial, steps: int) -> dict[str, Any] | None:
        """What a candidate's trial has given; None: it diverged, or a gate did not pass. Then others may do better."""
        try:
            record = self.desk.do(trial, steps)
        except (Interrupted, InputError, ProcessEndedError):
            raise
        except ErnieTinyError as error:
            self.state.entries[one].out, self.failure = f"failed: {error.what}", error
            return None
        self.state.count(trial, record)
        return record

    def _require_one(self, left: Collection[CandidateStudent]) -> None:
        """Raises the last error if no candidate is left."""
        if not left and self.failure is not None:
            self.write()
            raise self.failure

    # -- the last ones

    def _finals(self, finalists: list[CandidateStudent]) -> None:
        done = list[CandidateStudent]()
        for place, one in enumerate(finalists, start=1):
            self.say(f"[final: {place}/{len(finalists)}] {one.name}: the full recipe; {self.desk.left}")
            trial = self._final_trial(one)
            record = self._record(one, trial, self.state.full_steps["task"])
            if record is None:
                self.say(f"[final: {place}/{len(finalists)}] {one.name}: {self.state.entries[one].out}")
                continue
            self.state.entries[one].finish(record, bundle_of(trial.config), self.root)
            dev = (self.state.entries[one].final or {})["dev"]
            self.say(f"[final: {place}/{len(finalists)}] {one.name}: {dev:.4f} on dev")
            done.append(one)
            self.write()
        self._require_one(done)
        measure_finalists(self.state, done, self.setting, self.root, self.say)
        winner = self.state.choose(done)
        if winner is None:
            raise self._nothing_fits("bundle of a finalist", done)
        if self.base.get("baseline") is not None:
            self.say(f"{winner.trained} without distillation, for comparison")
            config = recipe(self.settings, self.base, winner, str(self.root / BASELINE), baseline=True)
            self.desk.do(Trial(BASELINE, config, "baseline", self.root, measured=True), 0)
            measured = measured_classifier(RunFolder(self.root / BASELINE, self.root / "shared").baseline)
            self.state.add_baseline(winner, measured)
        self._write_winner(winner)

    def _write_winner(self, winner: CandidateStudent) -> None:
        config, start, elder = self._final_config(winner), self._start(winner), self.elders.get(winner.width)
        starts_there = config.student.init.folder is not None and config.student.init.folder == start
        write_winner(self.root, config, self._full(elder) if elder and starts_there else None)

    def _final_config(self, one: CandidateStudent) -> RunConfig:
        """The full recipe; of one that shares its width's general stages, what follows them."""
        if not one.num_hidden_layers:
            return last_alone(self._full(one), self.state.full_steps["task"])
        if (start := self._start(one)) is None or self.elders[one.width].trained == one.trained:
            return self._full(one)
        return on_task_alone(self._full(one, start))

    def _final_trial(self, one: CandidateStudent) -> Trial:
        config = self._final_config(one)
        return Trial(f"students/{one.trained}", config, None, self.root, measured=True, engine=self.engine)
