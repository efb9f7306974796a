"""The file of a study: every mistake is refused before any work, with place, value and remedy."""

import copy

import pytest
import yaml
from typer.testing import CliRunner

from paddle_ernie_tiny.cli import app
from paddle_ernie_tiny.config.load import read_mapping
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.study.ablate import ablate, plan_jobs
from paddle_ernie_tiny.study.study_settings import load_study

SHAPE = {"num_hidden_layers": 4, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512}


@pytest.fixture
def study(tmp_path, project_root):
    """A function that writes a study of the demo with changes (None: without this key), and returns its file."""
    demo = read_mapping(project_root / "configs" / "demo.yaml")

    def write(changes=None, base=None):
        values = {"output_dir": str(tmp_path / "out"), "base": "base.yaml", "seeds": [1, 2]}
        values |= {"variants": ["full", "no_general", "fine_tuned"], **(changes or {})}
        values = {key: value for key, value in values.items() if value is not None}
        run = {**copy.deepcopy(demo), **(base or {})}
        for name, content in (("study", values), ("base", {k: v for k, v in run.items() if v is not None})):
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return tmp_path / "study.yaml"

    return write


def planned(file, *overrides):
    settings, base = load_study(file, overrides)
    return plan_jobs(settings, base, str(file))


def refused(file, *overrides) -> InputError:
    with pytest.raises(InputError) as error:
        ablate(file, overrides)
    assert not (file.parent / "out").exists(), "a mistake costs no work"
    assert error.value.exit_code == 2
    return error.value


# (changes of the study's file, what is said: place and value, then a part of the remedy)
MISTAKES = [
    ({"sees": [1]}, "study.yaml: sees: unknown key", "seeds"),
    ({"base": None}, "study.yaml: base: Field required", "configuration of the full recipe"),
    ({"output_dir": None}, "study.yaml: output_dir: Field required", "the study's folder"),
    ({"base": "bose.yaml"}, "study.yaml: base: the base cannot be read: no such", "did you mean"),
    ({"base": 5}, "study.yaml: base: Input should be a valid string (value: 5)", "path relative"),
    ({"variants": ["full", "no_genral"]}, "variants: no variant 'no_genral'; there are full, no_general", "under own"),
    ({"variants": ["full", "full"]}, "variants: full is given twice", "of full, no_general"),
    ({"variants": []}, "study.yaml: variants: List should have at least 1", "of full"),
    ({"variants": ["full", 5]}, "study.yaml: variants.1: Input should be a valid string (value: 5)", "of full"),
    ({"reference": "no_latent"}, "reference: 'no_latent' is none of the variants", "compared with"),
    ({"seeds": [7, 1, 7]}, "seeds: 7 is given twice", "different whole numbers"),
    ({"seeds": []}, "study.yaml: seeds: List should have at least 1", "whole numbers"),
    ({"seeds": [1, -1]}, "study.yaml: seeds.1: Input should be greater than or equal to 0 (value: -1)", "whole"),
    ({"seeds": "1"}, "study.yaml: seeds: Input should be a valid list (value: '1')", "whole numbers"),
    ({"rates": [0.01, 0.01]}, "rates: 0.01 is given twice", "chosen by dev"),
    ({"rates": [0.001, 0.0010000001]}, "rates: 0.001 is given twice", "chosen by dev"),
    ({"rates": []}, "study.yaml: rates: List should have at least 1", "chosen by dev"),
    ({"rates": [0.0]}, "study.yaml: rates.0: Input should be greater than 0 (value: 0.0)", "chosen by dev"),
    ({"steps": 0}, "study.yaml: steps: Input should be greater than 0 (value: 0)", "optimiser steps"),
    ({"equal_steps": "no"}, "study.yaml: equal_steps: Input should be a valid boolean (value: 'no')", "each recipe"),
    ({"steps": 3}, "variant full of task demo-sentiment: steps: 3 steps are too few for 4 stages", "more steps"),
    ({"store_folder": ""}, "study.yaml: store_folder: Value should have at least 1", "several studies share"),
    ({"store_folder": "/dev/null/x"}, "/dev/null: this is a file, not a folder", "choose another place"),
    ({"processes": 1.5}, "study.yaml: processes: Input should be a valid integer", "side by side"),
    ({"keep_models": 1}, "study.yaml: keep_models: Input should be a valid boolean (value: 1)", "keep every model"),
    ({"tasks": ["a"]}, "study.yaml: tasks: Input should be a valid dictionary", "by name, sections"),
    ({"tasks": {"a": 5}}, "study.yaml: tasks.a: Input should be a valid dictionary (value: 5)", "by name, sections"),
    ({"tasks": {"a/b": {}}}, "tasks.a/b", "by name, sections"),
    ({"tasks": {"a": {}, "b": {"dta": {}}}}, "base.yaml, task b: dta: unknown key", "did you mean data?"),
    ({"tasks": {"a": {"seed": 3}}}, "tasks.a.seed: the study decides", "by name, sections"),
    ({"own": {"x": {"output_dir": "y"}}}, "own.x.output_dir: the study decides", "sections on top"),
    ({"own": {"full": {}}}, "own: full is a variant already; give another name", "variants of one's own"),
    ({"own": {"shared-x": {}}}, "own.shared-x: folders of teachers begin with shared-", "variants of one's own"),
    ({"own": {"x": {"like": "nope"}}}, "own.x.like: no variant 'nope'; there are full", "a variant to start from"),
    ({"own": {"x": {"like": ["full"]}}}, "own.x.like: not a text: ['full']", "a variant to start from"),
    ({"own": {"x": {"title": 5}}}, "own.x.title: not a text: 5", "also title"),
    ({"own": {"x": {"objectiv": {}}}}, "variant x of task demo-sentiment: objectiv: unknown key", "objective?"),
    ({"own": {"x": {"stages": {"gen": {}}}}}, "stages: the base has no stage 'gen'", "its stages: general"),
    (
        {"own": {"x": {"stages": {"general": {"training": {"learning_rate": "fast"}}}}}},
        "variant x of task demo-sentiment: stages[0].training.learning_rate: Input should be a valid number "
        "(value: 'fast')",
        "peak learning rate",
    ),
]


@pytest.mark.parametrize(("changes", "said", "remedy"), MISTAKES, ids=[said[:40] for _, said, _ in MISTAKES])
def test_a_mistake_in_the_file_is_refused_before_any_work(study, changes, said, remedy):
    error = refused(study(changes))
    assert said in str(error)
    assert "remedy: " in str(error) and remedy in str(error).partition("remedy: ")[2]


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({"sed": 5}, "base.yaml, task demo-sentiment: sed: unknown key"),
        ({"stages": [5]}, "stages[0]: Input should be a valid dictionary"),
        ({"stages": None}, "stages: this key is required"),
        ({"task": 5}, "task: Input should be a valid dictionary"),
        ({"student": None, "students": {"a": {}}}, "students: a study compares variants of one student"),
        ({"baseline": None}, "variant fine_tuned of task demo-sentiment: this variant is fine-tuned as `baseline`"),
        ({"task": {"name": "../b", "labels": ["a", "b"]}}, "task.name: a folder cannot have this name: '../b'"),
        ({"task": {"name": "results.json", "labels": ["a", "b"]}}, "a folder cannot have this name: 'results.json'"),
        ({"task": {"name": "中" * 70, "labels": ["a", "b"]}}, "a folder cannot have this name: '中中中"),
        ({"task": {"name": "a\nb", "labels": ["a", "b"]}}, "a folder cannot have this name: 'a\\nb'"),
    ],
)
def test_a_mistake_in_the_base_is_refused_before_any_work(study, base, said):
    assert said in str(refused(study(base=base)))


def test_a_mistake_that_all_variants_share_is_said_once(study):
    assert str(refused(study(base={"sed": 5}))).startswith("1 problem found:")
    both = refused(study({"own": {"x": {"sed": 1}, "y": {"sed": 1}}}))
    assert str(both).startswith("2 problems found:") and "variant x" in str(both) and "variant y" in str(both)


def test_the_command_line_ends_with_code_2(study):
    done = CliRunner().invoke(app, ["ablate", str(study()), "seeds=[1, 1]"])
    assert isinstance(done.exception, InputError) and done.exception.exit_code == 2
    assert "seeds: 1 is given twice" in str(done.exception)


def test_overrides_change_what_the_file_says(study):
    jobs, left_out = planned(study(), "seeds=[5]", "variants=[full]", "own.x.objective.hidden.weight=0.25")
    assert [job.name for job in jobs] == ["demo-sentiment/seed-5/full/", "demo-sentiment/seed-5/x/"]
    assert not left_out and jobs[1].config.objective.term("hidden").weight == 0.25
    assert {job.config.seed for job in jobs} == {5}
    assert "unknown key" in str(refused(study(), "sees=[5]"))
    assert "must look like key.sub=value" in str(refused(study(), "seeds"))


def test_variants_that_do_not_apply_are_left_out_with_the_reason(study):
    names = ["full", "random", "not_augmented", "teacher_layers"]
    jobs, left_out = planned(study({"variants": names, "seeds": [1]}))
    assert [job.variant for job in jobs] == ["full", "teacher_layers"]
    assert [(task, name) for task, name, _ in left_out] == [("demo-sentiment", name) for name in names[1:3]]
    assert "starts at random already" in left_out[0][2] and "no augmentation" in left_out[1][2]
    student = jobs[1].config.student.model_dump()
    assert {key: student[key] for key in SHAPE} == {**SHAPE, "num_hidden_layers": 2}, "as wide as the demo's teacher"
    error = refused(study({"variants": ["not_augmented"], "reference": "not_augmented"}))
    assert "reference: the reference 'not_augmented' does not apply to demo-sentiment: the base has no" in str(error)


def test_tasks_are_sections_on_top_of_the_base(study):
    tasks = {
        "one": {},
        "two": {"task": {"max_length_tokens": 16}, "stages": {"general": {"training": {"max_steps": 7}}}},
    }
    jobs, _ = planned(study({"tasks": tasks, "seeds": [1], "variants": ["full", "no_general_enhanced"]}))
    assert [job.name for job in jobs] == [f"{t}/seed-1/{v}/" for t in tasks for v in ("full", "no_general_enhanced")]
    assert [job.config.task.max_length_tokens for job in jobs] == [40, 40, 16, 16]
    assert [job.config.stages[0].training.max_steps for job in jobs] == [300, 300, 7, 7]
    assert jobs[0].shared == jobs[1].shared != jobs[2].shared


def test_a_variant_of_ones_own_starts_from_another(study):
    changes = {"title": "slow", "like": "fine_tuned", "baseline": {"learning_rate": 1e-4}}
    file = study({"own": {"slow": changes}, "seeds": [1]})
    settings, base = load_study(file)
    job = plan_jobs(settings, base, str(file))[0][-1]
    assert job.variant == "slow" and job.fine_tuned and job.config.baseline.learning_rate == 1e-4
    assert job.config.baseline.num_train_epochs == 25, "only what is given differs"
    assert settings.changes("slow") == ("fine_tuned", {"baseline": {"learning_rate": 1e-4}})
    distilled = plan_jobs(*load_study(study({"own": {"slow": {**changes, "like": "full"}}, "seeds": [1]})), "")[0][-1]
    assert job.config == distilled.config and job.key(settings) != distilled.key(settings)


def test_the_demo_study_plans_every_variant_with_both_seeds(project_root, monkeypatch):
    monkeypatch.chdir(project_root)
    settings, base = load_study("configs/ablate-demo.yaml")
    jobs, left_out = plan_jobs(settings, base, "configs/ablate-demo.yaml")
    names = ["full", "no_general", "no_general_enhanced", "no_task_adaptive", "no_soft_label", "no_hard_label"]
    names += ["no_latent", "general_task_specific", "fine_tuned", "warm_teacher"]
    assert [job.name for job in jobs] == [f"demo-sentiment/seed-{seed}/{name}/" for name in names for seed in (1, 2)]
    assert not left_out and settings.reference == "full" and settings.equal_steps
    assert len({job.shared for job in jobs}) == 2, "one teacher for each seed"
    assert len({job.key(settings) for job in jobs}) == len(jobs)
    warm = next(job for job in jobs if job.variant == "warm_teacher").config
    assert [warm.stage_objective(i).term("soft_label").temperature for i in range(4)] == [2.0] * 4


def test_the_studies_in_configs_are_read(project_root, monkeypatch):
    monkeypatch.chdir(project_root)
    for file in sorted(project_root.glob("configs/**/*.yaml")):
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "variants" in raw:
            assert load_study(file)[0].variants, file


def test_the_folder_of_a_run_is_no_study(study, tmp_path):
    (tmp_path / "run").mkdir()
    resolved = tmp_path / "run" / "config.resolved.yaml"
    resolved.write_text("task: {}")
    assert f"{resolved}: this is the folder of a run" in str(refused(study({"output_dir": str(tmp_path / "run")})))
    assert [path.name for path in resolved.parent.iterdir()] == ["config.resolved.yaml"]


def test_a_variant_with_another_metric_is_refused(study):
    error = str(refused(study({"own": {"x": {"task": {"metric": "macro_f1"}}}})))
    assert "variant x of task demo-sentiment: task.metric: 'macro_f1', but 'accuracy' of full" in error
