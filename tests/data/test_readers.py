"""Labelled files: formats, headers, columns, labels, and what is said about bad rows."""

import os
import subprocess
import sys

import pytest

from paddle_ernie_tiny.data.readers import infer_labels
from paddle_ernie_tiny.data.rows import Example
from paddle_ernie_tiny.data.tables import TableFormat
from paddle_ernie_tiny.errors import InputError, InputErrors, Problems
from paddle_ernie_tiny.kinds import KINDS

LABELS = ["neg", "pos"]
BY_NAME = TableFormat(text="text", label="label")
BY_POSITION = TableFormat(text=0, label=1)


def read_examples(path, table, labels, require_label=True):
    """Rows with one of the labels, or with scores if there are none."""
    return KINDS["regression" if labels is None else "classification"].read(path, table, labels, require_label)


def read_paddlenlp(name, split, text=None, text_b=None, label=None):
    return KINDS["classification"].read_dataset(name, split, TableFormat(text=text, text_b=text_b, label=label), None)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def problems(path, table, labels=LABELS, **options):
    with pytest.raises(InputErrors) as caught:
        read_examples(path, table, labels, **options)
    assert all(error.remedy for error in caught.value.errors)
    return [(error.where.removeprefix(str(path)), error.what) for error in caught.value.errors]


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.tsv", "label\ttext\npos\t好\nneg\t差\n"),
            ("a.txt", "label\ttext\r\npos\t好\r\nneg\t差"),
            ("a.tsv", "\ufefflabel\ttext\npos\t好\nneg\t差\n"),
            ("a.csv", "label,text\npos,好\nneg,差\n"),
            ("a.csv", '\ufeff"label",text\r\npos,"好"\r\nneg,差\r\n'),
            ("a.jsonl", '{"label": "pos", "text": "好"}\n{"text": "差", "label": "neg"}\n'),
            ("a.tsv", "label\tid\ttext\n1\tx\t好\n0\ty\t差\n"),
            ("a.jsonl", '{"label": 1, "text": "好"}\n\n{"label": "0", "text": "差"}'),
        ],
    )
    def test_the_same_rows_from_every_format(self, write, name, content):
        examples = read_examples(write(name, content), BY_NAME, LABELS)
        assert [(e.text, e.text_b, e.label) for e in examples] == [("好", None, 1), ("差", None, 0)]

    def test_lines_are_where_rows_start(self, write):
        path = write("a.tsv", "label\ttext\n\npos\t好\n\nneg\t差\n")
        assert [e.line for e in read_examples(path, BY_NAME, LABELS)] == [3, 5]

    def test_pairs(self, write):
        path = write("a.tsv", "甲\t乙\t1\n丙\t丁\t0\n")
        examples = read_examples(path, TableFormat(text=0, text_b=1, label=2), ["0", "1"])
        assert examples == [Example("甲", "乙", 1, 1), Example("丙", "丁", 0, 2)]

    def test_quotes_are_text_in_tsv(self, write):
        path = write("a.tsv", 'label\ttext\npos\t"好\nneg\t他说"差"\n')
        assert [e.text for e in read_examples(path, BY_NAME, LABELS)] == ['"好', '他说"差"']

    def test_csv_fields_over_several_lines_keep_their_line_numbers(self, write):
        path = write("a.csv", 'label,text\npos,"一\n二, ""三"""\nneg,四\nbad,五\n')
        where = problems(path, BY_NAME)
        assert where == [(":5", "unknown label 'bad'")]
        path = write("b.csv", 'label,text\npos,"一\n二, ""三"""\nneg,四\n')
        assert [(e.text, e.line) for e in read_examples(path, BY_NAME, LABELS)] == [
            ('一\n二, "三"', 2),
            ("四", 4),
        ]

    def test_only_line_feeds_end_lines(self, write):
        path = write("a.tsv", "label\ttext\npos\t一\u2028二\x0b三\x85四\n")
        assert read_examples(path, BY_NAME, LABELS)[0].text == "一\u2028二\x0b三\x85四"

    def test_an_unknown_suffix_needs_a_format(self, write):
        path = write("a.data", "label\ttext\npos\t好\n")
        with pytest.raises(InputError, match="unknown file type"):
            read_examples(path, BY_NAME, LABELS)
        assert len(read_examples(path, TableFormat("tsv", text="text", label="label"), LABELS)) == 1

    def test_jsonl_has_no_positions(self, write):
        with pytest.raises(InputError, match="jsonl has names"):
            read_examples(write("a.jsonl", "{}"), BY_POSITION, LABELS)


class TestHeaders:
    @pytest.mark.parametrize("first", ["text\tlabel", "句子\t标签", "review_body\tstars"])
    def test_a_header_above_positions_is_found(self, write, first):
        path = write("a.tsv", f"{first}\n好\tpos\n")
        assert read_examples(path, BY_POSITION, LABELS) == [Example("好", None, 1, 2)]

    @pytest.mark.parametrize("first", ["text\tpos", "ok\t1", "好\tneg"])
    def test_a_first_row_with_a_label_is_data(self, write, first):
        assert len(read_examples(write("a.tsv", f"{first}\n好\tpos\n"), BY_POSITION, LABELS)) == 2

    def test_a_misspelt_label_in_the_first_row_is_no_header(self, write):
        path = write("a.tsv", "很好\tposs\n好\tpos\n")
        assert problems(path, BY_POSITION) == [(":1", "unknown label 'poss'")]

    def test_explicit_wins(self, write):
        path = write("a.tsv", "好\tpos\n差\tneg\n")
        table = TableFormat(header=True, text=0, label=1)
        assert read_examples(path, table, LABELS) == [Example("差", None, 0, 2)]
        path = write("b.tsv", "text\tlabel\n")
        table = TableFormat(header=False, text=0, label=1)
        assert problems(path, table) == [(":1", "unknown label 'label'")]

    def test_without_labels_only_usual_names_are_a_header(self, write):
        table = TableFormat(text=0)
        for first, rows in (("text", 1), ("hello", 2)):
            path = write("a.tsv", f"{first}\n好\n")
            assert len(read_examples(path, table, LABELS, require_label=False)) == rows

    def test_names_need_a_header(self, write):
        with pytest.raises(InputError, match="by name"):
            read_examples(write("a.tsv", "x\ty\n"), TableFormat(header=False, text="text", label="label"), LABELS)

    def test_missing_and_double_columns(self, write):
        with pytest.raises(InputError) as error:
            read_examples(write("a.tsv", "labels\ttext\npos\t好\n"), BY_NAME, LABELS)
        assert "no column 'label' in the header 'labels | text'" in str(error.value)
        assert "did you mean 'labels'?" in str(error.value)
        with pytest.raises(InputError, match="2 columns are called 'text'"):
            read_examples(write("a.tsv", "text\ttext\tlabel\n"), BY_NAME, LABELS)
        with pytest.raises(InputError, match="no column 2: 2 columns"):
            read_examples(write("a.tsv", "好\tpos\n"), TableFormat(text=0, label=2), LABELS)


class TestLabels:
    def test_ids_unless_a_name_is_a_number(self, write):
        path = write("a.tsv", "label\ttext\n1\t好\n")
        assert read_examples(path, BY_NAME, LABELS)[0].label == 1
        assert read_examples(path, BY_NAME, ["1", "0"])[0].label == 0
        assert problems(path, BY_NAME, ["100", "101"]) == [(":2", "unknown label '1'")]
        assert problems(path, BY_NAME, ["only"]) == [(":2", "unknown label '1'")]

    def test_scores_for_regression(self, write):
        path = write("a.tsv", "text\tscore\n好\t4.5\n差\t-1\n")
        assert [e.label for e in read_examples(path, BY_POSITION, None)] == [4.5, -1.0]
        path = write("b.tsv", "text\tscore\n好\tnan\n差\t高\n")
        assert [what for _, what in problems(path, BY_POSITION, None)] == [
            "label 'nan' is not a number",
            "label '高' is not a number",
        ]

    def test_labels_may_be_missing_where_they_are_not_required(self, write):
        path = write("a.tsv", "label\ttext\n\t好\npos\t差\n")
        assert [e.label for e in read_examples(path, BY_NAME, LABELS, require_label=False)] == [None, 1]
        path = write("b.tsv", "text\n好\n")
        assert [e.label for e in read_examples(path, BY_NAME, LABELS, require_label=False)] == [None]
        with pytest.raises(InputError, match="no label column"):
            read_examples(path, TableFormat(text="text"), LABELS)

    def test_inferred_names_are_sorted_as_numbers_if_they_are(self, write):
        assert infer_labels(write("a.tsv", "好\tpos\n差\tneg\n好\tpos\n"), BY_POSITION) == LABELS
        assert infer_labels(write("b.tsv", "label\ttext\n10\t好\n9\t差\n"), BY_NAME) == ["9", "10"]
        assert infer_labels(write("c.tsv", "review\tstars\n好\tpos\n差\tpos\n"), BY_POSITION) == ["pos"]
        assert infer_labels(write("d.jsonl", '{"text": "好", "label": 3}'), BY_NAME) == ["3"]

    @pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
    def test_equal_numbers_are_two_labels_in_one_order(self, write, seed):
        path = write("a.tsv", "好\t1\n差\t01\n好\t2\n差\t-0\n差\t0\n差\t001\n")
        code = "import sys; from tests.data.test_readers import *; print(*infer_labels(sys.argv[1], BY_POSITION))"
        run = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.stdout.split() == ["-0", "0", "001", "01", "1", "2"], done.stderr

    @pytest.mark.parametrize(
        ("labels", "known"),
        [
            (["差", "好"], {"0": 0, "1": 1}),
            (["LABEL_0", "LABEL_1"], {"0": 0, "1": 1}),
            (["1.0", "2.0", "3.0"], {"1.0": 0, "2.0": 1}),
            (["1 star", "2 stars"], {"1 star": 0}),
            (["-1", "0", "1"], {"1": 2}),
        ],
    )
    def test_a_number_is_an_id_only_where_no_name_holds_another_number(self, write, labels, known):
        for cell in ("0", "1", "2", *known):
            path = write("a.tsv", f"text\tlabel\n好\t{cell}\n")
            if cell in known or cell in labels:
                expected = known[cell] if cell in known else labels.index(cell)
                assert read_examples(path, BY_NAME, labels)[0].label == expected
            else:
                assert problems(path, BY_NAME, labels) == [(":2", f"unknown label {cell!r}")]

    def test_as_many_labels_as_rows_are_another_column(self, write):
        path = write("a.tsv", "".join(f"好\tl{i}\n" for i in range(1001)))
        with pytest.raises(InputError, match=r"a\.tsv: 1001 different labels\n  remedy: check the label's column"):
            infer_labels(path, BY_POSITION)
        labels = [f"l{i}" for i in range(1001)]
        assert len(read_examples(path, BY_POSITION, labels)) == 1001, "a list of the task may be as long as it likes"

    def test_a_label_that_is_a_text_is_refused(self, write):
        path = write("a.tsv", "text\tlabel\n好\t1\n差\t" + "9" * 5000 + "\n")
        with pytest.raises(InputErrors, match=r"a\.tsv:3: a label of 5000 characters"):
            infer_labels(path, BY_NAME)
        ((place, what),) = problems(path, BY_NAME, ["0", "1"])
        assert place == ":3" and what.startswith("unknown label '999") and len(what) < 120

    def test_scores_are_ascii_numbers_that_float32_squares(self, write):
        for cell in ("1_000", "１", "1e16", "-1e300", "1e400"):
            assert problems(write("a.tsv", f"text\tscore\n好\t{cell}\n"), BY_POSITION, None)[0][0] == ":2"


class TestBadRows:
    def test_every_kind_is_named_with_its_line(self, write):
        content = "label\ttext\npos\t好\nposs\t好\npos\nneg\t \n\t好\npos\t好\t了\n".encode()
        path = write("a.tsv", content + b"neg\t\xb2\xee\npos\t\xe5\xa5\xbd\n")
        assert problems(path, BY_NAME) == [
            (":3", "unknown label 'poss'"),
            (":4", "expected 2 columns as on line 1, found 1: 'pos'"),
            (":5", "empty text"),
            (":6", "no label"),
            (":7", "expected 2 columns as on line 1, found 3: 'pos | 好 | 了'"),
            (":8", "not UTF-8 text, near b'neg\\t\\xb2\\xee\\n'"),
        ]

    def test_the_remedy_names_the_nearest_label(self, write):
        with pytest.raises(InputErrors, match=r"use one of neg, pos \(did you mean 'pos'\?\)"):
            read_examples(write("a.tsv", "label\ttext\nposs\t好\n"), BY_NAME, LABELS)

    def test_an_empty_second_text(self, write):
        path = write("a.tsv", "甲\t\t1\n")
        assert problems(path, TableFormat(text=0, text_b=1, label=2)) == [(":1", "empty second text")]

    def test_jsonl(self, write):
        path = write(
            "a.jsonl",
            '{"text": 1, "label": 1}\n[1]\n{"text"\n{"label": "pos"}\n{"text": "好", "label": null}\n',
        )
        found = problems(path, BY_NAME)
        assert [where for where, _ in found] == [":1", ":2", ":3", ":4", ":5"]
        assert [what.split(":")[0] for _, what in found] == [
            "text is 1, not a string",
            "a JSON list, not an object",
            "not JSON",
            "no field 'text'; found 'label'",
            "no label",
        ]

    def test_an_open_quote_in_csv(self, write):
        where = problems(write("a.csv", 'label,text\npos,好\nneg,"差\n'), BY_NAME)
        assert where == [(":3", "not csv: unexpected end of data")]

    def test_undecodable_bytes_in_csv(self, write):
        found = problems(write("a.csv", b'label,text\npos,"a\n\xff\n"\nneg,b\n'), BY_NAME)
        assert [where for where, _ in found] == [":3"]

    def test_alike_ones_are_one_with_a_count_and_three_places(self, write):
        path = write("a.tsv", "label\ttext\n" + "bad\t好\n" * 1000 + "worse\t好\npos\t\n")
        with pytest.raises(InputErrors) as caught:
            read_examples(path, BY_NAME, LABELS)
        message = str(caught.value)
        assert message.startswith("1002 problems found:\n") and len(message.splitlines()) == 5
        assert f"- {path}:2: unknown label 'bad' (1001 alike: lines 2, 3, 4 ...)" in message
        assert f"- {path}:1003: empty text\n" in message

    def test_alike_ones_with_other_values_name_these(self, write):
        path = write("a.tsv", "label\ttext\nbad\t好\nworse\t好\npos\t好\nno\t好\n")
        with pytest.raises(InputErrors) as caught:
            read_examples(path, BY_NAME, LABELS)
        whole = f"{path}:2: unknown label 'bad' (3 alike; line 3: unknown label 'worse'; line 5: unknown label 'no')"
        assert whole in str(caught.value)

    def test_twenty_kinds_are_enough(self):
        found = Problems()
        with pytest.raises(InputErrors) as caught:
            for kind in "abcdefghijklmnopqrstuvwxyz":
                found.add(f"fault {kind}", "a.tsv:1", "mend it")
        assert len(caught.value.errors) == 20

    def test_a_missing_file_says_what_is_there(self, write, tmp_path):
        write("train.tsv", "x")
        with pytest.raises(InputError) as error:
            read_examples(tmp_path / "trian.tsv", BY_NAME, LABELS)
        assert "no such file" in str(error.value) and "train.tsv" in str(error.value)
        with pytest.raises(InputError, match="a folder, not a file"):
            read_examples(tmp_path, BY_NAME, LABELS)
        with pytest.raises(InputError, match=tmp_path.name):
            read_examples(tmp_path / "a" / "b.tsv", BY_NAME, LABELS)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ("", "the file is empty"),
            ("\n\n", "only blank lines"),
            ("label\ttext\n", "no rows besides the header"),
            ("label\ttext\npos\t好\n".encode("utf-16")[:-1], "not UTF-16 text"),
        ],
    )
    def test_nothing_to_read(self, write, content, what):
        with pytest.raises(InputError, match=what):
            read_examples(write("a.tsv", content), BY_NAME, LABELS)


class TestPaddleNLP:
    """PaddleNLP's own builders on a stand-in for its cache; nothing is downloaded."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        datasets = pytest.importorskip("paddlenlp.datasets", reason="needs PaddleNLP")
        import importlib

        for name, builder in (("chnsenticorp", "ChnSentiCorp"), ("lcqmc", "LCQMC")):
            module = importlib.import_module(f"{datasets.__name__}.{name}")
            cls = getattr(module, builder)
            splits = {split: cls.META_INFO(info.file, None) for split, info in cls.SPLITS.items()}
            monkeypatch.setattr(cls, "SPLITS", splits)
            monkeypatch.setattr(module, "DATA_HOME", str(tmp_path))
            monkeypatch.setattr(module, "get_path_from_url", self.no_network)
        monkeypatch.setattr(f"{datasets.__name__}.dataset.DATA_HOME", str(tmp_path))
        folder = tmp_path / "ChnSentiCorp" / "ChnSentiCorp" / "ChnSentiCorp"
        folder.mkdir(parents=True)
        (folder / "train.tsv").write_text("label\ttext_a\n1\t好\n0\t差\n", encoding="utf-8")
        (folder / "test.tsv").write_text("qid\ttext_a\n0\t好\n", encoding="utf-8")
        folder = tmp_path / "LCQMC" / "lcqmc" / "lcqmc"
        folder.mkdir(parents=True)
        (folder / "dev.tsv").write_text("甲\t乙\t1\n丙\t丁\t0\n", encoding="utf-8")

    @staticmethod
    def no_network(*_):
        raise RuntimeError("Downloading failed")

    def test_single_sentences(self):
        examples, labels = read_paddlenlp("chnsenticorp", "train", "text", None, "label")
        assert labels == ["0", "1"]
        assert examples == [Example("好", None, 1, 1), Example("差", None, 0, 2)]

    def test_a_test_split_without_labels(self):
        examples, labels = read_paddlenlp("chnsenticorp", "test")
        assert (examples, labels) == ([Example("好", None, None, 1)], ["0", "1"])

    def test_bad_rows_are_left_out_if_so_many_may_be(self, tmp_path):
        file = tmp_path / "ChnSentiCorp" / "ChnSentiCorp" / "ChnSentiCorp" / "train.tsv"
        file.write_text("label\ttext_a\n1\t好\n0\t\u200b\n0\t差\n", encoding="utf-8")
        with pytest.raises(InputErrors, match="row 2: empty text"):
            read_paddlenlp("chnsenticorp", "train")
        taken = Problems(0.5)
        examples, _ = KINDS["classification"].read_dataset("chnsenticorp", "train", TableFormat(), None, taken)
        assert [example.text for example in examples] == ["好", "差"]
        assert "1 of 3 rows are bad and left out" in taken.notes[0].what

    @pytest.mark.parametrize("columns", [("query", "title", "label"), (None, None, None), (0, None, 1)])
    def test_pairs_by_name_and_by_their_usual_names(self, columns):
        examples, _ = read_paddlenlp("lcqmc", "dev", *columns)
        assert examples == [Example("甲", "乙", 1, 1), Example("丙", "丁", 0, 2)]

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (("chnsentcorp", "train"), "did you mean chnsenticorp"),
            (("chnsenticorp", "trian"), "Invalid split"),
            (("chnsenticorp", "train", "sentence"), "its fields are text, label, qid"),
            (("lcqmc", "test"), "Downloading failed"),
        ],
    )
    def test_mistakes(self, arguments, what):
        with pytest.raises(InputError) as error:
            read_paddlenlp(*arguments)
        assert what in str(error.value) and error.value.remedy
