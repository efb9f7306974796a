"""The data of the examples for sentence vectors: made again byte for byte, with known rules; its configuration."""

import sys
from pathlib import Path

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.splits import load_task_data

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import help_centre  # noqa: E402

COMMITTED = EXAMPLES / "own_task" / "data" / "help_centre"


def rows(name):
    return [tuple(line.split("\t")) for line in (COMMITTED / f"{name}.tsv").read_text("utf-8").splitlines()[1:]]


def test_regenerating_gives_the_committed_files_byte_for_byte(tmp_path):
    help_centre.write(tmp_path, help_centre.build())
    names = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.*"))
    assert names == sorted(p.relative_to(COMMITTED) for p in COMMITTED.rglob("*.*"))
    for name in names:
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes(), name


def test_questions_of_dev_and_test_are_asked_in_a_new_way():
    asked = {split: {question for question, _ in rows(f"search_{split}")} for split in ("train", "dev", "test")}
    assert [len(asked[split]) for split in asked] == [384, 48, 48]
    assert not asked["train"] & asked["dev"] and not asked["train"] & asked["test"] and not asked["dev"] & asked["test"]
    assert len({document for _, document in rows("search_train")}) == 96


def test_scores_and_margins_follow_the_rules():
    devices = sorted(help_centre.DEVICES, key=len, reverse=True)
    for one, other, score in rows("pairs_test"):
        same = next(d for d in devices if d in one) == next(d for d in devices if d in other)
        assert (score in "51") == same
    for question, right, wrong, margin in rows("triples"):
        assert right != wrong and margin in ("0.5", "1") and (question, right) in set(rows("search_train"))


def test_the_configuration_reads_it(monkeypatch):
    monkeypatch.chdir(EXAMPLES.parent)
    config = load_config(EXAMPLES / "own_task" / "search.yaml")
    data = load_task_data(config)
    assert config.task.kind == "embedding" and config.task.metric == "recall_at_1"
    assert [len(data.train), len(data.dev), len(data.test)] == [384, 48, 48]
