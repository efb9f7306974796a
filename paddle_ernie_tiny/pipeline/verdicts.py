"""What a report says in sentences: no more than the evaluated rows bear."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ..kinds.scored import Scored
from ..kinds.uncertainty import difference

Values = dict[str, Any]  # of JSON


def differences(metric: str, scored: dict[str, Scored]) -> Values:
    """The paired differences of the models' scores with their intervals, by "teacher - baseline" and so on.

    None where there is no baseline, or where the models answered other rows.
    """
    pairs = (("teacher", "baseline"), ("student", "baseline"), ("student", "teacher"))
    found: Values = {}
    for one, other in pairs:
        known = one in scored and other in scored and len(scored[one].outputs) == len(scored[other].outputs)
        known = known and (metric != "mrr" or scored[one].groups is not None)  # which earlier versions did not keep
        found[f"{one} - {other}"] = asdict(difference(metric, scored[one], scored[other])) if known else None
    return found


def decimals(interval: list[float] | None) -> int:
    """How many decimals of a score its interval bears: two digits of its half-width; at least 1, at most 4."""
    half = 0.0 if not interval else (interval[1] - interval[0]) / 2
    return 4 if half <= 0 else min(4, max(1, 2 + math.floor(-math.log10(half))))


def shown(model: Values) -> str:
    """A score with its interval, such as "0.841 (0.821–0.859)", without digits that the rows do not bear."""
    score, interval = model.get("score"), model.get("interval")
    if score is None:
        return "–"
    if not interval:
        return f"{score:.4f}"
    digits = decimals(interval)
    return f"{score:.{digits}f} ({interval[0]:.{digits}f}–{interval[1]:.{digits}f})"


def shown_unseen(model: Values) -> str:
    """The same of the rows that were not seen in training."""
    return shown({"score": model.get("score_unseen"), "interval": model.get("interval_unseen")})


def shown_on(model: Values, test: str) -> str:
    """The same of a further test set."""
    return shown({"score": model["more_tests"][test], "interval": (model.get("more_intervals") or {}).get(test)})


def with_interval(floor: Values) -> Values:
    """A floor's facts with its interval as the models have it."""
    return {**floor, "interval": [floor["low"], floor["high"]]}


def retention(report: Values) -> str | None:
    """The share of the teacher's score that the student keeps; None where the teacher's score says nothing."""
    verdict, value = (report["teacher"].get("chance") or {}).get("verdict", "above"), report["retention"]
    if verdict != "above" or value is None or one_answers(report):
        return None
    return f"{value:.{max(0, decimals(report['student'].get('interval')) - 2)}%}"


def closed(report: Values) -> str | None:
    """The share of the gap between baseline and teacher that the student closes; None where that says nothing."""
    gap, baseline = _gap(report), report["baseline"]["score"]
    if baseline is None or retention(report) is None or (gap is not None and gap["low"] <= 0):
        return None
    width = report["teacher"]["score"] - baseline
    return f"{(report['student']['score'] - baseline) / width:.0%}" if width > 0 else None


def one_answers(report: Values) -> dict[str, str]:
    """The models of which all answers are one label (or one score), with it."""
    found = {}
    for name in ("teacher", "student", "baseline"):
        answer = (report[name].get("breakdown") or {}).get("one_answer")
        if answer is not None:
            found[name] = answer
    return found


def sentences(report: Values) -> list[str]:
    """What is to be said of the scores: chance, floor, retention, gap, constant answers, a probe that is better."""
    return [f"{text[0].upper()}{text[1:]}." for text in (*of_student(report), *of_teacher(report)) if text]


def of_student(report: Values) -> list[str]:
    """What is to be said of student and baseline, without capitals and full stops."""
    metric, student, teacher = report["metric"], report["student"], report["teacher"]
    said = [
        f"all answers of the {name} are {answer!r}: its score is that of an answer that ignores the text"
        for name, answer in one_answers(report).items()
    ]
    kept, behind = retention(report), (report.get("differences") or {}).get("student - teacher")
    if kept is not None:
        said.append(f"the student keeps {kept} of the teacher's {metric}, {shown(student)} of {shown(teacher)}")
        said[-1] += f"; {points(behind)}" if behind else ""
    elif teacher["score"] is None:
        said.append(f"the student scores {shown(student)} ({metric}); it had no teacher, but soft labels from files")
    elif not one_answers(report):
        said.append(
            "the teacher is not above chance beyond noise on these rows, so what share of its score the student keeps "
            "says nothing"
        )
    said.append(_of_gap(report))
    stages = [stage for stage in report["stages"] if stage["score"] is not None]
    if len(stages) > 1 and stages[-2]["score_kind"] == "linear probe" and stages[-1]["score"] < stages[-2]["score"]:
        said.append(
            f"warning: the student's classifier ({stages[-1]['score']:.3f}) is below the linear probe of the stage "
            f"before it ({stages[-2]['score']:.3f}), so {stages[-1]['name']} lost what was there: give it more steps, "
            "another learning rate, or smaller weights of the latent terms"
        )
    return said


def _of_gap(report: Values) -> str:
    gap, share = _gap(report), closed(report)
    if share is not None:
        lead = points(gap) if gap else f"{100 * (report['teacher']['score'] - report['baseline']['score']):.1f} points"
        return f"the teacher leads the baseline by {lead}; the student closes {share} of that gap"
    if gap is None or gap["low"] > 0:
        return ""  # no baseline, or it is said already that scores say nothing
    within = "is within noise" if gap["high"] >= 0 else "is none: the baseline is better"
    within = "is none: both score the same" if gap["low"] == gap["high"] == 0 else within
    return f"the teacher's lead over the baseline {within} ({points(gap)}), so no share of it can be closed"


def of_teacher(report: Values) -> list[str]:
    """What is to be said of the teacher against chance and floor, and of the floor; likewise."""
    teacher, floor = report["teacher"], report.get("floor")
    chance, against = teacher.get("chance"), teacher.get("against_floor")
    off = chance and chance["verdict"] != "above" and not report.get("gate", True)
    said = [
        chance["sentence"] + "; teacher.check_above_chance was false" * off if chance else "",
        against["sentence"] if against else "",
    ]
    if floor:
        said.append(
            f"the floor was trained in {floor['seconds']:.0f} s on {floor['trained_rows']} rows; it answers "
            f"{floor['texts_per_second']:,.0f} texts/s on one thread and takes {floor['mb']} MB"
        )
    elif chance:
        said.append(f"there is no linear floor for {report['kind']}")
    return said


def _gap(report: Values) -> Values | None:
    return (report.get("differences") or {}).get("teacher - baseline")


def points(interval: Values | None) -> str:
    """A difference in points, with its interval."""
    if interval is None:
        return ""
    score, low, high = (100 * interval[name] for name in ("score", "low", "high"))
    return f"{score:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
