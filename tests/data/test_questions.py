"""Files of reading comprehension: their forms, the places of answers, and what is said of faults."""

import json

import pytest

from paddle_ernie_tiny.data.json_rows import json_rows
from paddle_ernie_tiny.data.questions import Question, answer_findings, read_questions
from paddle_ernie_tiny.data.raw_rows import raw_rows
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.errors import InputError, InputErrors, Problems

TABLE = TableFormat(text="question", text_b="context", label="answers")
CONTEXT = "🏀王小明在北京。\r\n李华在北京学ＡＩ。"  # 北京 at 5 and 13, ＡＩ at 16


def document(*asked, context=CONTEXT):
    asked = [{"id": f"q{i}", "question": "在哪里？", **one} for i, one in enumerate(asked)]
    return {"version": "v1.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": asked}]}]}


def at(text, start):
    return {"answers": [{"text": text, "answer_start": start, "id": "1"}]}


def read(folder, content, problems=None, name="train.json", require_label=True, **how):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, **how))
    return read_questions(file, TABLE, require_label, problems)


@pytest.mark.parametrize("indent", [None, 0, 4])
def test_squad_s_form_on_one_line_and_on_many(tmp_path, indent):
    content = document(at("北京", 13), {"answers": [], "is_impossible": True}, *[at("ＡＩ", 16)] * 300)
    rows = read(tmp_path, content, indent=indent)
    assert rows[:2] == [Question("在哪里？", CONTEXT, (("北京", 13),), 1), Question("在哪里？", CONTEXT, (), 2)]
    assert len(rows) == 302 and rows[-1].line == 302
    assert rows[0].label.texts == ("北京",) and CONTEXT.startswith("北京", 13)


@pytest.mark.parametrize(
    "content",
    [
        [{"context_text": CONTEXT, "qas": [{"query_text": "在哪里？", "query_id": "1", "answers": ["ＡＩ"]}]}],
        [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": [{"question": "在哪里？", **at("ＡＩ", 16)}]}]}],
        {"context": CONTEXT, "qas": [{"question": "在哪里？", **at("ＡＩ", 16)}]},
        {"question": "在哪里？", "context": CONTEXT, "answers": "ＡＩ"},
        {"question": "在哪里？", "context": CONTEXT, "answers": ["ＡＩ"]},
        {"question": "在哪里？", "context": CONTEXT, "answers": {"text": ["ＡＩ"], "answer_start": [16]}},
        {"question": "在哪里？", "context": CONTEXT, "answers": [{"text": " ＡＩ", "answer_start": 15}]},
    ],
)
def test_other_forms_say_the_same(tmp_path, content):
    (row,) = read(tmp_path, content)
    assert (row.text, row.text_b, row.answers) == ("在哪里？", CONTEXT, (("ＡＩ", 16),))


def test_a_table_has_three_columns(tmp_path):
    rows = read(tmp_path, "question\tcontext\tanswers\n在哪里？\t王小明在北京\t北京\n", name="train.tsv")
    assert rows == [Question("在哪里？", "王小明在北京", (("北京", 4),), 2)]


def test_a_place_that_is_a_little_wrong_is_corrected_and_counted(tmp_path):
    problems = Problems()
    rows = read(tmp_path, document(at("北京", 6), at("北京", 3), at("ＡＩ", 10), {"answers": ["北京"]}), problems)
    assert [row.answers[0][1] for row in rows] == [5, 5, 16, 5]
    assert [note.what.partition(":")[0] for note in problems.notes] == [
        "3 answers stand a few characters beside their answer_start",
        "1 answers have no answer_start and occur several times in their context",
    ]


def test_every_fault_has_its_question_and_where_the_text_is(tmp_path):
    long = CONTEXT + "很远" * 20
    faults = document(
        at("北京", 40),
        at("北京", 400),
        at("上海", 5),
        {"answers": []},
        {"answers": [{"text": "北京", "answer_start": "5"}]},
        {**at("北京", 5), "is_impossible": True},
        {"question": " ", **at("北京", 5)},
        context=long,
    )
    with pytest.raises(InputErrors) as caught:
        read(tmp_path, faults)
    found = {error.where.rpartition(":")[2]: error.what for error in caught.value.errors}
    assert "answer_start 40 of '北京' does not fit: '远很' there; the text occurs at 5, 13" in found["1"]
    assert "beyond the context, which has" in found["2"] and "occurs at 5, 13" in found["2"]
    assert found["3"] == "the answer '上海' does not occur in the context" and found["4"] == "no answer"
    assert "not an answer with text and answer_start" in found["5"] and "is_impossible" in found["6"]
    assert found["7"] == "empty question"


def test_bad_rows_may_be_left_out(tmp_path):
    problems = Problems(0.5)
    rows = read(tmp_path, document(at("上海", 5), at("北京", 5)), problems)
    assert [row.line for row in rows] == [2] and any("left out" in note.what for note in problems.notes)


def test_an_answer_that_is_not_in_the_context_counts_for_scores_alone(tmp_path):
    problems = Problems()
    answers = {"answers": [{"text": "京城", "answer_start": 5}, {"text": "北京", "answer_start": 5}]}
    (row,) = read(tmp_path, document(answers), problems)
    assert row.answers == (("京城", None), ("北京", 5)) and "do not occur" in problems.notes[0].what


def test_a_split_without_answers_is_unlabelled(tmp_path):
    rows = read(tmp_path, document({}, {"answers": [{"text": "", "answer_start": -1}]}), require_label=False)
    assert [(row.answers, row.label) for row in rows] == [(None, None)] * 2


def test_a_damaged_document_names_its_line(tmp_path):
    text = json.dumps(document(at("北京", 5)), ensure_ascii=False, indent=1)
    with pytest.raises(InputError) as caught:
        read(tmp_path, text[:-8])
    assert caught.value.what.startswith("not JSON") and caught.value.where.endswith(f":{text[:-8].count(chr(10)) + 1}")


def test_rows_that_are_no_questions_are_as_they_were(tmp_path):
    content = [{"data": {"text": "天"}, "id": 1}, {"data": [{"text": "地"}]}, {"version": "1", "text": "玄"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    rows = json_rows(tmp_path / "a.jsonl", iter(enumerate(lines.splitlines(True), start=1)), Problems())
    assert list(rows) == [(1, content[0]), (2, content[1]), (3, content[2])]


@pytest.mark.parametrize("header", [{"version": None}, {"by": ["a", "b"]}, {"meta": {"n": 1}}, {"says": 'a "b"'}])
def test_a_document_may_begin_with_anything(tmp_path, header):
    content = {**header, "data": document(*[at("北京", 5)] * 300)["data"]}
    assert len(read(tmp_path, content, indent=2)) == 300


def test_a_row_with_a_list_called_data_is_no_document(tmp_path):
    rows = [{"text": "天", "label": "a", "data": [{"x": 1}]}] * 2
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    found = json_rows(tmp_path / "a.jsonl", iter(enumerate(lines, start=1)), Problems())
    assert list(found) == [(1, rows[0]), (2, rows[1])]


def test_an_article_without_paragraphs_has_no_questions(tmp_path):
    content = document(at("北京", 5))
    content["data"] += [{"title": "empty", "paragraphs": []}]
    assert len(read(tmp_path, content)) == 1


def test_notes_count_what_is_there(tmp_path):
    problems = Problems()
    read(tmp_path, document({"answers": ["ＡＩ"]}), problems)  # once in the context
    assert problems.notes == []


def test_a_row_with_a_field_data_is_where_it_stands(tmp_path):
    lines = enumerate(['{"data": "天"}\n', "\n", '{"data"}\n', '{"data": {"text": "地"}}\n'], start=1)
    rows = json_rows(tmp_path / "a.jsonl", lines, Problems())
    assert list(rows) == [(1, {"data": "天"}), (4, {"data": {"text": "地"}})]


def test_questions_to_predict_need_no_answers(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(document(at("北京", 5), {}), ensure_ascii=False))
    rows = list(raw_rows(tmp_path / "a.json", TABLE, Problems(), lambda name: 0))
    assert [(row.line, row.text, row.text_b, row.id) for row in rows] == [
        (1, "在哪里？", CONTEXT, "q0"),
        (2, "在哪里？", CONTEXT, "q1"),
    ]


def test_preflight_says_how_long_and_how_many():
    rows = [Question("问", "甲乙丙丁", (("乙丙", 1),), 1), Question("问", "甲乙", (), 2)]
    (found,) = answer_findings("dev", rows)
    assert found.what == ("contexts of 3 characters (median) to 4, answers of 2 to 2; 1 of 2 questions have no answer")
    assert found.level == "note" and answer_findings("dev", rows[1:])[0].level == "note"
    assert [answer_findings("train", part)[0].level for part in (rows, rows[1:])] == ["note", "warning"]


def test_a_pool_s_answers_are_passed_over_right_or_wrong(tmp_path):
    from paddle_ernie_tiny.kinds import KINDS

    content = document(at("上海", 400), {"answers": 5}, {}, {**at("北京", 5), "is_impossible": True})
    (tmp_path / "pool.json").write_text(json.dumps(content, ensure_ascii=False))
    rows = KINDS["reading"].read_unlabelled(tmp_path / "pool.json", TABLE, ["start", "end"], None, Problems(), None)
    assert [(row.text, row.text_b, row.label) for row in rows] == [("在哪里？", CONTEXT, None)] * 4
