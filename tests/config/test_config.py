"""Configuration: every YAML loads, every mistake is named with its path, value and remedy, all at once."""

import pytest
import yaml

from paddle_ernie_tiny.config import TrainingSettings, load_config
from paddle_ernie_tiny.config.load import apply_override, read_mapping
from paddle_ernie_tiny.config.strict_yaml import parse_yaml
from paddle_ernie_tiny.errors import InputError, InputErrors

MINIMAL = """
output_dir: runs/x
task: {name: t, labels: [a, b]}
data: {train: train.tsv, dev: dev.tsv}
teacher: {model: some-model, finetune: {max_steps: 5}}
stages:
  - {stage: task_specific, training: {max_steps: 5}}
"""


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def load_changed(path, **changes):
    raw = yaml.safe_load(MINIMAL)
    raw.update(changes)
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return load_config(path)


def test_every_shipped_configuration_loads(project_root):
    files = sorted((project_root / "configs").rglob("*.yaml"))
    runs = [
        file for file in files if file.parent.name != "base" and not {"variants", "budget"} & set(read_mapping(file))
    ]
    assert len(runs) > 20, "studies, which tests/study loads, and bases are few"
    for file in runs:
        load_config(file)


def test_defaults_are_the_papers_student(config_file):
    student = load_config(config_file).student
    shape = (
        student.num_hidden_layers,
        student.hidden_size,
        student.num_attention_heads,
        student.intermediate_size,
    )
    assert shape == (4, 312, 12, 1200)


def test_all_errors_come_at_once_with_path_value_and_remedy(config_file):
    with pytest.raises(InputErrors) as caught:
        load_config(config_file, ["sed=1", "data.colums.text=0", "teacher.finetune.max_steps=abc", "task.labels=[x]"])
    text = str(caught.value)
    assert len(caught.value.errors) == 4
    assert "sed: unknown key" in text and "did you mean seed?" in text
    assert "data.colums: unknown key" in text and "did you mean columns?" in text
    assert "teacher.finetune.max_steps" in text and "'abc'" in text
    assert "at least two labels" in text


def test_a_key_of_another_section_and_a_source_left_from_the_base_are_named(config_file):
    with pytest.raises(InputErrors) as caught:
        load_config(config_file, ["task.label_aliases={a: b}"])
    assert "task.label_aliases: unknown key" in str(caught.value)
    assert "did you mean data.label_aliases?" in str(caught.value)
    with pytest.raises(InputErrors, match="with files set data.dataset to null"):
        load_config(config_file, ["data.dataset=chnsenticorp"])


def test_labels_may_be_written_as_whole_numbers(config_file):
    config = load_config(config_file, ["task.labels=[0, 1]", "data.label_aliases={100: 1, -1: 0, x: 1}"])
    assert config.task.labels == ["0", "1"]
    assert config.data.label_aliases == {"100": "1", "-1": "0", "x": "1"}
    for override in ("task.labels=[yes, no]", "data.label_aliases={yes: b, no: a}", "data.label_aliases={1: yes}"):
        with pytest.raises(InputErrors, match="YAML reads yes, no, .* write such a name in quotes"):
            load_config(config_file, [override])
    with pytest.raises(InputErrors, match="label_aliases"):
        load_config(config_file, ["data.label_aliases={1.0: a}"])


def test_overrides_reach_into_lists_by_position_and_by_stage_name(config_file):
    config = load_config(config_file, ["stages.0.training.max_steps=7", "seed=3"])
    assert (config.stages[0].training.max_steps, config.seed) == (7, 3)
    config = load_config(config_file, ["stages.task_specific.training.learning_rate=1e-4"])
    assert config.stages[0].training.learning_rate == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2]\n? [b]\n: c\n", "a key is text"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 2021-13-45\n", "not valid YAML: month must be in"),
        ("task: {labels: [010, 011]}", "YAML reads such a number in base 8"),
        ("task: {labels: ['010', 12:30]}", "or 60; write it in quotes"),
        ("a: !!bool maybe\n", "not valid YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ('a: "b\\0c"\n', "a NUL character in a value"),
        ("a: &a [*a]\n", "more than 100000 values"),
        (
            "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
            "100000",
        ),
    ],
)
def test_text_that_is_no_configuration_is_refused_at_its_place(config_file, text, message):
    config_file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as raised:
        load_config(config_file)
    assert str(config_file) in str(raised.value)


def test_of_two_ways_to_give_a_length_an_override_wins(config_file):
    changes = ["baseline.max_steps=3", "baseline.num_train_epochs=2", "stages.0.training.num_train_epochs=2"]
    config = load_config(config_file, changes)
    for changed in (config.stages[0].training, config.baseline):
        assert (changed.max_steps, changed.num_train_epochs) == (None, 2.0)


def test_what_changes_no_weight_is_not_decisive():
    plain = TrainingSettings(max_steps=5)
    assert plain.decisive() == TrainingSettings(max_steps=5, logging_steps=7, per_device_eval_batch_size=1).decisive()
    assert plain.decisive() != TrainingSettings(max_steps=5, save_steps=2).decisive(), "it chooses the best model"


def test_a_stage_of_the_base_takes_only_a_mapping(config_file):
    over = config_file.with_name("over.yaml")
    over.write_text(f"extends: {config_file.name}\nstages: {{task_specific: }}\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a mapping: None") as raised:
        load_config(over)
    assert "stages.task_specific" in str(raised.value)


def test_an_override_keeps_its_hash_sign_in_quotes_only(config_file):
    assert load_config(config_file, ["data.train='a #1.tsv'"]).data.train == "a #1.tsv"
    assert load_config(config_file, ["data.train=a#1.tsv"]).data.train == "a#1.tsv"
    for lost in ("data.train=a #1.tsv", "seed=#3", "task.labels=[a, b] # two"):
        with pytest.raises(InputError, match="put the value in quotes"):
            load_config(config_file, [lost])


@pytest.mark.parametrize("override", ["seed", "=3", "stages.9.training.max_steps=1", "seed.deeper=1"])
def test_broken_overrides_are_refused(config_file, override):
    with pytest.raises(InputError):
        load_config(config_file, [override])


def test_a_stage_objective_changes_only_what_it_names(config_file):
    config = load_changed(
        config_file,
        objective={"attention": {"loss": "mse"}, "hidden": {"weight": 0.5}},
        stages=[
            {"stage": "task_specific", "training": {"max_steps": 5}, "objective": {"hidden": {"weight": 2}}},
        ],
    )
    objective = config.stage_objective(0)
    assert (objective.attention.loss, objective.hidden.weight) == ("mse", 2.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"train": "a"}}, "hold rows out of train"),
        ({"data": {"train": "a", "dev": "b", "dev_from_train": 0.1}}, "not both"),
        (
            {"teacher": {"model": "m", "pretrain": {"shape": {}, "training": {"max_steps": 1}}}},
            "either model",
        ),
        ({"student": {"hidden_size": 100, "num_attention_heads": 12}}, "not a multiple"),
        ({"stages": [{"stage": "general", "training": {"max_steps": 1}}]}, "needs general_corpus.path"),
        (
            {"stages": [{"stage": "task_adaptive", "training": {"max_steps": 1}}]},
            "last stage must be task_specific",
        ),
        ({"objective": {"layer_map": [1, 2]}}, "layer_map names 2 teacher layers"),
        ({"baseline": {"max_steps": 1, "num_train_epochs": 1}}, "not both"),
        ({"task": {"name": "t", "long_text": "middle"}}, "'truncate', 'head_tail' or 'windows'"),
        (
            {"task": {"name": "t", "kind": "token_classification", "long_text": "truncate"}},
            "every word of a token_classification task has a tag: leave long_text out",
        ),
        ({"task": {"name": "t", "labels": ["a", "b", "c"], "metric": "f1"}}, "metric f1 is for two labels"),
        ({"seed": True}, "seed"),
        ({"seed": 2**32}, "less than 4294967296"),
        ({"baseline": {"max_steps": 1, "learning_rate": float("inf")}}, "finite number"),
        ({"baseline": {"max_steps": 10**26}}, "less than 2147483648"),
        ({"baseline": {"max_steps": 1, "weight_decay": float("nan")}}, "finite number"),
        ({"task": None}, "task"),
        ({"task": {"name": "lcqmc"}, "data": {"train": "a", "dev": "b", "columns": ["a"]}}, "columns"),
        ({"device": "x" * 10_000}, r"\.\.\. \(\d+ characters\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(config_file, changes, message):
    with pytest.raises(InputErrors, match=message):
        load_changed(config_file, **changes)


def test_yaml_mistakes_name_line_and_column(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("seed: 1\nseed: 2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken.yaml:2:1.*given twice"):
        load_config(path)
    path.write_text("task: [1,\n", encoding="utf-8")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &a {x: 1, y: {z: 2}}\nb: {<<: *a, x: 3}", {"a": {"x": 1, "y": {"z": 2}}, "b": {"x": 3, "y": {"z": 2}}}),
        ("a: &a {x: 1}\nb: {x: 3, <<: *a}", {"a": {"x": 1}, "b": {"x": 3}}),
        (
            "a: [&a {x: 1}, &b {x: 2, y: 2}]\nb: {<<: [*a, *b]}",
            {"a": [{"x": 1}, {"x": 2, "y": 2}], "b": {"x": 1, "y": 2}},
        ),
        (
            "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}",
            {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 2}},
        ),
        ("labels: [<, =, '>', <<]", {"labels": ["<", "=", ">", "<<"]}),
    ],
)
def test_merge_keys_and_signs_of_yaml(text, value):
    assert parse_yaml(text, "run.yaml") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a {x: 1}\nb: {<<: *a, <<: *a}", "run.yaml:2:13: .*'<<' is given twice"),
        ("b: {<<: 3}", "run.yaml:1:9: .*<< takes a mapping or a list of mappings"),
        ("b: {<<: [1]}", "run.yaml:1:9: .*<< takes a mapping"),
        ("b: {<<: {x: 1, x: 2}}", "run.yaml:1:16: .*'x' is given twice"),
        ("a: &a {<<: *a}", "more than 100000 values"),
    ],
)
def test_merges_that_are_none_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_yaml(text, "run.yaml")


def test_a_missing_file_names_the_nearest_one(config_file):
    with pytest.raises(InputError, match="did you mean .*run.yaml"):
        load_config(config_file.with_name("rum.yaml"))


def test_a_home_is_written_out_in_every_path(config_file, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = load_changed(
        config_file,
        output_dir="~/runs/x",
        data={"train": "~/train.tsv", "dev": "~/dev.tsv", "test": "~/test.tsv", "more_tests": {"hard": "~/hard.tsv"}},
        general_corpus={"path": "~/corpus/*.txt"},
        teacher={"model": "~/teacher", "finetune": {"max_steps": 5}},
        student={"init": {"method": "folder", "folder": "~/student"}},
        augmentation={"word_vectors": "~/vectors.txt"},
        signals_folder="~/signals",
    )
    data, student = config.data, config.student.init
    paths = [config.output_dir, data.train, data.dev, data.test, data.more_tests["hard"], config.general_corpus.path]
    paths += [config.teacher.model, student.folder, config.augmentation.word_vectors, config.signals_folder]
    assert all(path.startswith("/home/me/") for path in paths), paths
    config_file.rename(config_file.with_name("base.yaml"))
    monkeypatch.setenv("HOME", str(config_file.parent))
    config_file.write_text("extends: ~/base.yaml\ntask: {name: '~'}", encoding="utf-8")
    changed = load_config("~/run.yaml", ["output_dir=~/runs/y"])
    assert changed.output_dir == f"{config_file.parent}/runs/y" and changed.task.name == "~"


def test_checkpoints_by_time_are_no_part_of_what_decides(config_file):
    config = load_changed(config_file, save_minutes=0.5)
    assert config.save_minutes == 0.5 and load_config(config_file, ["save_minutes=null"]).save_minutes is None
    assert "save_minutes" not in config.stages[0].training.decisive()
    with pytest.raises(InputErrors, match="save_minutes"):
        load_config(config_file, ["save_minutes=0"])


@pytest.mark.parametrize("how", ["extends", "override", "section", "keywords"])
def test_a_model_to_start_from_brings_its_own_sizes(config_file, how):
    """Those of the base give way to it; sizes that are given with it stay, and are compared with the model's."""
    config_file.write_text(MINIMAL + "student: {hidden_size: 312, num_hidden_layers: 4}\n", encoding="utf-8")
    over, overrides, sections = config_file, [], None
    if how == "extends":
        over = config_file.with_name("over.yaml")
        over.write_text("extends: run.yaml\nstudent: {init: {folder: small}, num_hidden_layers: 6}\n", encoding="utf-8")
    elif how == "keywords":
        sections = {"student": {"init": {"folder": "small"}, "num_hidden_layers": 6}}
    else:
        init = "student.init.folder=small" if how == "override" else "student.init={folder: small}"
        overrides = [init, "student.num_hidden_layers=6"]
    student = load_config(over, overrides, sections).student
    assert student.init.method == "folder" and not student.sized
    assert student.model_fields_set == {"init", "num_hidden_layers"} and student.num_hidden_layers == 6
    if overrides:  # in any order
        more = "student.init.layers=top"
        for order in (overrides[::-1], [*overrides, more], [*overrides[::-1], more]):
            again = load_config(over, order).student
            assert again.model_fields_set == student.model_fields_set and again.num_hidden_layers == 6


@pytest.mark.parametrize("over", ["extends", "override"])
def test_a_model_to_start_from_takes_the_place_of_the_base_s_start(config_file, over):
    config_file.write_text(MINIMAL + "student: {init: {method: teacher_narrowed, layers: top}}\n", encoding="utf-8")
    file = config_file.with_name("over.yaml")
    file.write_text("extends: run.yaml\nstudent: {init: {folder: small}}\n", encoding="utf-8")
    student = load_config(file) if over == "extends" else load_config(config_file, ["student.init.folder=small"])
    start = student.student.init
    assert (start.method, start.folder, start.layers) == ("folder", "small", "top")
    with pytest.raises(InputErrors, match="belong together"):
        load_config(config_file, ["student.init.method=random", "student.init.folder=small"])


def test_another_method_and_a_folder_contradict_each_other(config_file):
    with pytest.raises(InputErrors, match="method: folder and folder: NAME_OR_PATH belong together"):
        load_config(config_file, ["student.init={method: random, folder: small}"])


def test_an_override_below_one_alias_is_not_for_the_others(config_file):
    config_file.write_text("tasks: {a: &a {data: {train_limit: 50}}, b: *a}", encoding="utf-8")
    raw = read_mapping(config_file)
    apply_override(raw, "tasks.a.data.train_limit=7")
    assert raw == {"tasks": {"a": {"data": {"train_limit": 7}}, "b": {"data": {"train_limit": 50}}}}
