"""Built-in variants: what each changes in a checked run, and why some do not apply."""

import copy
from pathlib import Path

import pytest

from paddle_ernie_tiny.config import check_config
from paddle_ernie_tiny.config.load import read_mapping
from paddle_ernie_tiny.study.variants import DEFAULTS, VARIANTS, NotApplicable

ALL = ["general", "general_enhanced", "task_adaptive", "task_specific"]
SIZES = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
LAST = "stages.task_specific.objective"
# of each variant: the keys that differ from the base, and the variant's values
CHANGES = {
    "full": {},
    "no_general": {"stages": ALL[1:]},
    "no_general_enhanced": {"stages": ["general", "task_adaptive", "task_specific"]},
    "no_task_adaptive": {"stages": ["general", "general_enhanced", "task_specific"]},
    "no_soft_label": {f"{LAST}.soft_label.weight": 0.0},
    "no_hard_label": {f"{LAST}.hard_label.weight": 0.0},
    "no_latent": {f"{LAST}.{name}.weight": 0.0 for name in ("attention", "hidden", "embedding")},
    "general_task_specific": {"stages": ["general", "task_specific"]},
    "fine_tuned": {},
    "teacher_layers": {
        "student.hidden_size": 768,
        "student.num_attention_heads": 12,
        "student.intermediate_size": 3072,
        "student.init.method": "teacher_layers",
    },
}
FINE_TUNED = {"fine_tuned", "teacher_layers", "random"}


def mapping(base: str, root: Path) -> dict:
    """Of a run: the Chinese base with a task of the table, or the demo."""
    if base == "demo":
        return read_mapping(root / "configs" / "demo.yaml")
    raw = read_mapping(root / "configs" / "base" / "zh.yaml")
    return {**raw, "task": {"name": "lcqmc"}, "output_dir": "runs/lcqmc"}


def values(config) -> dict:
    """A checked run flat: value by dotted key, stages by their names; "stages" is the list of these.

    A stage without an objective of its own has the run's here, as in training.
    """

    def flat(value, place):
        if isinstance(value, dict) and value:
            return {k: v for name, inner in value.items() for k, v in flat(inner, f"{place}.{name}").items()}
        return {place[1:]: value}

    raw = config.model_dump(mode="json")
    stages = raw.pop("stages")
    for index, stage in enumerate(stages):
        stage["objective"] = config.stage_objective(index).model_dump(mode="json")
    named = flat({"stages": {stage["stage"]: stage for stage in stages}}, "")
    return {**flat(raw, ""), **named, "stages": [stage["stage"] for stage in stages]}


def changes(raw: dict, name: str, teacher: dict | None = None) -> dict:
    """The keys that a variant changes, in its checked run; stages that are left out count as `stages` alone."""
    base = values(check_config(copy.deepcopy(raw), "base"))
    own = values(check_config(VARIANTS[name].of(raw, teacher), name))
    left = set(base["stages"]) - set(own["stages"])
    gone = {key for key in base if key.startswith(("augmentation.", *(f"stages.{stage}." for stage in left)))}
    assert own.keys() >= base.keys() - gone - {"augmentation"}
    return {key: value for key, value in own.items() if key not in base or base[key] != value}


@pytest.mark.parametrize("base", ["zh", "demo"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_variant_changes_what_it_says_and_no_more(name, base, project_root):
    raw = mapping(base, project_root)
    before = copy.deepcopy(raw)
    found = changes(raw, name, SIZES)
    same = values(check_config(copy.deepcopy(raw), "base"))
    assert found == {key: value for key, value in CHANGES[name].items() if same[key] != value}
    assert raw == before, "the base itself stays as it is"
    assert VARIANTS[name].fine_tuned == (name in FINE_TUNED)


def test_every_variant_is_tested_here():
    assert CHANGES.keys() | {"random", "augmented", "not_augmented"} == VARIANTS.keys()
    assert set(DEFAULTS) == VARIANTS.keys() - {"teacher_layers", "random", "augmented", "not_augmented"}


def test_augmentation_is_added_or_taken_away(project_root):
    raw = mapping("demo", project_root)
    added = changes(raw, "augmented")
    assert added and all(key.startswith("augmentation.") for key in added)
    assert changes({**raw, "augmentation": {"copies_per_row": 2}}, "not_augmented") == {"augmentation": None}


def test_a_student_that_starts_from_the_teacher_can_start_at_random(project_root):
    raw = mapping("demo", project_root)
    raw["student"]["init"] = {"method": "teacher_embeddings"}
    assert changes(raw, "random") == {"student.init.method": "random"}
    assert VARIANTS["random"].fine_tuned


def test_a_term_whose_weight_only_grows_is_off_too(project_root):
    raw = mapping("demo", project_root)
    raw["stages"][-1]["objective"]["soft_label"] = {"weight": 0.0, "final_weight": 2.0}
    assert changes(raw, "no_soft_label") == {f"{LAST}.soft_label.final_weight": None}


def without(*stages):
    return lambda raw: {**raw, "stages": [stage for stage in raw["stages"] if stage["stage"] not in stages]}


def with_objective(**terms):
    def change(raw):
        *first, last = raw["stages"]
        return {**raw, "stages": [*first, {**last, "objective": {**last["objective"], **terms}}]}

    return change


OFF = {"weight": 0.0}


def without_teacher(raw):
    stage = {"stage": "task_specific", "training": raw["stages"][-1]["training"]}
    data = {**raw["data"], "columns": {"text": 0, "soft_labels": "soft"}}
    return {**raw, "teacher": None, "objective": {}, "stages": [stage], "data": data}


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("no_general", without("general"), "no stage general to leave out"),
        ("no_general_enhanced", without("general_enhanced"), "the stages general, task_adaptive, task_specific"),
        ("no_task_adaptive", without("task_adaptive"), "no stage task_adaptive to leave out"),
        ("general_task_specific", without("general_enhanced", "task_adaptive"), "no other stages to leave out"),
        ("general_task_specific", without("general"), "no stage general"),
        ("no_soft_label", with_objective(soft_label=OFF), "none of soft_label"),
        ("no_hard_label", with_objective(hard_label=OFF), "none of hard_label"),
        ("no_latent", with_objective(attention=OFF, hidden=OFF, embedding=OFF), "none of attention, hidden, embedding"),
        ("teacher_layers", lambda raw: raw, "the teacher's sizes are not known"),
        ("random", lambda raw: raw, "starts at random already"),
        ("random", lambda raw: {**raw, "student": {}}, "starts at random already"),
        ("augmented", lambda raw: {**raw, "augmentation": {}}, "augmented already"),
        ("augmented", without_teacher, "augmentation needs a teacher"),
        ("not_augmented", lambda raw: raw, "no augmentation"),
    ],
)
def test_a_variant_that_does_not_apply_says_why(name, change, why, project_root):
    raw = change(mapping("demo", project_root))
    check_config(copy.deepcopy(raw), "base")  # the base is a run all the same
    with pytest.raises(NotApplicable, match=why) as refused:
        VARIANTS[name].of(raw)
    assert refused.value.remedy and refused.value.exit_code == 2
