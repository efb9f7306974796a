"""Files and folders are whole or as they were; lines are read as UTF-8."""

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.files import (
    free_bytes,
    new_folder,
    read_json,
    require_replaceable,
    sha256,
    utf8_lines,
    write_json,
    write_text,
)


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "第一\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "第二" * 100_000 + "\ud800")
    assert path.read_bytes() == "第一\n".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"], "nothing half-written stays"


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "好\n")
    assert os.read(reader, 100) == "好\n".encode() and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # a disk in memory (of Linux)
        write_json(Path(folder, "new", "a.json"), [1])
        assert read_json(Path(folder, "new", "a.json")) == [1]
    write_text("/dev/null", "gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path):
    (tmp_path / "disk2").mkdir()
    link = tmp_path / "answers.jsonl"
    link.symlink_to(tmp_path / "disk2" / "answers.jsonl")
    write_text(link, "a")
    assert link.is_symlink() and (tmp_path / "disk2" / "answers.jsonl").read_text() == "a"


@pytest.mark.parametrize(("place", "what"), [("nowhere/a.txt", "no such folder"), (".", "this is a folder")])
def test_a_file_that_cannot_be_written_is_named(tmp_path, place, what):
    with pytest.raises(InputError, match=what) as raised:
        write_text(tmp_path / place, "a")
    assert str(tmp_path) in str(raised.value)


def test_sha256_is_of_the_bytes_in_their_order(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes("好".encode() * 1_000_000)
    second.write_bytes(b"x")
    assert sha256(first) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert sha256(first, second) == hashlib.sha256(first.read_bytes() + b"x").hexdigest()


def test_json_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"名": [1, None, np.float32(0.5)]})
    assert read_json(path) == {"名": [1, None, 0.5]}
    assert "名" in path.read_text(encoding="utf-8")


def test_json_that_is_not_whole_is_none(tmp_path):
    assert read_json(tmp_path / "a.json") is None
    for damaged in (b'{"a": ', b"\xff", b""):
        (tmp_path / "a.json").write_bytes(damaged)
        assert read_json(tmp_path / "a.json") is None


def test_free_bytes_are_of_the_nearest_folder_that_exists(tmp_path):
    free, folder = free_bytes(tmp_path / "a" / "b")
    assert free > 0 and folder == tmp_path


class TestLines:
    def lines(self, tmp_path, content, *block_bytes):
        (tmp_path / "a.txt").write_bytes(content)
        return list(utf8_lines(tmp_path / "a.txt", *block_bytes))

    def test_lines_end_at_line_feeds_and_keep_their_ends(self, tmp_path):
        content = "一\r\n\n二\u2028\x0b\x85三\r四".encode()
        assert self.lines(tmp_path, content) == [(1, "一\r\n"), (2, "\n"), (3, "二\u2028\x0b\x85三\r四")]
        assert self.lines(tmp_path, b"") == []

    def test_a_byte_order_mark_is_dropped_at_the_start_only(self, tmp_path):
        assert self.lines(tmp_path, "\ufeff一\ufeff\n\ufeff二".encode()) == [(1, "一\ufeff\n"), (2, "\ufeff二")]
        assert self.lines(tmp_path, "\ufeff".encode()) == []
        assert self.lines(tmp_path, "\ufeff\ufeff一".encode()) == [(1, "\ufeff一")]

    @pytest.mark.parametrize("size", range(1, 20))
    def test_a_long_line_comes_in_blocks_that_are_cut_between_characters(self, tmp_path, size):
        text = "\ufeff一a😀é\ufeff二\n\n三😀"
        found = self.lines(tmp_path, text.encode(), size)
        assert "".join(block for _, block in found) == text[1:]
        assert [number for number, _ in found] == sorted(number for number, _ in found)
        assert "".join(block for number, block in found if number == 1) == "一a😀é\ufeff二\n"
        assert {number for number, _ in found} == {1, 2, 3}
        assert all(0 < len(block.encode()) <= size + 3 for _, block in found)

    def test_a_bad_line_is_an_error_that_names_it_and_the_others_are_read(self, tmp_path):
        first, (number, error), last = self.lines(tmp_path, "一\n".encode() + b"abc\xff\xe5def\n" + "三".encode())
        assert (first, last) == ((1, "一\n"), (3, "三"))
        assert number == 2 and isinstance(error, InputError)
        assert str(error).startswith(f"{tmp_path}/a.txt:2: not UTF-8 text, near b'abc\\xff\\xe5def\\n'\n  remedy: save")
        assert "iconv" in error.remedy

    def test_gb18030_is_not_utf8(self, tmp_path):
        [(number, error)] = self.lines(tmp_path, "很好".encode("gb18030"))
        assert number == 1 and "not UTF-8" in error.what

    @pytest.mark.parametrize("size", [-1, *range(1, 12)])
    def test_a_file_that_ends_inside_a_character(self, tmp_path, size):
        *good, (number, error) = self.lines(tmp_path, "好\n一二😀".encode()[:-1], size)
        assert number == 2 and isinstance(error, InputError)
        assert "".join(block for _, block in good) in ("好\n", "好\n一", "好\n一二")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


class TestNewFolder:
    def test_the_whole_content_is_replaced_when_the_block_ends(self, tmp_path):
        out = fill(tmp_path / "out", marker="old", more="old")
        with new_folder(out, "marker") as folder:
            (folder / "marker").write_text("new")
            (folder / "other").write_text("new")
            assert content(out) == {"marker": "old", "more": "old"}
        assert content(out) == {"marker": "new", "other": "new"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_error_leaves_everything_as_it_was(self, tmp_path):
        out = fill(tmp_path / "out", marker="old")
        with pytest.raises(KeyboardInterrupt):
            with new_folder(out, "marker") as folder:
                (folder / "marker").write_text("half")
                raise KeyboardInterrupt
        assert content(out) == {"marker": "old"}
        with pytest.raises(ZeroDivisionError):
            with new_folder(tmp_path / "another"):
                raise ZeroDivisionError
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_new_or_an_empty_folder_needs_no_marker(self, tmp_path):
        for out in (tmp_path / "a" / "b", fill(tmp_path / "empty")):
            with new_folder(out) as folder:
                (folder / "x").write_text("new")
            assert content(out) == {"x": "new"}

    def test_a_folder_of_something_else_is_refused_before_the_block(self, tmp_path):
        out = fill(tmp_path / "out", thesis="years of work")
        for marker, what in (
            ("marker", "the folder is not empty and holds no marker"),
            (None, "the folder is not empty"),
        ):
            with pytest.raises(InputError) as error:
                with new_folder(out, marker):
                    raise AssertionError("the block has begun")
            assert (error.value.what, error.value.where) == (what, str(out)) and error.value.remedy
        (out / "marker").mkdir()
        with pytest.raises(InputError, match="holds no marker"):
            require_replaceable(out, "marker")
        assert [path.name for path in tmp_path.iterdir()] == ["out"] and (out / "thesis").exists()

    def test_a_file_is_refused(self, tmp_path):
        (tmp_path / "out").write_text("a file")
        with pytest.raises(InputError, match="this is a file, not a folder"):
            with new_folder(tmp_path / "out", "marker"):
                raise AssertionError("the block has begun")
        assert content(tmp_path) == {"out": "a file"}

    def test_neighbours_with_similar_names_stay(self, tmp_path):
        out = fill(tmp_path / "out", marker="old")
        mine = [fill(tmp_path / name, x="mine") for name in ("out.tmp", "out.old", ".out.tmp", "out.old.tmp")]
        with new_folder(out, "marker") as folder:
            (folder / "marker").write_text("new")
        assert all(content(neighbour) == {"x": "mine"} for neighbour in mine)

    def test_what_processes_that_have_ended_left_is_removed(self, tmp_path):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        host = os.uname().nodename
        dead, dead_old = (fill(tmp_path / f".out.{host}.{gone.pid}{end}", x="half") for end in (".tmp", ".old.tmp"))
        running, elsewhere = (
            fill(tmp_path / f".out.{name}.tmp", x="half") for name in (f"{host}.{os.getppid()}", "x.1")
        )
        with new_folder(tmp_path / "out"):
            assert not dead.exists() and not dead_old.exists()
        assert running.exists() and elsewhere.exists()

    def test_through_a_link_what_it_names_is_replaced(self, tmp_path):
        real = fill(tmp_path / "disk" / "real", marker="old")
        link = tmp_path / "out"
        link.symlink_to(real)
        with new_folder(link, "marker") as folder:
            (folder / "marker").write_text("new")
        assert link.is_symlink() and link.readlink() == real
        assert content(real) == {"marker": "new"}
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "marker", "out", "real"]

    def test_the_current_folder_keeps_its_place(self, tmp_path, monkeypatch):
        out = fill(tmp_path / "out", marker="old", more="old")
        fill(out / "deep", x="old")
        (out / "link").symlink_to(fill(tmp_path / "elsewhere", x="mine"))
        monkeypatch.chdir(out)
        with new_folder(Path("."), "marker") as folder:
            (folder / "marker").write_text("new")
            fill(folder / "inner", x="new")
        assert Path.cwd() == out and sorted(path.name for path in Path(".").iterdir()) == ["inner", "marker"]
        assert Path("marker").read_text() == "new" and content(Path("inner")) == {"x": "new"}
        assert content(tmp_path / "elsewhere") == {"x": "mine"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "out"]
