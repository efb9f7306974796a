"""The floor of a run, a linear model on n-grams; what a teacher is worth against it and against chance, in words."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..distributed import is_main
from ..errors import Finding
from ..kinds.metrics import METRICS as METRICS_BY_NAME
from ..kinds.metrics import metrics_of
from ..kinds.ngrams import train_floor
from ..kinds.scored import Scored
from ..kinds.uncertainty import Chance, against_chance, could_tell, difference, enough_rows, interval
from ..processes import in_child
from ..seals import read_seal, whole_or_none
from .context import RunContext
from .step import DONE, METRICS, PREDICTIONS, StepRecord
from .verdicts import decimals, points

_VERSION = 1  # of the linear models


@dataclass(frozen=True)
class Floor:
    """A trained floor: its answers on the scored split, and its facts as the report has them."""

    scored: Scored
    facts: dict[str, Any]


def gold_answers(context: RunContext) -> Scored:
    """The scored split with every answer right."""
    data, numbers = context.data, dict[Any, int]()
    groups = None
    if not data.kind.by_token:
        groups = np.array([numbers.setdefault(example.text, len(numbers)) for example in data.test])
    return data.kind.right_answers([example.label for example in data.test], data.labels, groups)


def find_floor(context: RunContext, say: Callable[[str], None] = print) -> Floor | None:
    """The floor that the run folder keeps, if it is of the same rows; else it is trained. None: the kind has none.

    It has a process of its own, with one thread, so its memory is given back.
    """
    data, record = context.data, _record(context)
    model = data.kind.floor(data.labelled, data.labels) if data.labelled else None
    if model is None:
        return None
    gold = gold_answers(context)
    if record.state()[0] == "done":
        with np.load(record.folder / PREDICTIONS) as arrays:
            kept = data.kind.of_arrays(arrays, gold.labels)
            kept.groups = gold.groups  # which earlier versions did not keep
        return Floor(kept, (read_seal(record.folder / DONE) or {})["result"])
    rows = model.part(data.labelled, context.config.seed)
    say(f"preflight: training the floor, a linear model, on {len(rows)} rows")
    outputs, facts = in_child("linear floor", train_floor, model, rows, data.test)
    scored, unseen = data.kind.scored(outputs, gold.gold, gold.labels, gold.groups), data.unseen
    score = {**asdict(interval(context.metric, scored)), "rows": len(outputs)}
    score |= {"trained_rows": len(rows), "train_rows": len(data.labelled)}
    other = interval(context.metric, scored.take(unseen)) if unseen.any() else None
    score |= {"score_unseen": other and other.score, "interval_unseen": other and [other.low, other.high]}
    return Floor(scored, {**score, **facts})


def keep_floor(context: RunContext) -> None:
    """Writes the floor into the run folder, unless it is there; one of another kind of task is removed."""
    record, floor = _record(context), context.floor
    if floor is None:
        shutil.rmtree(record.folder, ignore_errors=True)
    if floor is None or record.state()[0] == "done":
        return
    record.begin(fresh=True)
    file = record.folder / PREDICTIONS
    np.savez_compressed(file, **context.data.kind.arrays(floor.scored))
    record.finish(floor.facts, [file])


def _record(context: RunContext) -> StepRecord:
    prints = {split: context.data.fingerprints[split] for split in ("train", "test")}
    task = context.config.task.model_dump(mode="json", include={"kind", "metric"})
    inputs = {"floor": _VERSION, "seed": context.config.seed, "task": task, "labels": context.data.labels}
    return StepRecord(context.folder.prepared("floor"), {**inputs, "data": prints})


def judged_teacher(context: RunContext, scored: Scored) -> dict[str, Any]:
    """A teacher's answers on the scored split against chance and against the floor, for its metrics.json."""
    chance = against_chance(context.metric, scored, interval(context.metric, scored))
    values = {"chance": {**asdict(chance), "sentence": _of_chance(context, chance, len(scored.outputs))}}
    if context.floor is None:
        return {**values, "against_floor": None}
    gain = difference(context.metric, scored, context.floor.scored)
    bounds = [chance.interval.low, chance.interval.high]
    own, other = chance.interval.score, context.floor.facts["score"]
    digits = decimals(bounds)
    sentence = (
        f"the teacher scores {own:.{digits}f} ({context.metric}), the linear floor {other:.{digits}f}: a difference of "
        f"{points(asdict(gain))}"
    )
    if gain.low <= 0:
        sentence += (
            "; the teacher is not above the floor beyond noise, so distilling this teacher cannot pay: take another "
            "teacher, fine-tune it longer or on more rows, or use the linear model"
        )
    against = {"difference": gain.score, "low": gain.low, "high": gain.high, "pays": gain.low > 0}
    return {**values, "against_floor": {**against, "sentence": sentence}}


def _of_chance(context: RunContext, chance: Chance, rows: int) -> str:
    own, metric = chance.interval, context.metric
    others = [name for name in metrics_of(context.data.kind.name) if not METRICS_BY_NAME[name].label_count]
    others = [name for name in others if name != metric]
    better = f"another metric may show it better ({', '.join(others)}), or " if others else ""
    digits = decimals([own.low, own.high])
    bounds = f"95 % interval {own.low:.{digits}f} to {own.high:.{digits}f}"
    what = f"the teacher scores {own.score:.{digits}f} ({metric}, {bounds}) on {rows} rows"
    constant = f"the best answer that ignores the text scores {chance.constant:.{digits}f}"
    return {
        "above": f"{what}; {constant}",
        "constant": f"{what}, not beyond noise above chance: {constant}; the answers do depend on the text, so the run "
        f"goes on, but {better}more training may help",
        "chance": f"{what}, no better than chance: {constant}, and the teacher's own answers, given to other rows, "
        f"score as much in {chance.p_value:.1%} of the cases",
        "unknown": f"{what}; {constant}; the split is too small or too lopsided to tell this teacher from chance, so "
        "the run goes on",
    }[chance.verdict]


def floor_findings(contexts: dict[str, RunContext], say: Callable[[str], None] = print) -> list[Finding]:
    """What the scored split can tell, and the floor, which every student's context then has."""
    first = next(iter(contexts.values()))
    if not is_main():  # the others measure nothing
        return []
    floor = find_floor(first, say)
    for context in contexts.values():
        context.floor = floor
    return split_findings(first) + _of_floor(first)


def _of_floor(context: RunContext) -> list[Finding]:
    """The floor, and a teacher that this run measured before."""
    if context.floor is None:
        why = f"for {context.data.kind.name}" if context.data.labelled else "where no row has a label"
        return [Finding("note", "floor", f"no linear floor {why}", "data.train")]
    facts, folder = context.floor.facts, context.folder
    digits = decimals([facts["low"], facts["high"]])
    of = "" if facts["trained_rows"] == facts["train_rows"] else f" of {facts['train_rows']}"
    what = (
        f"the floor, a linear model on n-grams, scores {facts['score']:.{digits}f} ({context.metric}, 95 % interval "
        f"{facts['low']:.{digits}f} to {facts['high']:.{digits}f}) on {facts['rows']} rows, after "
        f"{facts['seconds']:.0f} s of training on {facts['trained_rows']}{of} rows; "
        f"{facts['texts_per_second']:,.0f} texts/s on one thread, {facts['mb']} MB; "
        f"a {_taught(context)} that is not above it is not worth {'distilling' if context.config.teacher else 'having'}"
    )
    found = [Finding("note", "floor", what, "data.train")]
    given = context.config.teacher
    known = _measured(folder.finetuned if given.finetune is not None else folder.given) if given else None
    if known and not known["pays"]:
        found.append(Finding("warning", "floor", f"measured before: {known['sentence']}", "teacher"))
    return found


def _taught(context: RunContext) -> str:
    """The model that has to be worth its cost."""
    return "teacher" if context.config.teacher else "student"


def _measured(teacher: Path) -> dict[str, Any] | None:
    return (whole_or_none(teacher / METRICS, "measurement of the teacher") or {}).get("against_floor")


def split_findings(context: RunContext) -> list[Finding]:
    """A warning, if the scored split is too small or lopsided to tell a teacher from chance, with what would do."""
    data, gold = context.data, gold_answers(context)
    if could_tell(context.metric, gold):
        return []
    rows, where = len(data.test), "data.dev" if data.test_is_dev else "data.test"
    what = f"{rows} rows are too few or too lopsided to tell a {_taught(context)} from chance by {context.metric}"
    enough = enough_rows(context.metric, gold)
    remedy = "add rows with other labels" if enough is None else f"about {enough} rows like these would do"
    if enough and data.kind.has_labels and not data.kind.by_token:
        counts = Counter(label for row in data.test for label in data.kind.labels_of(row))
        rarest = min(counts, key=lambda label: counts[label])
        remedy += f", about {-(-counts[rarest] * enough // rows)} of them with the label {data.labels[rarest]!r}"
    remedy += "; the run goes on all the same, and the report says what the scores cannot show"
    return [Finding("warning", "gate", what, where, remedy)]
