"""Sentence vectors: losses and metrics by hand, rows of every sort, and what is refused."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from scipy.stats import spearmanr

from paddle_ernie_tiny.data.rows import Example
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS, Row, Vector, Window
from paddle_ernie_tiny.kinds.breakdown import worst_rows
from paddle_ernie_tiny.kinds.metrics import METRICS, metrics_of
from paddle_ernie_tiny.kinds.uncertainty import against_chance, could_tell, enough_rows, interval
from paddle_ernie_tiny.kinds.vectors import cosines, vector_fidelity

KIND = KINDS["embedding"]
NAN = np.nan


def loss(vectors, labels, **settings):
    """labels of each text: its place in the row, score, document, query."""
    values = [paddle.to_tensor(np.array(value, np.float32)) for value in (vectors, labels)]
    return float(KIND.with_settings(settings).hard_label(*values))


# --- losses ----------------------------------------------------------------------------------------------------------


def test_a_scored_pair_is_the_squared_difference_of_cosine_and_score():
    vectors = [[1, 0], [3, 4], [2, 0], [0, 5]]  # cosines 0.6 and 0
    labels = [[0, 1.0, -1, 0], [1, 1.0, -1, 0], [0, 0.5, -1, 1], [1, 0.5, -1, 1]]
    assert loss(vectors, labels) == pytest.approx((0.4**2 + 0.5**2) / 2)


def test_a_triple_is_margin_mse():
    vectors = [[1, 0], [3, 4], [0, 1]]  # cosines 0.6 and 0
    labels = [[place, 1.0, -1, 0] for place in range(3)]
    assert loss(vectors, labels) == pytest.approx((0.6 - 1) ** 2)
    assert loss(vectors, labels, margin_scale=5.0) == pytest.approx((3.0 - 1) ** 2)


def test_a_document_is_one_of_the_batch():
    vectors = [[1, 0], [1, 0], [0, 1], [3, 4]]  # query 0: cosines 1 and 0.6; query 1: 0 and 0.8
    labels = [[0, NAN, 0, 0], [1, NAN, 0, 0], [0, NAN, 1, 1], [1, NAN, 1, 1]]
    first = -np.log(np.exp(1 / 0.5) / (np.exp(1 / 0.5) + np.exp(0.6 / 0.5)))
    second = -np.log(np.exp(0.8 / 0.5) / (np.exp(0) + np.exp(0.8 / 0.5)))
    assert loss(vectors, labels, temperature=0.5) == pytest.approx((first + second) / 2, rel=1e-5)


@pytest.mark.parametrize("column", [2, 3], ids=["the same document", "another document of the query"])
def test_what_is_no_wrong_document_is_left_out(column):
    vectors = [[1, 0], [1, 0], [0, 1], [3, 4]]
    labels = [[0, NAN, 0, 0], [1, NAN, 0, 0], [0, NAN, 1, 1], [1, NAN, 1, 1]]
    for row in labels:
        row[column] = 0
    assert loss(vectors, labels) == pytest.approx(0, abs=1e-6)


def test_the_wrong_document_of_a_triple_is_one_more():
    vectors = [[1, 0], [1, 0], [3, 4]]
    labels = [[place, NAN, 0, 0] for place in range(3)]
    assert loss(vectors, labels, temperature=1.0) == pytest.approx(-np.log(np.e / (np.e + np.exp(0.6))), rel=1e-5)


def test_rows_of_all_sorts_count_alike_and_those_without_a_label_not_at_all():
    pair = [[0, 1.0, -1, 0], [1, 1.0, -1, 0]]  # 0.4 squared
    alone, unknown = [[0, NAN, -1, 1]], [[0, NAN, -1, 2], [1, NAN, -1, 2]]
    query = [[0, NAN, 0, 3], [1, NAN, 0, 3]]  # the only one: 0
    vectors = [[1, 0], [3, 4], [1, 1], [1, 0], [0, 1], [1, 0], [0, 1]]
    assert loss(vectors, pair + alone + unknown + query) == pytest.approx(0.16 / 2)
    assert loss(vectors[:3], alone + unknown) == 0
    labels = paddle.to_tensor(np.array(pair + alone + unknown + query, np.float32))
    assert KIND.labelled(labels).numpy().tolist() == [True, False, False, False, False, True, False]
    assert float(KIND.label_weights(labels, None).sum()) == 2


def test_a_batch_without_labels_has_a_gradient_of_zero():
    vectors = paddle.ones([2, 3])
    vectors.stop_gradient = False
    KIND.hard_label(vectors, paddle.to_tensor(np.array([[0, NAN, -1, 0], [0, NAN, -1, 1]], np.float32))).backward()
    assert float(vectors.grad.abs().sum()) == 0


def test_the_soft_label_is_the_teacher_s_vector():
    student, teacher = (paddle.to_tensor(np.array(v, np.float32)) for v in ([[1, 0], [0, 1]], [[3, 4], [0, 2]]))
    assert float(KIND.soft_label("cosine", student, teacher, 1.0, None, None)) == pytest.approx((0.4 + 0) / 2)
    assert float(KIND.soft_label("mse", student, teacher, 1.0, None, None)) == pytest.approx((4 + 16 + 0 + 1) / 4)


# --- scores ----------------------------------------------------------------------------------------------------------


def found(vectors, gold, groups=None):
    return KIND.scored([np.array(row, float) for row in vectors], gold, [], groups)


ROWS = [  # three queries with four documents, on a circle
    [[1, 0], [1, 0.1]],  # its own document is the nearest
    [[0, 1], [1, 0.2]],  # the third
    [[-1, 0], [-1, -0.1]],  # the nearest
    [[-1, 0], [0.5, 1]],  # of the same query: the second
]


def test_recall_and_reciprocal_rank_by_hand():
    scored = found(ROWS, [0, 1, 2, 3], [0, 1, 2, 2])
    assert scored.nearest[:, :4].tolist() == [[0, 1, 3, 2], [3, 1, 0, 2], [2, 3, 1, 0], [2, 3, 1, 0]]
    assert (scored.nearest[:, 4:] == -1).all() and scored.ranks.tolist() == [1, 2, 1, 2]
    assert METRICS["recall_at_1"](scored) == pytest.approx((1 + 0 + 0.5) / 3)
    assert METRICS["recall_at_10"](scored) == 1
    assert METRICS["mrr_at_10"](scored) == pytest.approx((1 + 0.5 + 1) / 3)


def test_a_search_errs_where_another_document_is_nearer():
    scored = found(ROWS, [0, 1, 2, 3], [0, 1, 2, 2])
    shown = {row["name"]: row["score"] for row in KIND.breakdown(scored)["scores"]}
    assert shown == {name: METRICS[name](scored) for name in ("recall_at_1", "recall_at_10", "mrr_at_10")}
    nearer = 1 / 1.25**0.5 - 0.2 / 1.04**0.5  # (0, 1) to (0.5, 1) and to (1, 0.2)
    assert scored.misses == pytest.approx([0, nearer, 0, 0]), "the last one's nearest is right for its query too"
    (worst,) = worst_rows(KIND, scored, [Example("q", "d", 0, line) for line in (2, 3, 4, 5)])
    assert (worst["line"], worst["answer"]) == (3, "another document") and worst["by"] == round(nearer, 4)
    assert worst["gold"] == "its document, cosine 0.1961"


def test_reciprocal_ranks_are_scikit_learn_s():
    from sklearn.metrics import label_ranking_average_precision_score

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 2, 5))
    similar = np.array([[cosines(query, document) for document in vectors[:, 1]] for query in vectors[:, 0]])
    expected = label_ranking_average_precision_score(np.eye(9), similar)  # with one relevant document: 1 / rank
    assert METRICS["mrr_at_10"](found(vectors, list(range(9)))) == pytest.approx(expected)


def test_equal_texts_are_one_document():
    scored = found([ROWS[0], ROWS[0], ROWS[2]], [0, 0, 1], [0, 1, 2])
    assert scored.nearest[:, :2].tolist() == [[0, 1], [0, 1], [1, 0]] and METRICS["recall_at_1"](scored) == 1


def test_spearman_is_scipy_s():
    rng = np.random.default_rng(1)
    vectors, gold = rng.normal(size=(30, 2, 4)), rng.normal(size=30).tolist()
    expected = spearmanr(cosines(vectors[:, 0], vectors[:, 1]), gold)[0]
    assert METRICS["spearman"](found(vectors, gold)) == pytest.approx(expected)
    assert metrics_of("embedding") == ("spearman", "recall_at_1", "recall_at_10", "mrr_at_10")


def test_a_part_of_the_rows_searches_all_documents():
    scored = found(ROWS, [0, 1, 2, 3], [0, 1, 2, 2])
    part = scored.take(np.array([False, True, False, False]))
    assert METRICS["mrr_at_10"](part) == 0.5, "not the only document"
    pairs = found(ROWS, [1.0, 0.0, 0.5, 0.2])
    assert pairs.take(np.array([0, 2])).predictions.tolist() == pairs.predictions[[0, 2]].tolist()


def test_answers_are_kept_and_read_again():
    for gold in ([0, 1, 2, 3], [1.0, 0.5, 0.0, 0.2]):
        scored = found(ROWS, gold, [0, 1, 2, 2])
        arrays = KIND.arrays(scored)
        assert arrays["logits"].shape == (8, 2) and arrays["rows"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        again = KIND.of_arrays(arrays, [])
        assert type(again) is type(scored) and again.targets.tolist() == gold
        for name in ("spearman",) if isinstance(gold[0], float) else ("recall_at_1", "mrr_at_10"):
            assert METRICS[name](again) == METRICS[name](scored)


def test_chance_is_one_order_for_all_queries():
    scored = found(ROWS[:1] * 3 + ROWS[1:2], [0, 0, 0, 1])
    assert METRICS["recall_at_1"].chance(scored) == 0.75 and METRICS["mrr_at_10"].chance(scored) == (3 + 0.5) / 4


def test_the_gate_tells_a_search_from_chance():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(40, 8))
    near = np.stack([queries, queries + 0.1 * rng.normal(size=queries.shape)], axis=1)
    for vectors, verdict in ((near, "above"), (rng.normal(size=(40, 2, 8)), "chance")):
        scored = found(vectors, list(range(40)), list(range(40)))
        assert against_chance("recall_at_1", scored, interval("recall_at_1", scored)).verdict == verdict
    right = KIND.right_answers(list(range(40)), [], list(range(40)))
    assert METRICS["recall_at_1"](right) == 1 and METRICS["recall_at_1"](right.fair()) == pytest.approx(0.5, abs=0.03)
    assert could_tell("recall_at_1", right)
    few = KIND.right_answers(list(range(8)), [], list(range(8)))
    assert not could_tell("recall_at_1", few) and enough_rows("recall_at_1", few) in range(20, 40)
    assert could_tell("spearman", KIND.right_answers(rng.normal(size=40).tolist(), []))


def test_fidelity_is_of_vectors_and_of_similarities():
    own = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [3, 4]], float)
    values = vector_fidelity(own, own * 2)
    assert [values[name] for name in ("cosine", "spearman", "pearson", "mse")] == pytest.approx([1, 1, 1, 0])
    assert vector_fidelity(own, np.pad(own, ((0, 0), (0, 1))))["cosine"] is None, "of other widths"


def test_vectors_in_short():
    """The mean cosine of all pairs of texts: 1 if all vectors are the same."""
    (value,) = KIND.in_short(np.array([[2.0, 0], [0, 1], [3, 4]]), []).values()
    assert value == pytest.approx((0 + 0.6 + 0.8) / 3)


# --- rows ------------------------------------------------------------------------------------------------------------

TABLE = TableFormat(text="one", text_b="other", text_c="wrong", label="score")


def read(tmp_path, *lines, table=TABLE, settings=None):
    file = tmp_path / "rows.tsv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return KIND.read(str(file), table, [])


def test_pairs_with_scores_and_rows_without(tmp_path):
    rows = read(tmp_path, "one\tother\tscore", "a\tb\t4.5", "c\td\t", "e\t\t")
    assert [(row.content, row.label) for row in rows] == [(("a", "b"), 4.5), (("c", "d"), None), (("e", None), None)]


def test_pairs_of_a_file_without_scores_are_queries_with_documents(tmp_path):
    rows = read(tmp_path, "one\tother", "q\td", "r\td", "s\te")
    assert [row.label for row in rows] == [0, 0, 1], "equal texts are one document"
    (triple,) = read(tmp_path, "one\tother\twrong", "q\td\te")
    assert triple.content == ("q", "d", "e") and triple.label == 0
    (margin,) = read(tmp_path, "one\tother\twrong\tscore", "q\td\te\t1.5")
    assert margin.label == 1.5
    assert [row.label for row in read(tmp_path, "one", "q", "r")] == [None, None]


def test_a_score_of_one_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="a score but one text") as error:
        read(tmp_path, "one\tother\tscore", "a\tb\t1", "c\t\t2")
    assert error.value.where.endswith("rows.tsv:3")


def test_scores_out_of_their_range_are_refused():
    rows = [Example("a", "b", 4.0, 7)]
    with pytest.raises(InputError, match="a score of 4 on line 7; similarities are said to be from 0 to 1"):
        KIND.check_training_rows(rows, [], "data.train")
    KIND.with_settings({"highest_score": 5.0}).check_training_rows(rows, [], "data.train")


@pytest.mark.parametrize(
    ("row", "metric", "said"),
    [
        (Example("a", "b", 1.0, 1), "recall_at_1", "metric recall_at_1 does not score pairs with scores"),
        (Example("a", "b", 3, 1), "spearman", "metric spearman does not score queries with their documents"),
        (Example("a", "b", 3, 1, text_c="c"), "recall_at_1", "triples are for training alone"),
    ],
)
def test_a_metric_fits_the_rows_that_it_scores(row, metric, said):
    with pytest.raises(InputError, match=said):
        KIND.check_scored_rows([row], metric, "data.dev")


@pytest.mark.parametrize("metric", ["spearman", "mrr_at_10"])
def test_rows_of_two_sorts_are_not_one_split(metric):
    rows = [Example("a", "b", 1.0, 1), Example("c", "d", 3, 1)]
    for order in (rows, rows[::-1]):
        with pytest.raises(InputError, match=f"metric {metric} does not score .*, as 1 of 2 rows are"):
            KIND.check_scored_rows(order, metric, "data.dev")


def test_each_text_is_a_sequence_of_its_own():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"])
    kind = KIND.with_settings({"highest_score": 5.0})
    examples = [
        Example("a", "b", 4.0, 1),
        Example("c", None, None, 2),
        Example("a", "d", 2, 3),
        Example("e", "f", 1.5, 4, text_c="a"),
    ]
    rows = kind.encode(tokenizer, examples, 16)
    assert rows.input_ids[:2] == [[2, 5, 3], [2, 6, 3]] and rows.rows.tolist() == [0, 0, 1, 2, 2, 3, 3, 3]
    assert rows.starts.tolist() == [0, 2, 3, 5] and rows.groups.tolist() == [0, 0, 1, 0, 0, 2, 2, 2]
    assert rows.gold == [4.0, 4.0, None, 2, 2, 1.5, 1.5, 1.5]
    np.testing.assert_allclose(
        rows.labels[[0, 1, 2, 4, 7]],
        [[0, 0.8, -1, 0], [1, 0.8, -1, 0], [0, NAN, -1, 1], [1, NAN, 2, 0], [2, 1.5, -1, 2]],
        rtol=1e-6,
    )
    encoded, _ = kind.tokenize(tokenizer, ["a", "b"], ["c", None], 16)
    assert encoded.rows.tolist() == [0, 0, 1] and encoded.cut == [False, False]


def test_what_preflight_says_of_the_rows():
    rows = [
        Example("a", None, None, 1),
        Example("a", "b", 2.0, 2),
        Example("a", "b", 4.0, 3),
        Example("a", "b", None, 4),
    ]
    said = [finding.what for finding in KIND.findings({"train": rows}, [])]
    assert said == ["1 single texts, 2 pairs with a score, 1 pairs without a label", "scores from 2 to 4, mean 3"]
    assert [f.what for f in KIND.findings({"train": [Example("a", "b", 0, 1)]}, [])][-1] == "1 documents"


def test_settings_that_make_no_sense():
    for settings in ({"width": 0}, {"temperature": 0.0}, {"highest_score": 0.0}, {"margin_scale": -1.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            KIND.with_settings(settings)
    assert KIND.settings_for(312) == {"width": 312} and KIND.with_settings({"width": 64}).settings_for(312) == {}
    assert len(KIND.with_settings({"width": 64}).outputs) == 64


# --- models ----------------------------------------------------------------------------------------------------------


class Base(paddle.nn.Layer):
    """Like PaddleNLP's token classifiers; the encoder's states are what is set."""

    base_model_prefix = "encoder"

    def __init__(self, config):
        super().__init__()
        self.config, self.dropout = config, paddle.nn.Dropout(0.0)
        self.classifier = paddle.nn.Linear(config.hidden_size, config.num_labels)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"normalise": False}, [2, 4]),
        ({"normalise": False, "pooling": "first"}, [1, 2]),
        ({}, np.array([2, 4]) / np.sqrt(20)),
    ],
)
def test_a_vector_is_the_mean_of_the_real_tokens_or_the_first_one_s(settings, expected):
    model = KIND.with_settings(settings).model_class(Base)(SimpleNamespace(hidden_size=2, num_labels=2))
    states = paddle.to_tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]])
    model.encoder = lambda *_, **__: (states, None)
    mask = paddle.to_tensor([[1.0, 1.0, 0.0]])
    assert not list(model.parameters()), "as wide as the states: nothing is projected"
    np.testing.assert_allclose(model(None, attention_mask=mask).numpy()[0], expected, rtol=1e-6)
    other = KIND.with_settings(settings).model_class(Base)(SimpleNamespace(hidden_size=2, num_labels=3))
    assert [list(weight.shape) for weight in other.parameters()] == [[2, 3], [3]]


def test_an_answer_is_the_vector():
    row = Row("a", [Window([2, 5, 3], [0, 0, 0])], truncated=True)
    answer = KIND.decode(row, KIND.whole([np.array([[0.12345678, -1.0]])]), [])
    assert answer == Vector([0.12345678, -1.0], True)
    assert KIND.as_json(answer) == {"embedding": [0.123457, -1.0], "truncated": True}
