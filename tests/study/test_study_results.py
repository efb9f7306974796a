"""What a study has found, against values computed by hand: means, spreads, paired differences, retention."""

import json

import numpy as np
import pytest

from paddle_ernie_tiny.kinds.scored import Scored
from paddle_ernie_tiny.kinds.uncertainty import bounds_of, difference
from paddle_ernie_tiny.study.study_results import gather, over_seeds, over_tasks
from paddle_ernie_tiny.study.study_verdicts import ALL_TASKS

from . import recorded
from .recorded import GOLD, VARIANTS, answers, finish, of


def test_over_seeds_is_the_mean_and_draws_seeds_in_every_resample():
    draws = np.array([[0.1, 1.0, 1.0, 1.0, 1.0], [0.3, 3.0, 3.0, 3.0, 3.0]])
    found = over_seeds(draws)
    assert found[0] == pytest.approx(0.2) and found.shape == (5,)
    many = over_seeds(np.repeat([[0.1, 1.0], [0.3, 3.0]], [1, 4000], axis=1))[1:]
    shares = [np.mean(many == value) for value in (1.0, 2.0, 3.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03), "two draws of two seeds"
    one = np.array([[0.5, 0.1, 0.9, 0.4]])
    assert over_seeds(one).tolist() == one[0].tolist(), "of one seed there is nothing to draw"


def test_over_tasks_is_the_mean_of_independent_resamples():
    one, other = np.array([0.4, 0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 10.0, 20.0, 30.0])
    found = over_tasks([one, other])
    assert found[0] == pytest.approx(0.2)
    assert found[1:].mean() == pytest.approx(np.mean([one[1:], other[1:]]))
    units, tens = np.round(found[1:] * 2) % 10, np.round(found[1:] * 2) // 10  # resamples stay whole, order is mixed
    assert sorted(units) == [0, 1, 2, 3] and sorted(tens) == [0, 1, 2, 3]
    rng = np.random.default_rng(3)
    normal = np.concatenate([[0.0], rng.normal(size=4000)])
    assert over_tasks([normal, normal])[1:].std() == pytest.approx(np.sqrt(0.5), rel=0.05), "not added to itself"


def test_means_spreads_retention_and_paired_differences_by_hand(study):
    settings, jobs = study(seeds=[1, 2, 3])
    for job, wrong in zip(of(jobs, "full"), ([0], [0, 1], [9]), strict=True):  # 0.9, 0.8, 0.9; unseen 7/8, 6/8, 8/8
        finish(settings, job, answers(wrong), teacher={1: 0.9, 2: 0.9, 3: 0.96}[job.seed])
    for job, wrong in zip(of(jobs, "no_general"), ([0, 1], [0, 1, 2], [3]), strict=True):  # 0.8, 0.7, 0.9
        finish(settings, job, answers(wrong))
    finish(settings, of(jobs, "no_soft_label")[1], answers([]))  # of one seed alone: 1.0
    results = gather(settings, jobs, [("demo-sentiment", "random", "why")], "ernie-tiny ablate x")
    full, without, soft = (results["summary"]["demo-sentiment"][name] for name in VARIANTS[:3])
    assert (full["seeds"], without["seeds"], soft["seeds"]) == (3, 3, 1)
    assert full["mean"] == pytest.approx(2.6 / 3) and full["sd"] == pytest.approx(np.sqrt(1 / 300))
    assert full["mean_unseen"] == pytest.approx(7 / 8) and full["sd_unseen"] == pytest.approx(1 / 8)
    assert without["mean"] == pytest.approx(0.8) and without["sd"] == pytest.approx(0.1)
    assert soft["mean"] == 1 and soft["sd"] is None and soft["retention_sd"] is None
    assert full["retention"] == pytest.approx(7 / 8 / 0.8), "on unseen rows"
    assert full["retention_sd"] == pytest.approx(1 / 8 / 0.8)
    assert full["difference"] is None
    assert without["difference"]["score"] == pytest.approx(-0.2 / 3)
    assert without["difference"]["low"] <= -0.2 / 3 <= without["difference"]["high"]
    assert soft["difference"]["score"] == pytest.approx(0.2), "from the reference with the same seed, which has 0.8"
    assert (full["steps"], full["seconds"], without["steps"], full["params"]) == (40, 6.0, 30, 1000)
    assert "fine_tuned" not in results["summary"]["demo-sentiment"]
    teacher = results["teacher"]["demo-sentiment"]
    assert teacher["mean"] == pytest.approx(0.92) and teacher["sd"] == pytest.approx(np.sqrt(0.0012))
    assert teacher["mean_unseen"] == pytest.approx(0.8)
    assert not results["complete"] and len(results["jobs"]) == 7 and ALL_TASKS not in results["summary"]
    assert results["tasks"]["demo-sentiment"] == {
        **{"metric": "accuracy", "evaluated_on": "test", "rows": 10, "rows_unseen": 8, "kind": "classification"},
        "floor": {"score": 0.6, "score_unseen": 0.5},
    }
    assert results["not_run"] == [{"task": "demo-sentiment", "variant": "random", "reason": "why"}]
    json.dumps(results)


def test_one_teacher_for_all_seeds_has_no_spread(study):
    settings, jobs = study()
    for job in of(jobs, "full"):
        finish(settings, job, answers([0]), teacher=0.9)
    assert gather(settings, jobs, [], "")["teacher"]["demo-sentiment"] == {"mean": 0.9, "sd": 0, "mean_unseen": 0.8}


def test_without_a_teacher_there_is_no_retention(study):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]), teacher=None, agreement=None)
    results = gather(settings, jobs, [], "")
    line = results["summary"]["demo-sentiment"]["full"]
    assert results["teacher"]["demo-sentiment"] is None
    assert line["retention"] is None and line["agreement"] is None and line["sd"] is None


def test_of_a_teacher_whose_score_is_below_0_nothing_is_kept(study):
    settings, jobs = study(seeds=[1, 2])
    for job in of(jobs, "full"):
        finish(settings, job, answers([0]), score_unseen=None, teacher={1: -0.1, 2: 0.9}[job.seed])  # of all rows: 0.9
    line = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["full"]
    assert line["retention"] == pytest.approx(1.0) and line["retention_sd"] is None, "of the second alone"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_seeds_that_answer_alike_have_the_interval_of_one(study, metric):
    settings, jobs = study(seeds=[1, 2, 3])
    for job in jobs:
        if job.variant in ("full", "no_general"):
            finish(settings, job, answers([0] if job.variant == "full" else [0, 3, 5, 6]), metric=metric)
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    full, without = (Scored.of(np.eye(2)[answers(wrong)], GOLD) for wrong in ([0], [0, 3, 5, 6]))
    expected = difference(metric, without, full)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    if metric == "accuracy":
        assert found["score"] == pytest.approx(-0.3)


def test_variants_that_answer_alike_do_not_differ_at_all(study):
    """A resample has the same rows on both sides: nothing is left of it in the difference."""
    settings, jobs = study()
    for job in (*of(jobs, "full"), *of(jobs, "no_general")):
        finish(settings, job, answers([job.seed, 7]))
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    assert found == {"score": 0, "low": 0, "high": 0}


def test_seeds_spread_the_interval(study):
    """Differences of +0.4 and -0.4: seeds that are drawn twice show both."""
    settings, jobs = study()
    for job in of(jobs, "full"):
        finish(settings, job, answers([] if job.seed == 1 else range(4)))
    for job in of(jobs, "no_general"):
        finish(settings, job, answers(range(4) if job.seed == 1 else []))
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    assert found["score"] == pytest.approx(0) and found["low"] <= -0.4 and found["high"] >= 0.4


def test_several_tasks_are_averaged(study):
    settings, jobs = study(tasks={"one": {}, "two": {}}, variants=["full", "no_general", "no_soft_label"])
    wrong = {("one", "full"): [0], ("two", "full"): [0, 1], ("one", "no_general"): [0, 1]}
    wrong |= {("two", "no_general"): [0, 1, 2, 3], ("one", "no_soft_label"): []}
    for job in jobs:
        if (job.task, job.variant) in wrong:
            finish(settings, job, answers(wrong[job.task, job.variant]))
    results = gather(settings, jobs, [], "")
    everywhere = results["summary"][ALL_TASKS]
    assert everywhere.keys() == {"full", "no_general"}, "no_soft_label is not done of the second task"
    assert everywhere["full"]["mean"] == pytest.approx(0.85) and everywhere["no_general"]["mean"] == pytest.approx(0.7)
    assert everywhere["full"]["sd"] is None and everywhere["full"]["difference"] is None
    assert everywhere["no_general"]["seeds"] == 2
    own = [results["summary"][task]["no_general"]["difference"] for task in ("one", "two")]
    mean = everywhere["no_general"]["difference"]
    assert [each["score"] for each in own] == pytest.approx([-0.1, -0.2]) and mean["score"] == pytest.approx(-0.15)
    narrow = np.hypot(*(each["high"] - each["low"] for each in own)) / 2
    assert mean["high"] - mean["low"] == pytest.approx(narrow, rel=0.25), "as of independent resamples"


def test_a_result_without_its_reference_has_no_difference(study):
    settings, jobs = study()
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    finish(settings, of(jobs, "full")[1], answers([1]))
    assert gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"] is None
    assert gather(settings, [], [], "")["summary"] == {}


def test_predictions_of_other_rows_are_not_compared(study):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]), rows=9)
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    assert gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"] is None


def test_an_interval_is_that_of_its_resamples():
    values = np.concatenate([[0.5], np.arange(1001) / 1000])
    found = bounds_of(float(over_tasks([values])[0]), over_tasks([values])[1:])
    assert (found.score, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


def test_scores_on_other_rows_are_not_compared(study, monkeypatch):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]))
    monkeypatch.setattr(recorded, "GOLD", GOLD[::-1])
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    line = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]
    assert line["mean"] is not None and line["difference"] is None
