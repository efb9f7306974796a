"""The teacher against chance: who is stopped, what the refusal shows, and what a small split cannot tell."""

import importlib.util

import numpy as np
import pytest

from paddle_ernie_tiny.kinds.metrics import METRICS, Scored
from paddle_ernie_tiny.kinds.scored import right_answers
from paddle_ernie_tiny.kinds.uncertainty import against_chance, could_tell, enough_rows, interval
from paddle_ernie_tiny.pipeline.measure import at_chance

GOLD = np.array([0] * 60 + [1] * 40)


def verdict(metric, predicted, gold, labels=("bad", "good")):
    scored = Scored.of(np.eye(len(labels))[predicted], gold, labels)
    return against_chance(metric, scored, interval(metric, scored))


def test_a_teacher_at_chance_is_stopped_with_the_confusion_matrix():
    constant = np.zeros(100, dtype=int)
    chance = verdict("accuracy", constant, GOLD)
    assert (chance.verdict, chance.p_value, chance.constant, chance.interval.score) == ("chance", 1.0, 0.6, 0.6)
    error = at_chance("scores 0.6000", Scored.of(np.eye(2)[constant], GOLD, ["bad", "good"]))
    assert "scores 0.6000" in str(error) and "check_above_chance=false" in str(error)
    assert "bad" in str(error) and "60" in str(error)


def test_a_teacher_above_chance_is_not():
    predicted = np.where(np.arange(100) % 4 == 0, 1 - GOLD, GOLD)  # 75 of 100 are right
    assert verdict("accuracy", predicted, GOLD).verdict == "above"


def test_ten_rows_stop_nobody():
    assert verdict("accuracy", 1 - GOLD[::10], GOLD[::10]).verdict == "unknown"


@pytest.mark.parametrize("metric", ["accuracy", "f1", "macro_f1", "matthews"])
def test_three_positives_in_300_rows_pass_a_perfect_teacher_and_stop_nobody(metric):
    gold = np.array([0] * 297 + [1] * 3)
    assert verdict(metric, gold, gold).verdict in ("above", "constant")
    assert verdict(metric, np.zeros(300, dtype=int), gold).verdict == "unknown"
    enough = enough_rows(metric, right_answers(gold, ["no", "yes"]))
    assert 300 < enough <= 1000
    assert could_tell(metric, right_answers(np.array([0] * 980 + [1] * 20), ["no", "yes"]))


def test_answers_that_depend_on_the_text_but_score_no_more_than_a_constant_are_not_stopped():
    gold = np.array([0] * 180 + [1] * 20)
    predicted = gold.copy()
    predicted[:12] = 1  # twelve false alarms, and eight of twenty missed
    predicted[180:188] = 0
    chance = verdict("accuracy", predicted, gold)
    assert chance.verdict == "constant" and chance.p_value == 0.001 and chance.interval.score == chance.constant == 0.9
    assert verdict("f1", predicted, gold).verdict == "above"


def test_a_split_with_one_label_can_never_tell():
    same = right_answers(np.zeros(500, dtype=int), ["a", "b"])
    assert not could_tell("accuracy", same) and enough_rows("accuracy", same) is None


@pytest.fixture(scope="module")
def benchmark_script(project_root):
    spec = importlib.util.spec_from_file_location("teacher_gate", project_root / "benchmarks" / "teacher_gate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews", "macro_f1", "entity_f1", "pearson_spearman"])
def test_who_is_stopped_on_simulated_splits(metric, benchmark_script):
    """The short form of docs/results/teacher-gate."""
    splits = 12 if metric in ("entity_f1", "pearson_spearman") else 60
    result = benchmark_script.simulate(metric, splits, seed=3)
    able, stopped = result["could_tell"], result["stopped"]
    assert able >= splits / 4
    assert stopped["perfect"] == 0 and stopped["constant"] == able and stopped["random"] >= 0.95 * able
    assert not any("chance" in found for name, found in result["verdicts"].items() if "could not tell" in name)


def test_every_metric_has_a_verdict():
    questions = np.repeat(np.arange(50), 4)
    gold = np.tile([1, 0, 0, 0], 50)
    right = right_answers(gold, ["no", "yes"], questions)
    assert against_chance("mrr", right, interval("mrr", right)).verdict == "above"
    same = Scored.of(np.zeros((200, 2)), gold, ["no", "yes"], questions)  # ranks by the rows' order: 1 by luck
    assert METRICS["mrr"](same) == 1 and against_chance("mrr", same, interval("mrr", same)).verdict == "chance"
