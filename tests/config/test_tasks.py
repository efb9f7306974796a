"""The task table: every task has a configuration, and says what PaddleNLP's builders say."""

import pytest

from paddle_ernie_tiny.config import check_config, load_config
from paddle_ernie_tiny.config.load import TASKS
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.errors import InputErrors

from ..miniatures import ROWS_OF_A_BIG_TASK, install

NAMES = sorted(TASKS)


def test_every_task_has_a_configuration_and_the_other_way_round(project_root):
    files = {path.stem for path in (project_root / "configs").glob("*.yaml")}
    assert files == {*NAMES, "demo", "ablate-demo", "search-demo", "search-reviews"}


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_of_its_task(project_root, name):
    config = load_config(project_root / "configs" / f"{name}.yaml")
    assert config.task.name == name and config.output_dir == f"runs/{name}"
    assert config.task.labels == TASKS[name].task.get("labels")
    assert config.task.metric == TASKS[name].task["metric"] and config.task.kind == TASKS[name].task["kind"]
    assert config.data.dataset == TASKS[name].data["dataset"] and config.data.test == TASKS[name].data["test"]
    assert [stage.stage for stage in config.stages] == [
        "general",
        "general_enhanced",
        "task_adaptive",
        "task_specific",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_paddlenlp_s_builder_gives_what_the_table_says(project_root, name, tmp_path, monkeypatch):
    pytest.importorskip("paddlenlp.datasets", reason="needs PaddleNLP")
    install(name, monkeypatch, tmp_path)
    config = load_config(project_root / "configs" / f"{name}.yaml")
    data = load_task_data(config)
    expected = ROWS_OF_A_BIG_TASK.get(name, {"train": 60})["train"]
    assert len(data.train) + (len(data.dev) if name == "msra_ner" else 0) == expected
    assert len(data.test) == 24 and data.test_is_dev == (config.data.test is None)
    assert all(row.content for row in data.train)
    if data.kind.name == "regression":
        assert data.labels == ["score"] and all(0 <= row.label <= 5 for row in data.train)
    elif data.kind.name == "token_classification":
        tags = {data.labels[tag] for row in data.train for tag in row.tags}
        assert tags == {"O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"}
    elif data.kind.name == "reading":
        assert data.labels == ["start", "end"] and any("corrected" in note.what for note in data.notes)
        assert all(row.text_b.startswith(row.answers[0][0], row.answers[0][1]) for row in data.train)
    else:
        first = [data.labels[row.label] for row in data.train[: len(data.labels)]]
        assert first == config.task.labels, "ids stand for the names in the table's order"


def test_squad_s_second_version_has_unanswerable_questions(project_root, tmp_path, monkeypatch):
    install("squad", monkeypatch, tmp_path)
    overrides = ["data.source=paddlenlp", "data.train=train_v2", "data.dev=dev_v2"]
    data = load_task_data(load_config(project_root / "configs" / "squad.yaml", overrides))
    assert data.kind.settings.language == "en" and data.kind.settings.max_answer_tokens == 30
    assert [row.answers == () for row in data.train[:6]] == [False, False, True] * 2


def test_csl_s_keywords_are_joined(project_root, tmp_path, monkeypatch):
    install("csl", monkeypatch, tmp_path)
    data = load_task_data(load_config(project_root / "configs" / "csl.yaml"))
    assert " " in data.train[0].text_b


def test_mnli_scores_both_dev_splits(project_root, tmp_path, monkeypatch):
    install("mnli", monkeypatch, tmp_path)
    data = load_task_data(load_config(project_root / "configs" / "mnli.yaml"))
    assert len(data.more_tests["mismatched"]) == 24


def minimal(**more) -> dict:
    return {
        "output_dir": "x",
        "teacher": {"model": "y"},
        "stages": [{"stage": "task_specific", "training": {"max_steps": 1}}],
        **more,
    }


def test_a_known_name_fills_in_task_and_data():
    config = check_config(minimal(task={"name": "ocnli", "metric": "macro_f1"}), "x.yaml")
    assert config.task.labels == ["entailment", "contradiction", "neutral"], "from the table"
    assert config.task.metric == "macro_f1", "what the file says stands"
    assert (config.data.dataset, config.data.subset, config.data.columns.text_b) == ("clue", "ocnli", "sentence2")


def test_own_files_keep_the_labels_and_lay_out_their_columns():
    data = {"train": "a.tsv", "dev": "b.tsv", "columns": {"text": "q", "text_b": "t", "label": "y"}}
    config = check_config(minimal(task={"name": "xnli"}, data=data), "x.yaml")
    assert config.data.source == "files" and config.data.dataset is None and config.data.columns.text == "q"
    assert config.task.labels == ["contradiction", "entailment", "neutral"]
    assert config.data.label_aliases == {"contradictory": "contradiction"}


def test_an_unknown_name_without_data_suggests_the_nearest():
    with pytest.raises(InputErrors, match="did you mean task.name: lcqmc"):
        check_config(minimal(task={"name": "lcqcm"}), "x.yaml")
