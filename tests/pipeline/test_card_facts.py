"""What the card knows from names, and what it leaves out: no path, nothing that nobody said."""

from types import SimpleNamespace

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.pipeline.card_facts import _PATH, _card, _data, _origin, _student

OWN = ["data.train=/home/me/mine/train.tsv", "data.dev=dev.tsv", "data.test=null", "task.labels=[a,b]"]


def context(project_root, name, *overrides, student=""):
    config = load_config(project_root / "configs" / f"{name}.yaml", overrides)
    splits = {"train": range(7), "dev": range(3)}
    return SimpleNamespace(config=config, student=student, data=SimpleNamespace(splits=splits))


@pytest.mark.parametrize(
    ("name", "overrides", "language", "base", "datasets"),
    [
        ("tnews", [], "zh", "ernie-1.0-base-zh", ["clue"]),
        ("sst2", ["teacher.model=bert-base-uncased"], "en", "bert-base-uncased", ["glue"]),
        ("demo", [], None, None, []),
        ("demo", ["teacher.pretrain=null", "teacher.model=ernie-3.0-base-zh"], "zh", "ernie-3.0-base-zh", []),
        ("demo", ["teacher.pretrain=null", "teacher.model=bert-base-chinese"], "zh", "bert-base-chinese", []),
        ("demo", ["teacher.pretrain=null", "teacher.model=bert-base-frenzy"], None, "bert-base-frenzy", []),
        ("tnews", ["student.init.folder=ernie-3.0-nano-zh"], "zh", "ernie-3.0-nano-zh", ["clue"]),
        ("demo", ["student.init.folder=some-en-model"], "en", "some-en-model", []),
        ("demo", ["card={language: ja, base_model: a/b, datasets: [c/d]}"], "ja", "a/b", ["c/d"]),
    ],
)
def test_language_base_model_and_data_sets_are_known_from_names_or_given(
    project_root, name, overrides, language, base, datasets
):
    card = _card(context(project_root, name, *overrides))
    assert (card["language"], card["base_model"], card["datasets"]) == (language, base, datasets)
    assert card["license"] is None and card["name"] == load_config(project_root / f"configs/{name}.yaml").task.name


def test_of_folders_and_files_only_the_last_name_is_told(project_root, tmp_path):
    (tmp_path / "my-ernie-zh").mkdir()
    teacher = [f"teacher.model={tmp_path}/my-ernie-zh/", "teacher.pretrain=null", "teacher.finetune=null"]
    start = [f"student.init={{method: folder, folder: {tmp_path}/my-ernie-zh}}"]
    own = context(project_root, "demo", *OWN, *teacher, *start, f"general_corpus.path={tmp_path}/text/", student="s")
    assert _origin(own) == {"origin": "folder", "name": "my-ernie-zh", "finetuned": False}
    assert _student(own)["start"] == {"method": "folder", "name": "my-ernie-zh"}
    assert (
        _card(own)["base_model"] is None and _card(own)["language"] is None and _card(own)["name"] == "demo-sentiment-s"
    )
    data = _data(own)
    assert data["splits"] == {"train": {"name": "train.tsv", "rows": 7}, "dev": {"name": "dev.tsv", "rows": 3}}
    assert data["general_corpus"] == "text" and data["set"] == {"name": "demo-sentiment", "type": "demo-sentiment"}


def test_a_table_s_task_names_its_data_set(project_root):
    assert _data(context(project_root, "tnews"))["set"] == {"name": "tnews", "type": "clue", "config": "tnews"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 rows of /home/me/data/train.tsv repeat", "3 rows of train.tsv repeat"),
        ("'~/x/y' and ./a/b: bad; ../c", "'y' and b: bad; c"),
        ("12 tokens/s, 3 / 4, data.train", "12 tokens/s, 3 / 4, data.train"),
    ],
)
def test_sentences_lose_the_folders_of_paths(text, expected):
    assert _PATH.sub("", text) == expected
