"""Extractive reading: scores as CMRC2018 and SQuAD define them, and what is judged by them: thresholds, chance."""

import numpy as np
import pytest

from paddle_ernie_tiny.kinds.metrics import METRICS
from paddle_ernie_tiny.kinds.reading_scores import Gold, best_threshold, right_span, row_scores
from paddle_ernie_tiny.kinds.uncertainty import against_chance, could_tell, interval
from tests.kinds.reading_outputs import CONTEXT, LABELS, READING, outputs, reading


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("1963年", ("1963年",), 1, 1),
        ("在1963年", ("1963年",), 0, 4 / 5),  # units 在 1963 年: 2 of 3 and 2 of 2
        ("战国无双3", ("《战国无双3》",), 1, 1),  # its marks are taken out
        ("北京医学院", ("北京大学医学院",), 0, 2 * 3 / (5 + 7)),  # the longest run is 医学院, not all five
        ("Linux", ("linux系统",), 0, 2 * 1 / (1 + 3)),
        ("2008-2010", ("20082010年",), 0, 2 * 1 / (1 + 2)),  # - is taken out before words are found
        ("3.5%", ("3.5",), 0, 2 * 1 / (2 + 1)),  # % is none of its marks
        ("上海", ("北京", "上海市", "上海"), 1, 1),  # the best of the answers
        ("北京", ("上海",), 0, 0),
        ("", (), 1, 1),
        ("北京", (), 0, 0),
        ("", ("北京",), 0, 0),
    ],
)
def test_the_scores_are_cmrc2018_s(answer, gold, exact, f1):
    assert row_scores(answer, gold) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("Eiffel tower!", ("the Eiffel Tower",), 1, 1),
        ("in Paris, France", ("Paris",), 0, 2 * 1 / (3 + 1)),
        ("France Paris", ("Paris France",), 0, 1),  # bags of words
        ("", (), 1, 1),
        ("the", ("a",), 1, 1),  # nothing is left of either
    ],
)
def test_the_scores_of_english_are_squad_s(answer, gold, exact, f1):
    assert row_scores(answer, gold, "en") == (exact, pytest.approx(f1))


def published_f1(answers, prediction):
    """CMRC2018's evaluation: mixed segmentation, longest common string. NLTK divides words and numbers at blanks."""
    marks = list("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")

    def segments(text):
        found, held = [], ""
        for character in [c for c in text.lower().strip() if c not in marks]:
            if "\u4e00" <= character <= "\u9fa5":
                found, held = [*found, *held.split(), character], ""
            else:
                held += character
        return [*found, *held.split()]

    best = 0.0
    for one, other in ((segments(answer), segments(prediction)) for answer in answers):
        table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
        for i in range(len(one)):
            for j in range(len(other)):
                table[i + 1, j + 1] = table[i, j] + 1 if one[i] == other[j] else 0
        common = table.max()
        if common:
            precision, recall = common / len(other), common / len(one)
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def test_f1_is_that_of_the_published_script_on_many_answers():
    rng = np.random.default_rng(0)
    pieces = [
        "北京",
        "大学",
        "2008年",
        "Linux ",
        "，",
        "《红楼梦》",
        "3,500 ",
        "的",
        "open source",
        "-",
        "第1.5版",
        "3.5 ",
        "iPhone4",
    ]
    for _ in range(300):
        one, other = ("".join(rng.choice(pieces, rng.integers(1, 6))) for _ in range(2))
        assert row_scores(one, (other,))[1] == pytest.approx(published_f1([other], one)), (one, other)


# --- what is judged by them -----------------------------------------------------------------------------------------


def scored(rows, **settings):
    """Of (how far no answer is above 0, is it answerable, is the best span right?)."""
    golds = [Gold(CONTEXT, (("甲", 0),) if answerable else ()) for _, answerable, _ in rows]
    given = [outputs((above, 0, [(0, 0), (-9, -9)] if right else [(-9, -9), (0, 0)])) for above, _, right in rows]
    return reading(**settings).scored(given, golds, LABELS)


def test_the_threshold_is_tuned_on_dev():
    dev = scored([(-3, True, True), (-1, True, False), (1, True, True), (2, False, True), (5, False, True)])
    assert best_threshold(dev) == 1.5
    assert reading().fit(dev) == {"null_threshold": 1.5}
    assert METRICS["answer_f1"](reading(null_threshold=1.5).scored(dev.outputs, dev.gold, LABELS)) == 4 / 5
    assert reading().fit(scored([(0, True, True), (9, True, False)])) == {}, "every question has an answer"
    never = scored([(-3, False, True), (-1, False, True)])
    assert METRICS["exact_match"](reading(**reading().fit(never)).scored(never.outputs, never.gold, LABELS)) == 1


def test_answers_are_kept_without_pickles(tmp_path):
    before = scored([(-3, True, True), (2, False, True), (-1, True, False)], null_threshold=1.0)
    np.savez(tmp_path / "answers.npz", **READING.arrays(before))
    with np.load(tmp_path / "answers.npz", allow_pickle=False) as arrays:
        after = reading(null_threshold=1.0).of_arrays(arrays, LABELS)
    assert after.gold == before.gold and after.spans == before.spans == [(0, 1), None, (1, 2)]
    np.testing.assert_array_equal(after.values, [[1, 1], [1, 1], [0, 0]])
    np.testing.assert_array_equal(after.take(np.array([False, True, True])).values, [[1, 1], [0, 0]])


def test_fidelity_is_the_answers_agreement_and_kl_over_windows():
    own = scored([(0, True, True), (0, True, True)])
    other = scored([(0, True, True), (0, True, False)])
    same = READING.fidelity(own.logits, own.logits)
    assert same == {"agreement": 1.0, "kl": pytest.approx(0), "rows": 2}
    p = np.exp([0, 0, -9]) / np.exp([0, 0, -9]).sum()
    q = p[[0, 2, 1]]
    found = READING.fidelity(own.logits, other.logits)
    assert found["agreement"] == 0.5 and found["kl"] == pytest.approx((q * np.log(q / p)).sum() / 2, rel=1e-5)


def test_fidelity_takes_each_model_s_own_threshold():
    """The run finds one for each model: of the same outputs, one says that there is no answer."""
    outputs = scored([(0.5, True, True), (-3, True, True)]).logits
    sides = [reading(null_threshold=most).compared(outputs) for most in (0.0, 1.0, None)]
    assert READING.fidelity(sides[0], sides[1])["agreement"] == 0.5
    assert READING.fidelity(sides[2], sides[1]) == {"agreement": 1.0, "kl": pytest.approx(0), "rows": 2}
    assert reading(null_threshold=0.0).agreement(outputs, outputs) == 1.0


def test_answers_in_short_are_lengths_and_how_many_have_none():
    rows = scored([(-3, True, True), (2, False, True), (-1, True, False), (1, True, False)])
    assert READING.in_short(rows.logits, LABELS) == {"mean length in characters": 1.0, "no answer": 0.5}


def test_the_interval_is_a_bootstrap_over_questions():
    rows = scored([(-9, True, i % 3 > 0) for i in range(90)])
    found = interval("exact_match", rows)
    assert found.score == pytest.approx(2 / 3) and 0.5 < found.low < found.score < found.high < 0.8


def many(rng, right, rows=60):
    """Questions whose answers stand in different places; a model that is right, or answers the same place always."""
    golds, given = [], []
    for _ in range(rows):
        at = int(rng.integers(2, 28))
        text = "".join(rng.choice(list("天地玄黄宇宙洪荒日月盈昃辰宿列张"), 30))
        golds.append(Gold(text, ((text[at : at + 2], at),)))
        chosen = at if right(rng) else 5
        logits = [(9.0 * (i == chosen), 9.0 * (i == chosen + 1)) for i in range(30)]
        given.append(outputs((-9, 0, logits)))
    return READING.scored(given, golds, LABELS)


def test_a_model_that_answers_the_same_place_is_at_chance():
    rng = np.random.default_rng(0)
    same = many(rng, lambda rng: False)
    found = against_chance("answer_f1", same, interval("answer_f1", same))
    assert found.verdict == "chance" and found.constant > 0, "the whole context has some F1"
    half = many(rng, lambda rng: rng.random() < 0.5)
    assert against_chance("answer_f1", half, interval("answer_f1", half)).verdict == "above"
    assert could_tell("answer_f1", half) and not could_tell("answer_f1", half.take(np.arange(8)))


def test_right_answers_score_one():
    golds = [Gold(CONTEXT, (("乙丙", 1),)), Gold(CONTEXT, ()), Gold(CONTEXT, (("没有", None), ("己", 5)))]
    right = READING.right_answers(golds, LABELS)
    assert METRICS["exact_match"](right) == METRICS["answer_f1"](right) == 1
    assert right_span(golds[2]) == (5, 6)


def test_the_breakdown_tells_both_sorts_of_questions_apart():
    rows = scored([(2, True, True), (-1, True, True), (2, False, True), (-1, False, True)], null_threshold=0.0)
    found = READING.breakdown(rows)
    assert [row["label"] for row in found["labels"]] == ["no answer", "answer"]
    assert found["confusion"] == [[1, 1], [1, 1]] and found["one_answer"] is None
    values = {row["name"]: row["score"] for row in found["scores"]}
    assert values == {
        **{"answer_f1": 0.5, "exact_match": 0.5},
        **{"answerable, answer_f1": 0.5, "answerable, exact_match": 0.5},
    }
    answered = READING.breakdown(scored([(2, True, True)] * 3))
    assert answered["confusion"] is None and [row["label"] for row in answered["labels"]] == ["answer"]
