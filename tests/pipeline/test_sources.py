"""A file that changes while a run is at work is noticed before the next step uses it."""

import os

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.pipeline.sources import Sources

from ..e2e.conftest import tiny_config, write_data


@pytest.fixture
def sources(tmp_path, project_root):
    write_data(tmp_path, project_root / "examples" / "data" / "demo")
    return Sources(load_config(None, (), tiny_config(tmp_path)))


def test_a_file_that_is_written_again_with_the_same_content_has_not_changed(sources, tmp_path):
    file = tmp_path / "train.tsv"
    file.write_bytes(file.read_bytes())
    os.utime(file, (1, 1))
    sources.require_unchanged()


@pytest.mark.parametrize("name", ["train.tsv", "dev.tsv", "test.tsv", "general/part.txt"])
def test_another_content_stops_the_run(sources, tmp_path, name):
    with open(tmp_path / name, "ab") as file:
        file.write(b"more\n")
    with pytest.raises(InputError, match="changed while the run was at work") as caught:
        sources.require_unchanged()
    assert caught.value.where == str(tmp_path / name) and "run the same command again" in caught.value.remedy


def test_the_code_of_extensions_is_among_them(tmp_path):
    (tmp_path / "terms.py").write_text("WEIGHT = 1")
    changes = tiny_config(tmp_path) | {"extensions": [str(tmp_path / "terms.py"), "json"]}
    sources = Sources(load_config(None, (), changes))
    assert str(tmp_path / "terms.py") in sources.sums and "json" not in sources.sums
    (tmp_path / "terms.py").write_text("WEIGHT = 2")
    with pytest.raises(InputError, match="changed while the run was at work"):
        sources.require_unchanged()


def test_files_that_come_and_go_are_noticed(sources, tmp_path):
    (tmp_path / "general" / "more.txt").write_text("more")
    with pytest.raises(InputError, match=r"more\.txt"):
        sources.require_unchanged()
    (tmp_path / "general" / "more.txt").unlink()
    sources.require_unchanged()
    (tmp_path / "test.tsv").unlink()
    with pytest.raises(InputError, match=r"test\.tsv"):
        sources.require_unchanged()
