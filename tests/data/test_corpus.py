"""The general corpus: which files, which lines, which rows, and when it is built again."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from paddle_ernie_tiny.data import corpus as module
from paddle_ernie_tiny.data.corpus import TextCorpus, corpus_files, corpus_fingerprint, prepare_corpus, read_lines
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CLS, SEP = 2, 3
NUMBERS = [f"n{number}" for number in range(1000)]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer([*SPECIALS, *"我们喜欢北京", "un", "##able", *NUMBERS])


@pytest.fixture
def texts(tmp_path):
    """Two files of 200 and 100 lines, each line its own token."""
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.txt").write_text("\n".join(NUMBERS[:200]) + "\n")
    (folder / "deep" / "a.txt").write_text("\n".join(NUMBERS[200:300]))
    (folder / "notes.md").write_text("not text")
    return folder


def rows(view):
    return [view[index]["input_ids"].tolist() for index in range(len(view))]


class TestFiles:
    def test_a_folder_a_glob_and_a_file(self, texts):
        both = [texts / "b.txt", texts / "deep" / "a.txt"]
        assert corpus_files(texts) == both
        assert corpus_files(f"{texts}/**/*.txt") == both
        assert corpus_files(f"{texts}/*.txt") == both[:1]
        assert corpus_files(texts / "notes.md") == [texts / "notes.md"]

    def test_linked_folders_are_followed_each_once(self, tmp_path):
        corpus, disk = tmp_path / "corpus", tmp_path / "disk2"
        for folder, text in ((corpus, "第一份文本"), (disk, "第二份文本")):
            folder.mkdir()
            (folder / "a.txt").write_text(f"{text}\n", encoding="utf-8")
        (corpus / "more").symlink_to(disk)
        (disk / "back").symlink_to(corpus)
        assert list(read_lines(corpus)) == ["第一份文本", "第二份文本"]

    @pytest.mark.parametrize(
        ("pattern", "what"),
        [("*.text", "files that match this pattern"), ("nowhere", "files of this name")],
    )
    def test_nothing_there_says_what_is(self, texts, pattern, what):
        with pytest.raises(InputError) as error:
            corpus_files(texts / pattern)
        assert what in str(error.value) and "b.txt, deep/, notes.md" in str(error.value)

    def test_a_folder_without_text_files(self, texts):
        (texts / "b.txt").unlink()
        (texts / "deep" / "a.txt").unlink()
        with pytest.raises(InputError, match=r"no \*.txt files in or below it"):
            corpus_files(texts)

    def test_an_empty_corpus(self, tmp_path):
        (tmp_path / "a.txt").touch()
        with pytest.raises(InputError, match="the corpus is empty"):
            corpus_files(tmp_path)

    def test_the_fingerprint_is_of_contents_and_not_of_places(self, texts, tmp_path):
        before = corpus_fingerprint(texts)
        os.rename(texts, tmp_path / "moved")
        assert corpus_fingerprint(tmp_path / "moved") == before
        (tmp_path / "moved" / "b.txt").write_text("other")
        assert corpus_fingerprint(tmp_path / "moved") != before


class TestLines:
    def test_blank_lines_marks_and_line_ends(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("\ufeff一\r\n\r\n \t\n二\u2028三\n四".encode())
        assert list(read_lines(tmp_path)) == ["一", "二\u2028三", "四"]

    def test_undecodable_bytes(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("好\n".encode() * 2 + b"x\xff\n")
        with pytest.raises(InputError, match=r"a.txt:3: not UTF-8 text, near b'x\\xff"):
            list(read_lines(tmp_path))
        (tmp_path / "a.txt").write_bytes("好\n好".encode()[:-1])
        with pytest.raises(InputError, match=r"a.txt:2"):
            list(read_lines(tmp_path))

    @pytest.mark.parametrize("size", [4, 5, 6, 7, 64])
    def test_a_very_long_line_comes_in_pieces(self, tmp_path, monkeypatch, size):
        monkeypatch.setattr(module, "_LINE_BYTES", size)
        (tmp_path / "a.txt").write_text("我们喜欢北京😀好\n短\n", encoding="utf-8")
        lines = list(read_lines(tmp_path))
        assert "".join(lines) == "我们喜欢北京😀好短" and lines[-1] == "短"


class TestRows:
    def test_train_and_held_out_are_all_lines_once(self, texts, tokenizer, tmp_path):
        corpus = prepare_corpus(texts, tokenizer, 16, tmp_path / "out", held_out=10)
        train, held_out = rows(corpus.train), rows(corpus.held_out)
        expected = [[CLS, token, SEP] for (token,) in tokenizer.encode_plain(NUMBERS[:300])]
        assert (len(train), len(held_out)) == (290, 10)
        assert sorted(train + held_out) == sorted(expected)
        assert train == [row for row in expected if row not in held_out]
        assert corpus.train[-1]["input_ids"].tolist() == train[-1]
        with pytest.raises(IndexError):
            corpus.train[290]
        with pytest.raises(IndexError):
            corpus.held_out[10]

    def test_counts(self, texts, tokenizer, tmp_path):
        meta = prepare_corpus(texts, tokenizer, 16, tmp_path / "out").meta
        assert (meta["files"], meta["lines"], meta["sequences"], meta["tokens"]) == (2, 300, 300, 900)

    def test_at_most_one_row_in_twenty_is_held_out(self, texts, tokenizer, tmp_path):
        assert len(prepare_corpus(texts, tokenizer, 16, tmp_path / "out").held_out) == 15

    def test_the_seed_chooses_the_held_out_rows(self, texts, tokenizer, tmp_path):
        drawn = [
            rows(prepare_corpus(texts, tokenizer, 16, tmp_path / name, seed=seed).held_out)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_long_lines_become_several_rows(self, tokenizer, tmp_path):
        (tmp_path / "a.txt").write_text(" ".join(NUMBERS[:10]) + "\n\u200b\nn10\n")
        corpus = prepare_corpus(tmp_path / "a.txt", tokenizer, 6, tmp_path / "out")
        ids = [token for (token,) in tokenizer.encode_plain(NUMBERS[:11])]
        pieces = [ids[:4], ids[4:8], ids[8:10], ids[10:]]
        assert rows(corpus.train) == [[CLS, *piece, SEP] for piece in pieces]
        assert corpus.train.lengths.tolist() == [6, 6, 4, 3]
        assert corpus.train[0]["input_ids"].dtype == np.int64

    def test_lengths_fit_the_rows(self, texts, tokenizer, tmp_path):
        (texts / "c.txt").write_text("".join(" ".join(NUMBERS[:n]) + "\n" for n in range(1, 80)))
        corpus = prepare_corpus(texts, tokenizer, 12, tmp_path / "out")
        for view in (corpus.train, corpus.held_out):
            assert view.lengths.tolist() == [len(row) for row in rows(view)]

    def test_a_corpus_can_be_pickled(self, texts, tokenizer, tmp_path):
        corpus = prepare_corpus(texts, tokenizer, 16, tmp_path / "out")
        before = rows(corpus.train)
        dumped = pickle.dumps(corpus.train)
        assert rows(pickle.loads(dumped)) == before and len(dumped) < 20_000

    def test_several_processes_write_the_same_files(self, tokenizer, texts, tmp_path):
        for processes in (1, 2):
            prepare_corpus(texts, tokenizer, 16, tmp_path / str(processes), num_proc=processes)
        for name in ("tokens.bin", "ends.bin"):
            assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()

    @pytest.mark.parametrize("num_proc", [None, 2])
    def test_word_boundaries(self, tokenizer, tmp_path, num_proc):
        pytest.importorskip("jieba")
        (tmp_path / "a.txt").write_text("我们喜欢 北京，unable UNABLE\n北京" + "我们" * 3, encoding="utf-8")
        corpus = prepare_corpus(
            tmp_path / "a.txt", tokenizer, 16, tmp_path / "out", word_boundaries=True, num_proc=num_proc
        )
        first, second = corpus.train[0], corpus.train[1]
        marked = [
            (tokenizer.tokens[token], bool(start))
            for token, start in zip(first["input_ids"], first["word_starts"], strict=True)
        ]
        assert marked == [
            ("[CLS]", True),
            ("我", True),
            ("们", False),
            ("喜", True),
            ("欢", False),
            ("北", True),
            ("京", False),
            ("[UNK]", True),
            ("un", True),
            ("##able", False),
            ("un", True),
            ("##able", False),
            ("[SEP]", True),
        ]
        assert second["word_starts"].tolist() == [True, *[True, False] * 4, True]

    def test_a_row_cut_inside_a_word_starts_one(self, tokenizer, tmp_path):
        pytest.importorskip("jieba")
        (tmp_path / "a.txt").write_text("我们喜欢", encoding="utf-8")
        corpus = prepare_corpus(tmp_path / "a.txt", tokenizer, 5, tmp_path / "out", word_boundaries=True)
        assert corpus.train[1]["word_starts"].tolist() == [True, True, True]


class TestReuse:
    def stamp(self, folder):
        return (folder / "meta.json").stat().st_ino

    def test_reused_when_text_and_settings_are_the_same(self, texts, tokenizer, tmp_path):
        out = tmp_path / "out"
        prepare_corpus(texts, tokenizer, 16, out)
        before = self.stamp(out)
        prepare_corpus(f"{texts}/**/*.txt", tokenizer, 16, out)
        assert self.stamp(out) == before

    @pytest.mark.parametrize("change", ["max_length", "seed", "held_out", "tokenizer", "text", "damage", "cut"])
    def test_built_again_when_anything_differs(self, texts, tokenizer, tmp_path, change):
        out, settings = tmp_path / "out", {"max_length": 16, "seed": 1, "held_out": 5}
        prepare_corpus(texts, tokenizer, out_dir=out, **settings)
        before = self.stamp(out)
        keep = os.open(out / "meta.json", os.O_RDONLY)  # so that its inode is not given out again
        if change in settings:
            settings[change] += 1
        elif change == "tokenizer":
            tokenizer = WordPieceTokenizer(tokenizer.tokens, lowercase=False)
        elif change == "text":
            (texts / "b.txt").write_text("n1\n" * 250)
        elif change == "damage":
            (out / "meta.json").write_text("{")
        elif change == "cut":
            os.truncate(out / "tokens.bin", 100)
        corpus = prepare_corpus(texts, tokenizer, out_dir=out, **settings)
        os.close(keep)
        assert self.stamp(out) != before
        assert len(corpus.train) + len(corpus.held_out) == (350 if change == "text" else 300)

    def test_an_error_leaves_the_old_corpus_and_no_rubbish(self, texts, tokenizer, tmp_path):
        out = tmp_path / "run" / "out"
        prepare_corpus(texts, tokenizer, 16, out)
        (texts / "b.txt").write_bytes(b"\xff")
        with pytest.raises(InputError, match="b.txt:1"):
            prepare_corpus(texts, tokenizer, 16, out)
        assert [path.name for path in out.parent.iterdir()] == ["out"]
        assert len(TextCorpus(out).train) == 285

    def test_what_a_killed_process_left_is_cleared(self, texts, tokenizer, tmp_path):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        left = tmp_path / "run" / f".out.{os.uname().nodename}.{gone.pid}.tmp"
        left.mkdir(parents=True)
        other = left.with_name(f".out.{os.uname().nodename}.{os.getppid()}.tmp")
        other.mkdir()
        prepare_corpus(texts, tokenizer, 16, tmp_path / "run" / "out")
        assert not left.exists() and other.exists()

    def test_other_files_are_never_deleted(self, texts, tokenizer, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        (out / "thesis.doc").touch()
        with pytest.raises(InputError, match=r"holds other files: thesis.doc"):
            prepare_corpus(texts, tokenizer, 16, out)
        assert (out / "thesis.doc").exists()

    def test_what_is_left_of_an_own_corpus_is_replaced(self, texts, tokenizer, tmp_path):
        out = tmp_path / "out"
        prepare_corpus(texts, tokenizer, 16, out)
        (out / "meta.json").unlink()
        assert len(prepare_corpus(texts, tokenizer, 16, out).train) == 285

    def test_only_blank_text(self, tokenizer, tmp_path):
        (tmp_path / "a.txt").write_text(" \n\n")
        with pytest.raises(InputError, match="holds no text"):
            prepare_corpus(tmp_path / "a.txt", tokenizer, 16, tmp_path / "out")

    def test_progress_counts_bytes(self, texts, tokenizer, tmp_path):
        seen = []
        prepare_corpus(texts, tokenizer, 16, tmp_path / "out", progress=seen.append)
        assert sum(seen) == sum(len(line.encode()) + 1 for line in read_lines(texts))


def test_memory_does_not_grow_with_the_corpus(tmp_path, tokenizer):
    """Ten times the text (8 MB, and 2 M tokens) needs next to no more memory."""
    tokenizer.save(tmp_path / "tokenizer")
    line = " ".join(NUMBERS[:40])
    code = (
        "import sys, resource; from paddle_ernie_tiny.data.corpus import prepare_corpus;"
        "from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer as T;"
        "t = T.from_folder(sys.argv[1] + '/tokenizer');"
        "prepare_corpus(sys.argv[1] + '/small.txt', t, 64, sys.argv[1] + '/a');"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "c = prepare_corpus(sys.argv[1] + '/large.txt', t, 64, sys.argv[1] + '/b');"
        "print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(c.train))"
    )
    (tmp_path / "small.txt").write_text(f"{line}\n" * 5_000)
    (tmp_path / "large.txt").write_text(f"{line}\n" * 50_000)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after, sequences = map(int, done.stdout.split())
    assert sequences == 50_000 - 512
    assert after - before < 12_000, "KiB more for ten times the text"


def test_meta_is_plain_json(texts, tokenizer, tmp_path):
    prepare_corpus(texts, tokenizer, 16, tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert {"fingerprint", "lines", "sequences", "tokens", "files", "held_out_rows"} <= set(meta)
