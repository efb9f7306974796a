"""The candidates of a space, and the run that trains each."""

from pathlib import Path

import pytest

from paddle_ernie_tiny.budget_search.search_settings import SearchSettings
from paddle_ernie_tiny.budget_search.space import CandidateStudent, candidates_of, check_base, general_stages, recipe
from paddle_ernie_tiny.config.load import read_mapping
from paddle_ernie_tiny.errors import InputError

pytestmark = pytest.mark.unit
TEACHER = {"num_hidden_layers": 4, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}


@pytest.fixture(scope="module")
def base(project_root):
    return read_mapping(project_root / "configs/demo.yaml")


def settings_with(**space) -> SearchSettings:
    return SearchSettings(output_dir="runs/s", base="demo.yaml", budget={"latency_ms": 5.0}, space=space)


def test_all_combinations_that_fit():
    settings = settings_with(
        num_hidden_layers=[1, 5], hidden_size=[64, 62], num_attention_heads=[4], ffn_ratio=[2.0, 4.0]
    )
    found, left_out = candidates_of(settings, TEACHER)
    assert [one.name for one in found] == ["1l-64h-4heads-128ffn", "1l-64h-4heads-256ffn"]
    assert left_out["1l-62h-4heads-124ffn"] == "4 heads do not divide the width 62"
    assert left_out["5l-64h-4heads-128ffn"] == "5 layers are more than the teacher's 4"


def test_without_layers_there_are_neither_heads_nor_ffn():
    settings = settings_with(num_hidden_layers=[0], hidden_size=[64], num_attention_heads=[2, 4], ffn_ratio=[2.0, 4.0])
    found, left_out = candidates_of(settings, TEACHER)
    assert [one.name for one in found] == ["0l-64h"] and not left_out


def test_exact_precision_and_full_vocabulary_come_first():
    space = {"num_hidden_layers": [1], "hidden_size": [64], "num_attention_heads": [4], "ffn_ratio": [2.0]}
    found, _ = candidates_of(settings_with(**space, precision=["int8", "fp32"], vocabulary=["used", "full"]), TEACHER)
    shape = "1l-64h-4heads-128ffn"
    assert [one.name for one in found] == [shape, f"{shape}-used", f"{shape}-int8", f"{shape}-used-int8"]
    assert {one.trained for one in found} == {shape}, "how it is exported changes no training"


def test_a_start_that_does_not_fit_is_left_out():
    space = {"num_hidden_layers": [2], "hidden_size": [128, 256], "num_attention_heads": [4], "ffn_ratio": [2.0, 4.0]}
    found, left_out = candidates_of(settings_with(**space, start=["teacher_layers", "teacher_embeddings"]), TEACHER)
    assert [one.name for one in found] == [
        "2l-128h-4heads-256ffn-teacher_embeddings",
        "2l-128h-4heads-512ffn-teacher_layers",
        "2l-128h-4heads-512ffn-teacher_embeddings",
    ]
    assert "wider than the teacher's embeddings, 128" in left_out["2l-256h-4heads-512ffn-teacher_embeddings"]
    assert "intermediate_size is 512" in left_out["2l-128h-4heads-256ffn-teacher_layers"]


def test_the_recipe_is_the_base_with_the_candidate(base):
    one = CandidateStudent(3, 96, 4, 192, "teacher_embeddings", "full", "int8")
    config = recipe(settings_with(), base, one, "runs/s/x", engine="openvino")
    assert config.student.shape.model_dump(include=set(one.sizes)) == one.sizes
    assert config.student.init.method == "teacher_embeddings"
    assert config.student.hidden_dropout_prob == 0.0, "what is no size stays"
    assert config.seed == 1 and config.output_dir == "runs/s/x"
    assert config.export.int8 is not None and config.export.engines == ["paddle", "openvino"]
    assert config.baseline is None and recipe(settings_with(), base, one, "x", baseline=True).baseline is not None
    assert general_stages(config) == 2 and len(config.stages) == 4


def test_vocabulary_and_precision_are_the_candidates_not_the_bases(base):
    given = {"prune_vocabulary": {"keep": 7}, "int8": {"calibration_rows": 50}}
    whole = recipe(settings_with(), {**base, "export": given}, CandidateStudent(1, 64, 4, 128), "x").export
    assert whole.prune_vocabulary is None and whole.int8 is None, "it was measured without both"
    smaller = CandidateStudent(1, 64, 4, 128, None, "used", "int8")
    export = recipe(settings_with(), {**base, "export": given}, smaller, "x").export
    assert export.prune_vocabulary.keep == 7 and export.int8.calibration_rows == 50, "how it is done is the base's"


def test_a_student_without_layers_has_the_last_stage_alone(base):
    config = recipe(settings_with(), base, CandidateStudent(0, 64, 1, 1), "runs/s/x")
    assert [stage.stage for stage in config.stages] == ["task_specific"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"students": {"a": {}}}, "students of its own"),
        ({"teacher": None}, "there is none"),
        ({"stages": [{"stage": "task_adaptive"}]}, "the last one task_specific"),
        ({"stages": [{"stage": "task_adaptive"}, {"stage": "general"}, {"stage": "task_specific"}]}, "order"),
        ({"objective": {"layer_map": [2, 4]}}, "layer_map"),
    ],
)
def test_a_base_that_cannot_be_searched_on(base, change, what):
    with pytest.raises(InputError) as raised:
        check_base({**base, **change}, "demo.yaml")
    assert what in str(raised.value)


def test_the_demo_can_be_searched_on(base, project_root: Path):
    check_base(base, "demo.yaml")
