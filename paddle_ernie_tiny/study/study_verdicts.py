"""What an ablation study shows, in sentences that are computed from its results."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from ..pipeline.verdicts import points

Values = dict[str, Any]  # of JSON
ALL_TASKS = "all tasks"  # the place of the means over tasks in a summary


def places_of(results: Values) -> list[str]:
    """Where scores are compared: all tasks together, if there are several, and each task."""
    return [*([ALL_TASKS] if results["summary"].get(ALL_TASKS) else []), *results["tasks"]]


def teacher_of(results: Values, place: str) -> Values:
    """The teacher's mean, sd and mean_unseen there; of all tasks the means over them, None where a task has none."""
    known = results.get("teacher") or {}
    if place != ALL_TASKS:
        return known.get(place) or {}
    return _means([known.get(task) or {} for task in results["tasks"]], ("mean", "mean_unseen"))


def floor_of(results: Values, place: str) -> Values:
    """The linear floor's score and score_unseen there, likewise."""
    known = {name: task.get("floor") or {} for name, task in results["tasks"].items()}
    return known[place] if place != ALL_TASKS else _means(list(known.values()), ("score", "score_unseen"))


def _means(lines: list[Values], keys: tuple[str, str]) -> Values:
    return {key: fmean(line[key] for line in lines) for key in keys if all(line.get(key) is not None for line in lines)}


def places_of_lead(results: Values) -> list[str]:
    """Where the report's first sentences look: all tasks together if there is such a summary, else each task."""
    places = places_of(results)
    return places[:1] if ALL_TASKS in places else places


def lead(results: Values) -> list[str]:
    """What is said first: the best recipe, what helped, what floors take away from it, and how much is done."""
    said = [text for place in places_of_lead(results) for text in compared(results, place)]
    said += [text for task in results["tasks"] for text in _against_floor(results, task)]
    if not results["equal_steps"]:
        said.append("The recipes are compared as they are: their steps differ.")
    return [*said, _done(results)]


def compared(results: Values, place: str) -> list[str]:
    """The best variant at one place, and what the differences from the reference show there."""
    lines, reference = results["summary"].get(place) or {}, results["reference"]
    means = {name: line["mean"] for name, line in lines.items() if line.get("mean") is not None}
    where = f"On average over {len(results['tasks'])} tasks" if place == ALL_TASKS else f"On {place}"
    if not means:
        return [f"{where}, there are no scores yet."]
    seeds = {name: lines[name]["seeds"] for name in means}
    most = max(seeds.values())
    rivals = [name for name in means if seeds[name] == most]  # while jobs are open, others have means of fewer
    best = max(rivals, key=lambda name: (means[name], name == reference))
    title = (results["variants"].get(best) or {}).get("title")
    among = "" if len(rivals) == len(means) else f" of the variants with {most} seeds"
    text = f"{where}, {best}{f' ({title})' if title else ''} scores highest{among}: {means[best]:.3f}"
    differences = {name: lines[name].get("difference") for name in means if name != reference}
    if best != reference and (lead_of_best := differences[best]):
        sure = "" if lead_of_best["low"] > 0 else ", so the lead is not shown"
        text += f"; its difference from {reference} is {points(lead_of_best)}{sure}"
    return [f"{text}.", *_grouped(differences, reference)]


def in_points(difference: Values) -> str:
    """A difference in points and its interval, such as "-1.0 (-2.5 to +0.5)"."""
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * difference[name] for name in ("score", "low", "high")))


def _grouped(differences: dict[str, Values | None], reference: str) -> list[str]:
    known = {name: found for name, found in differences.items() if found}
    below = [name for name, found in known.items() if found["high"] < 0]
    above = [name for name, found in known.items() if found["low"] > 0]
    groups = {
        f"Worse than {reference}, as the whole interval of the difference is below 0: what is left out or changed "
        "there helped": below,
        f"Not shown to differ from {reference}, as the interval includes 0": [*(known.keys() - {*below, *above})],
        f"Better than {reference}, as the whole interval is above 0: what is left out or changed there harmed": above,
    }
    said = []
    for text, group in groups.items():
        names = [f"{name} {in_points(known[name])}" for name in known if name in group]
        said += [f"{text}. In points, with 95 % intervals: {', '.join(names)}."] if names else []
    unknown = [name for name in differences if name not in known]
    return said + [f"Not compared with {reference}, as no seed is done of both: {', '.join(unknown)}."] * bool(unknown)


def _against_floor(results: Values, task: str) -> list[str]:
    """What is to be said where a linear model does as well."""
    floor, reference = floor_of(results, task).get("score"), results["reference"]
    line = (results["summary"].get(task) or {}).get(reference) or {}
    means = {"the teacher": teacher_of(results, task).get("mean"), reference: line.get("mean")}
    known = {name: mean for name, mean in means.items() if mean is not None}
    if floor is None or not (below := [f"{name} ({mean:.3f})" for name, mean in known.items() if mean <= floor]):
        return []
    return [f"On {task}, the linear floor ({floor:.3f}) is not below {' and '.join(below)}: the task shows little."]


def _done(results: Values) -> str:
    """How many jobs are done, and which are missing."""
    seeds, skipped = results["seeds"], {(entry["task"], entry["variant"]) for entry in results["not_run"]}
    done = {(job["task"], job["variant"], job["seed"]) for job in results["jobs"]}
    pairs = [pair for task in results["tasks"] for v in results["variants"] if (pair := (task, v)) not in skipped]
    missing: dict[str, list[str]] = {}
    for task, variant in pairs:
        if left := [str(seed) for seed in seeds if (task, variant, seed) not in done]:
            missing.setdefault(task, []).append(f"{variant} (seed {', '.join(left)})")
    expected = len(pairs) * len(seeds)
    open_jobs = sum((*pair, seed) not in done for pair in pairs for seed in seeds)
    if results["complete"] and not open_jobs:
        return f"The study is complete: all {expected} jobs are done."
    text = f"The study is not complete: {expected - open_jobs} of {expected} jobs are done."
    listed = "; ".join(f"{task}: {', '.join(variants)}" for task, variants in missing.items())
    return text + (f" Missing: {listed}." if missing else "")
