"""Rows of tagged words: every layout in which such sets are passed around."""

import json

import pytest

from paddle_ernie_tiny.data.rows import TokenExample
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.data.token_rows import infer_tags, read_paddlenlp_tokens, read_token_examples
from paddle_ernie_tiny.errors import InputErrors
from paddle_ernie_tiny.kinds.token_classification import split_text

from ..miniatures import install

TAGS = ["O", "B-LOC", "I-LOC"]
EXPECTED = [TokenExample(("在", "北", "京"), (0, 1, 2), 1), TokenExample(("好",), (0,), 5)]


def write(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize("blank", [" ", "\t", "  "])
@pytest.mark.parametrize("name", ["a.bio", "a.conll", "a.bmes"])
def test_conll(tmp_path, blank, name):
    text = "在 O\n北 B-LOC\n京 I-LOC\n\n好 O\n".replace(" ", blank)
    assert read_token_examples(write(tmp_path, name, text), TableFormat(), TAGS) == EXPECTED


def test_conll_takes_the_last_column_and_passes_document_marks_over(tmp_path):
    path = write(tmp_path, "a.txt", "-DOCSTART- -X- O\n\nEU NNP B-NP B-LOC\nis VB O O\n")
    rows = read_token_examples(path, TableFormat(format="conll"), TAGS)
    assert rows == [TokenExample(("EU", "is"), (1, 0), 3)]


@pytest.mark.parametrize("joint", ["\x02", " "])
def test_tsv_with_joined_cells(tmp_path, joint):
    body = "在 北 京\tO B-LOC I-LOC\n好\tO\n".replace(" ", joint)
    named = read_token_examples(
        write(tmp_path, "a.tsv", "text_a\tlabel\n" + body), TableFormat(text="text_a", label="label"), TAGS
    )
    by_place = read_token_examples(write(tmp_path, "b.tsv", body), TableFormat(text=0, label=1), TAGS)
    assert [(e.words, e.tags) for e in named] == [(e.words, e.tags) for e in EXPECTED]
    assert [(e.words, e.tags, e.line) for e in by_place] == [(e.words, e.tags, n) for n, e in enumerate(EXPECTED, 1)]


@pytest.mark.parametrize("text", [["在", "北", "京"], "在北京"])
def test_jsonl_with_lists_or_a_tag_for_each_character(tmp_path, text):
    path = write(tmp_path, "a.jsonl", json.dumps({"tokens": text, "tags": ["O", "B-LOC", "I-LOC"]}) + "\n")
    rows = read_token_examples(path, TableFormat(text="tokens", label="tags"), TAGS)
    assert rows == EXPECTED[:1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blanks.bio", "王 B-PER\n芳 I-PER\n  O\n北 B-LOC\n"),
        ("full-width.bio", "王 B-PER\n芳 I-PER\n\u3000 O\n北 B-LOC\n"),
        ("tabs.bio", "王\tB-PER\n芳\tI-PER\n \tO\n北\tB-LOC\n"),
        ("joined.tsv", "王\x02芳\x02 \x02北\tB-PER\x02I-PER\x02O\x02B-LOC\n"),
        ("text.jsonl", '{"text": "王芳 北", "label": ["B-PER", "I-PER", "O", "B-LOC"]}\n'),
    ],
)
def test_a_tagged_blank_is_left_out_as_in_prediction(tmp_path, name, text):
    table = TableFormat(text="text", label="label") if name.endswith("jsonl") else TableFormat(text=0, label=1)
    rows = read_token_examples(write(tmp_path, name, text), table, ["O", "B-PER", "I-PER", "B-LOC"])
    assert rows == [TokenExample(("王", "芳", "北"), (1, 2, 3), 1)]


def test_a_blank_inside_an_entity_does_not_end_it_and_may_not_begin_one(tmp_path):
    path = write(tmp_path, "a.bio", "N B-LOC\n  I-LOC\nY I-LOC\n")
    assert read_token_examples(path, TableFormat(), TAGS) == [TokenExample(("N", "Y"), (1, 2), 1)]
    for text, place in (
        ("京 O\n  B-LOC\nY I-LOC\n", ":2: an entity begins or ends with a blank"),
        ("  O\n", ":1: blanks alone"),
    ):
        with pytest.raises(InputErrors, match=place):
            read_token_examples(write(tmp_path, "b.bio", text), TableFormat(), TAGS)


def test_a_word_that_holds_a_blank_is_whole(tmp_path):
    path = write(tmp_path, "a.conll", "in\tIN\tO\nNew York\tNNP\tB-LOC\nSan\u00a0José\tNNP\tB-LOC\t\n")
    assert read_token_examples(path, TableFormat(), TAGS)[0].words == ("in", "New York", "San\u00a0José")


@pytest.mark.parametrize(("end", "code"), [("\r", "000D"), ("\u2028", "2028"), ("\x85", "0085"), ("\x0b", "000B")])
def test_line_ends_that_are_none_are_refused(tmp_path, end, code):
    path = write(tmp_path, "a.bio", "在 O\n北 B-LOC\n".replace("\n", end))
    with pytest.raises(InputErrors, match=rf"a\.bio:1: the line holds another line end: U\+{code}"):
        read_token_examples(path, TableFormat(), TAGS)
    path = write(tmp_path, "c.bio", f"在 O\n{end}北 B-LOC\n")  # as LF CR
    with pytest.raises(InputErrors, match=rf"c\.bio:2: the line holds another line end: U\+{code}"):
        read_token_examples(path, TableFormat(), TAGS)
    path = write(tmp_path, "b.bio", "在 O\r\n北 B-LOC\r\n京 I-LOC\r\n\r\n\r\n\r\n好 O")
    assert [e.words for e in read_token_examples(path, TableFormat(), TAGS)] == [("在", "北", "京"), ("好",)]


def test_aliases_of_tags(tmp_path):
    path = write(tmp_path, "a.bio", "北 B-place\n京 I-place\n")
    table = TableFormat(label_aliases={"B-place": "B-LOC", "I-place": "I-LOC"})
    assert read_token_examples(path, table, TAGS)[0].tags == (1, 2)


def test_tags_of_a_file_stand_by_type_and_prefix(tmp_path):
    path = write(tmp_path, "a.bmes", "a E-PER\nb B-PER\nc S-LOC\nd M-PER\n")
    assert infer_tags(path, TableFormat()) == ["O", "S-LOC", "B-PER", "M-PER", "E-PER"]


def test_paddlenlp_s_own_set(tmp_path, monkeypatch):
    pytest.importorskip("paddlenlp.datasets", reason="needs PaddleNLP")
    install("msra_ner", monkeypatch, tmp_path)
    examples, tags = read_paddlenlp_tokens("msra_ner", "train", TableFormat())
    assert tags == ["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"]
    assert len(examples) == 60 and "".join(examples[0].words).endswith("王小明")
    assert [tags[tag] for tag in examples[0].tags[-3:]] == ["B-PER", "I-PER", "I-PER"]


@pytest.mark.parametrize("name", ["msra_ner_baidu/dev.tsv", "msra_ner_baidu/test.tsv", "weibo_ner/train.all.bmes"])
def test_real_files_lose_no_word(real_data, name):
    path = real_data / "data" / name
    table = TableFormat(text="text_a", label="label") if path.suffix == ".tsv" else TableFormat()
    examples = read_token_examples(path, table, infer_tags(path, table))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".tsv":
        lines = text.strip().split("\n")[1:]
        words = sum(line.split("\t")[0].count("\x02") + 1 for line in lines)
    else:
        lines = [block for block in text.split("\n\n") if block.strip()]
        words = sum(1 for line in text.split("\n") if line.strip())
    assert len(examples) == len(lines)
    assert sum(len(e.words) for e in examples) == words


def test_what_cannot_be_seen_gets_no_tag_in_training_nor_in_prediction(tmp_path):
    path = write(tmp_path, "a.bio", "王\tB-PER\n\u200b\tO\n芳\tI-PER\n")
    (row,) = read_token_examples(path, TableFormat(), ["O", "B-PER", "I-PER"])
    assert row.words == ("王", "芳")
    for unit in ("character", "mixed"):
        assert [word for word, _, _ in split_text("王\u200b芳 \ufeff来", unit)] == ["王", "芳", "来"]
