"""Extractive reading: windows with places in the text, losses, answers, settings."""

import numpy as np
import pytest

from paddle_ernie_tiny.config.schema import TaskSettings
from paddle_ernie_tiny.data.questions import Question
from paddle_ernie_tiny.data.rows import IGNORED
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer, read_tokenizer, train_vocabulary
from paddle_ernie_tiny.kinds import Row
from tests.kinds.reading_outputs import CONTEXT, LABELS, READING, outputs, reading

# --- windows ---------------------------------------------------------------------------------------------------------

TEXTS = [
    "周末的时候，王小明最喜欢打篮球🏀。他在ＡＢＣ１２３公司上班👨‍👩‍👧，",
    "第一行\r\n第二行\t第三行\u3000第四行，",
    "cafe\u0301s在İstanbul，ﬁne㍿각\u1100\u1161，",
    "控\u200b制\u00ad符\x07，\ufeff北京2008年奥运会！",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(TEXTS * 3 + ["王小明在哪里上班？"], 400)


def test_every_place_is_in_the_context_as_it_is_written(tokenizer):
    """Full-width characters, emoji, combining marks, CRLF, ligatures, and what the tokenizer drops."""
    for text in [*TEXTS, "".join(TEXTS)]:
        encoded, places = READING.tokenize(tokenizer, ["王小明在哪里？"], [text], 512)
        (ids,), (place,) = encoded.input_ids, places
        assert place[0].tolist() == [0, -1, 0] and ids[0] == tokenizer.cls_id
        for at, first, last in place[1:].tolist():
            (piece,) = tokenizer.encode_plain([text[first:last]]) or [[]]
            whole = tokenizer.tokens[ids[at]]
            assert ids[at] in piece or whole.startswith("##") or whole == "[UNK]", (text[first:last], whole)
            assert text[first:last].strip(), "no token is of blanks alone"
        covered = {i for _, first, last in place[1:].tolist() for i in range(first, last)}
        left = {text[i] for i in range(len(text)) if i not in covered}
        assert left <= set(" \r\n\t\u3000\u200b\u00ad\x07\ufeff\u0301\u200d"), left


@pytest.mark.parametrize(("stride", "shared"), [(None, 4), (10, 10), (0, 0), (11, 11)])
def test_windows_hold_the_question_and_share_the_stride(tokenizer, stride, shared):
    context, question = "".join(TEXTS) * 3, "王小明？"
    kind, length = reading(stride=stride), 4 + 3 + 16  # 16 tokens of the context
    encoded, places = kind.tokenize(tokenizer, [question], [context], length)
    whole = READING.tokenize(tokenizer, [question], [context], 4096)[1][0][1:, 1:].tolist()
    begin = [tokenizer.cls_id, *tokenizer.encode_plain([question])[0], tokenizer.sep_id]
    starts = []
    for number, (ids, types, place) in enumerate(zip(encoded.input_ids, encoded.token_type_ids, places, strict=True)):
        assert len(ids) == length and ids[:6] == begin and ids[-1] == tokenizer.sep_id
        assert types == [0] * 6 + [1] * (length - 6) and place[0].tolist() == [0, -1, number]
        assert place[1:, 0].tolist() == list(range(6, 6 + 16 + 1))[: len(place) - 1]
        starts.append(whole.index(place[1, 1:].tolist()))
        assert place[1:, 1:].tolist() == whole[starts[-1] : starts[-1] + len(place) - 1]
    room = len(places[0]) - 1
    assert starts[-1] + room == len(whole) and encoded.rows.tolist() == [0] * len(starts)
    assert {room - step for step in np.diff(starts)[:-1]} == {
        min(shared if stride else room // 4 if stride is None else 0, room - 1)
    }


def test_a_stride_that_moves_windows_by_a_token_or_so_is_refused(tokenizer):
    """A context of 50,000 tokens would have as many windows."""
    with pytest.raises(ValueError, match="stride 12 is more than half of max_length_tokens, 23"):
        reading(stride=12).check_length(23)
    reading(stride=11).check_length(23)
    with pytest.raises(ValueError, match="stride 65 is more than half of max_length_tokens, 128"):
        TaskSettings(name="people", kind="reading", settings={"stride": 65}, max_length_tokens=128)
    _, places = reading(stride=11).tokenize(tokenizer, ["王小明" * 30], ["".join(TEXTS)], 23)  # 10 beside the question
    (room,) = {len(place) - 1 for place in places}
    starts = [place[1, 1] for place in places]
    assert room == 10 and len(starts) > 3 and (np.diff(starts)[:-1] >= 10 - 7).all()


def test_a_long_question_leaves_half_of_the_room(tokenizer):
    encoded, places = READING.tokenize(tokenizer, ["王小明" * 30], ["北京2008"], 23)
    assert encoded.cut == [True] and len(encoded.input_ids[0]) <= 23 and len(places[0]) > 1


def test_a_context_without_a_token_has_no_answer(tokenizer):
    (row,) = READING.rows(tokenizer, ["哪里？"], ["\u200b"], 32, "windows", None)
    answers = READING.answers(np.zeros((8, 2), np.float32), row.windows[0].places)
    answer = READING.decode(row, answers, LABELS)
    assert (answer.answer, answer.start, answer.end, answer.probability) == ("", 0, 0, 1.0)


# --- labels and losses -----------------------------------------------------------------------------------------------


def encoded(tokenizer, context, answers, length=512, **settings):
    row = Question("王小明？", context, answers, 1)
    return reading(**settings).encode(tokenizer, [row], length)


def test_labels_are_at_the_answer_s_first_and_last_token(tokenizer):
    context = "".join(TEXTS)
    start = context.index("ＡＢＣ１２３")
    rows = encoded(tokenizer, context, (("ＡＢＣ１２３公司", start),))
    (labels,), (place,) = rows.labels, rows.places
    by_token = {tuple(at[1:]): int(labels[at[0]]) for at in place.tolist()}
    assert by_token.pop((start, start + 6)) == 1 and by_token.pop((start + 7, start + 8)) == 2
    assert set(by_token.values()) == {0}, "also the first token"
    assert (labels == IGNORED).sum() == len(labels) - len(place), "the question, and both [SEP]"
    (labels,) = encoded(tokenizer, context, (("王", context.index("王")),)).labels
    assert sorted(labels[labels > 0]) == [3], "a start that is the end"
    (labels,) = encoded(tokenizer, context, ()).labels
    assert labels[0] == 3 and (labels[1:] <= 0).all(), "unanswerable"
    (labels,) = encoded(tokenizer, context, None).labels
    assert labels.max() == 0, "nobody has answered it"


def test_a_window_without_the_answer_says_so(tokenizer):
    context = "".join(TEXTS)
    answer = ("2008年奥运会", context.index("2008年奥运会"))
    rows = encoded(tokenizer, context, (answer,), 30)
    assert [int(labels[0]) for labels in rows.labels] == [3] * (len(rows) - 1) + [0]
    last, place = rows.labels[-1], rows.places[-1]
    first, end = (place[np.flatnonzero(place[:, 0] == np.flatnonzero(last == bit)[0])[0]] for bit in (1, 2))
    assert context[first[1] : end[2]] == answer[0]
    longer = (context[:60], 0)
    assert max(int(label.max()) for label in encoded(tokenizer, context, (longer,), 30).labels) == 0, "in no window"


def hand_cross_entropy(logits, allowed, target):
    logits = np.asarray(logits, np.float64)[allowed]
    return np.log(np.exp(logits).sum()) - logits[allowed.index(target)]


def test_the_hard_label_is_over_places_where_an_answer_may_be():
    import paddle

    rng = np.random.default_rng(0)
    output = rng.normal(size=(3, 6, 2)).astype(np.float32)
    labels = np.full((3, 6), IGNORED)
    labels[0, [0, 3, 4, 5]] = [0, 0, 1, 2]
    labels[1, [0, 3, 4]] = [3, 0, 0]  # shorter, unanswerable
    labels[2, [0, 3]] = 0  # without a label
    expected = [
        (hand_cross_entropy(output[0, :, 0], [0, 3, 4, 5], 4) + hand_cross_entropy(output[0, :, 1], [0, 3, 4, 5], 5))
        / 2,
        (hand_cross_entropy(output[1, :, 0], [0, 3, 4], 0) + hand_cross_entropy(output[1, :, 1], [0, 3, 4], 0)) / 2,
    ]
    loss = READING.hard_label(paddle.to_tensor(output), paddle.to_tensor(labels))
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-6)
    assert READING.label_weights(paddle.to_tensor(labels), None).tolist() == [1, 1, 0]
    assert float(READING.hard_label(paddle.to_tensor(output), paddle.to_tensor(labels[2:].repeat(3, 0)))) == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "kl"])
def test_the_soft_label_distils_start_and_end_over_those_places(loss):
    import paddle

    rng, temperature = np.random.default_rng(1), 2.0
    student, teacher = (rng.normal(size=(2, 5, 2)).astype(np.float32) * 3 for _ in range(2))
    labels = np.full((2, 5), IGNORED)
    places = [[0, 2, 3, 4], [0, 2]]
    for row, at in enumerate(places):
        labels[row, at] = 0
    values = []
    for row, at in enumerate(places):
        for side in range(2):
            own, given = (x[row, at, side].astype(np.float64) / temperature for x in (student, teacher))
            p, q = (np.exp(x) / np.exp(x).sum() for x in (given, own))
            values.append((p * ((np.log(p) if loss == "kl" else 0) - np.log(q))).sum() * temperature**2)
    tensors = [paddle.to_tensor(array) for array in (student, teacher)]
    how = temperature, paddle.to_tensor(labels), paddle.ones([2, 5])
    assert float(READING.soft_label(loss, *tensors, *how)) == pytest.approx(np.mean(values), rel=1e-5)
    padded = [paddle.nn.functional.pad(x, [0, 0, 0, 3, 0, 0], value=7.0, pad_from_left_axis=True) for x in tensors]
    more = paddle.to_tensor(np.pad(labels, ((0, 0), (0, 3)), constant_values=IGNORED))
    if padded[0].shape[1] == 8:
        assert float(READING.soft_label(loss, *padded, temperature, more, None)) == pytest.approx(
            np.mean(values), rel=1e-5
        )


@pytest.mark.parametrize("loss", ["cross_entropy", "kl", "mse"])
def test_the_soft_label_of_windows_is_their_mean_and_padding_changes_nothing(loss):
    """So processes that take turns in a batch have together what one has: means weighted by their windows."""
    import paddle

    student, teacher = (np.random.default_rng(s).normal(size=(2, 6, 2)).astype(np.float32) for s in range(2))
    labels = np.full((2, 6), IGNORED)
    labels[0, [0, 3, 4, 5]] = labels[1, [0, 3]] = 0

    def value(rows, length):
        own, other, places = (paddle.to_tensor(array[rows, :length]) for array in (student, teacher, labels))
        return float(READING.soft_label(loss, own, other, 1.0, places, None))

    assert value([0, 1], 6) == pytest.approx((value([0], 6) + value([1], 4)) / 2, rel=1e-6)


def test_the_soft_label_s_mse_is_over_those_places():
    import paddle

    student, teacher = (np.random.default_rng(s).normal(size=(1, 4, 2)).astype(np.float32) for s in range(2))
    labels = np.array([[0, IGNORED, 0, IGNORED]])
    value = READING.soft_label("mse", *map(paddle.to_tensor, (student, teacher)), 1.0, paddle.to_tensor(labels), None)
    assert float(value) == pytest.approx(np.square(student - teacher)[0, [0, 2]].mean(), rel=1e-6)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_the_answer_is_the_best_span_of_all_windows():
    one = (0, 0, [(2, 0), (0, 1), (0, 0), (0, 3)])
    other = (1, 2, [(0, 0), (1, 5), (4, 0), (0, 0)])  # 丁..: 1 + 5; 戊 at 4 ends before
    answer = reading().decode(Row(CONTEXT, []), outputs(one, other), LABELS)
    assert (answer.answer, answer.start, answer.end) == ("丁", 3, 4)  # 6; from 甲 to 丁 it is 5
    assert [one.text for one in answer.n_best] == ["丁", "甲乙丙丁", "丙丁"] and answer.n_best[1].end == 4
    assert answer.answer == CONTEXT[answer.start : answer.end]
    short = reading(max_answer_tokens=1, n_best=1).decode(Row(CONTEXT, []), outputs(one), LABELS)
    assert (short.answer, len(short.n_best)) == ("丁", 1)
    # single characters score 2, 1, 0, 3
    assert short.probability == pytest.approx(np.exp(3) / np.exp([2, 1, 0, 3]).sum(), rel=1e-6)


def test_no_answer_is_given_above_the_threshold():
    row = outputs((4, 0, [(1, 1), (0, 0)]), (3, 1, [(0, 0), (1, 0)]))  # no answer: the lowest, 3; the best span: 2
    given = {t: reading(null_threshold=t).decode(Row("甲乙丙", []), row, LABELS) for t in (0.5, 1.5)}
    assert given[0.5].answer == "" and given[0.5].n_best[0].text == ""
    assert given[1.5].answer == "甲" and given[1.5].n_best[0].text == "", "the likeliest is first in the list"
    assert reading().decode(Row("甲乙丙", []), row, LABELS).answer == "甲"
    assert all("" != one.text for one in reading().decode(Row("甲乙丙", []), row, LABELS).n_best)
    assert READING.as_json(given[0.5])["n_best"][0] == {
        "text": "",
        "start": 0,
        "end": 0,
        "probability": pytest.approx(0.3, abs=0.4),
    }


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"stride": -1}, "stride"),
        ({"max_answer_tokens": 0}, "max_answer_tokens"),
        ({"n_best": 0}, "n_best"),
        ({"language": "fr"}, "language"),
        ({"null_threshold": float("nan")}, "null_threshold"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, what):
    with pytest.raises(ValueError, match=what):
        reading(**settings)


def test_no_answer_begins_or_ends_with_a_blank(tmp_path):
    """Line ends are tokens of byte pairs."""
    from tests.byte_pairs import byte_level_folder

    byte_level_folder(tmp_path)
    text, rng = "One\r\n\n two.\t \u3000Three\u2028 four\n", np.random.default_rng(3)
    tokenizer = read_tokenizer(tmp_path)
    for _ in range(50):
        (row,) = READING.rows(tokenizer, ["Who?"], [text], 64, "windows", None)
        (window,) = row.windows
        output = READING.answers(rng.normal(size=(len(window.input_ids), 2)).astype(np.float32), window.places)
        found = reading(n_best=20).decode(row, output, LABELS).n_best
        assert all(one.text == text[one.start : one.end] == one.text.strip() != "" for one in found), found


def test_byte_level_tokens_have_places_too(tmp_path):
    from tests.byte_pairs import byte_level_folder

    byte_level_folder(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    text = "café\r\n北京 hello world😀"
    (place,) = READING.tokenize(tokenizer, ["hello?"], [text], 128)[1]
    parts = [text[first:last] for _, first, last in place[1:].tolist()]
    assert "".join(dict.fromkeys(parts)) and {"北", "京", "😀"} <= set("".join(parts))
    assert all(0 <= first <= last <= len(text) for _, first, last in place[1:].tolist())


def test_the_tokenizer_s_words_are_not_cut_otherwise(tokenizer):
    assert isinstance(tokenizer, WordPieceTokenizer)
    (ids,) = READING.tokenize(tokenizer, ["王小明？"], [TEXTS[0]], 512)[0].input_ids
    plain = tokenizer.encode(["王小明？"], [TEXTS[0]], 512)
    assert [ids] == plain.input_ids
