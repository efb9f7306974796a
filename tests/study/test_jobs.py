"""The jobs of a study: their steps, what makes them run again, and what the command does with them."""

import io
import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
from rich.console import Console

from paddle_ernie_tiny.config import TrainingSettings
from paddle_ernie_tiny.errors import ErnieTinyError, InputError, InputErrors
from paddle_ernie_tiny.files import write_json
from paddle_ernie_tiny.pipeline.step import PREDICTIONS
from paddle_ernie_tiny.study import ablate as ablate_module
from paddle_ernie_tiny.study import group
from paddle_ernie_tiny.study.group import stage_steps, with_steps
from paddle_ernie_tiny.study.jobs import PROGRESS, RECORD, shared_out
from paddle_ernie_tiny.study.live_table import LiveTable

from ..damage import DAMAGES
from .recorded import VARIANTS, answers, finish, of


@pytest.mark.parametrize(
    ("steps", "total", "parts"),
    [
        ([300, 700, 60, 50], 1110, [300, 700, 60, 50]),
        ([300, 60], 1080, [900, 180]),
        ([1, 1, 1], 10, [3, 4, 3]),  # ends at 3.33, 6.67 and 10
        ([2, 1], 4, [3, 1]),
        ([5], 17, [17]),
        ([1, 10], 11, [1, 10]),
    ],
)
def test_steps_are_shared_out_in_proportion(steps, total, parts):
    assert shared_out(steps, total) == parts and sum(parts) == total


def test_too_few_steps_are_refused():
    with pytest.raises(InputError, match="steps: 3 steps are too few: shared out as 10, 10, 10, 10, some stage"):
        shared_out([10, 10, 10, 10], 3)
    with pytest.raises(InputError, match="100 steps are too few: shared out as 100000, 1, some stage would get none"):
        shared_out([100_000, 1], 100)


def test_too_few_steps_are_refused_before_any_work(study):
    """As far as the file tells them: stages have 30, 70, 20 and 50 steps."""
    with pytest.raises(InputErrors) as refused:
        study(steps=3, variants=["full", "no_task_adaptive", "fine_tuned"])
    whats = [f"{error.where}: {error.what}" for error in refused.value.errors]  # once each, not for every seed
    assert whats == [
        "variant full of task demo-sentiment: steps: 3 steps are too few: shared out as 30, 70, 20, 50, "
        "some stage would get none"
    ]
    short = {"stages": {"task_specific": {"training": {"max_steps": 1}}}}  # 170 of 121 steps: 1.4
    study(variants=["full"], own={"short": short})
    long = {"stages": {"task_adaptive": {"training": {"max_steps": 5000}}, **short["stages"]}}
    with pytest.raises(InputErrors, match="variant shorter of task demo-sentiment: steps: 170 steps are too few"):
        study(variants=["full"], own={"shorter": long})


def test_steps_and_rates_decide_nothing_where_each_recipe_is_taken_as_it_is(study):
    """Changing what has no effect must not make a job run again."""
    for changes in ({"steps": 90}, {"rates": [0.1]}):
        plain, same = (study(equal_steps=False, **more) for more in ({}, changes))
        assert [job.key(plain[0]) for job in plain[1]] == [job.key(same[0]) for job in same[1]]
        equal, other = study(), study(**changes)
        tuned = [job.variant == "fine_tuned" for job in equal[1]]
        changed = [a.key(equal[0]) != b.key(other[0]) for a, b in zip(equal[1], other[1], strict=True)]
        assert changed == ([True] * len(tuned) if "steps" in changes else tuned)


def test_every_variant_has_as_many_steps_as_the_reference(study):
    names = ["full", "no_general", "no_general_enhanced", "no_task_adaptive", "no_soft_label", "general_task_specific"]
    _, jobs = study(variants=names, seeds=[1])
    total = sum(stage_steps(jobs[0]))
    found = {job.variant: shared_out(stage_steps(job), total) for job in jobs}
    assert found == {
        "full": [30, 70, 20, 50],
        "no_general": [85, 24, 61],  # 70, 20 and 50 of 140 are 85, 24.3 and 60.7 of 170
        "no_general_enhanced": [51, 34, 85],
        "no_task_adaptive": [34, 79, 57],  # ends at 34, 113.33 and 170
        "no_soft_label": [30, 70, 20, 50],
        "general_task_specific": [64, 106],  # 63.75 and 106.25
    }
    assert {sum(steps) for steps in found.values()} == {170}


def test_steps_take_the_place_of_epochs():
    given = TrainingSettings(num_train_epochs=3.0, learning_rate=1e-3, per_device_train_batch_size=8)
    training = with_steps(given, 7)
    assert (training.max_steps, training.num_train_epochs) == (7, None)
    assert training.model_copy(update={"max_steps": None, "num_train_epochs": 3.0}) == given


@pytest.mark.parametrize("name", [RECORD, PREDICTIONS])
@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_job_counts_as_not_done(study, harm, name, capsys):
    settings, jobs = study(seeds=[1])
    job = jobs[0]
    finish(settings, job, answers([0]))
    assert job.record(settings)["score"] == 0.9
    harm(job.folder / name)
    assert job.record(settings) is None
    if name == PREDICTIONS or harm.__name__ != "delete":
        assert "demo-sentiment/seed-1/full: made again" in capsys.readouterr().out


def test_a_job_whose_files_change_during_its_work_is_done_again(study, monkeypatch):
    settings, jobs = study(seeds=[1])
    job, sums = jobs[0], {"train.tsv": "old"}

    def train(job, steps):
        sums["train.tsv"] = "new"
        return {}

    monkeypatch.setattr("paddle_ernie_tiny.study.jobs.Sources", lambda config: SimpleNamespace(sums=dict(sums)))
    monkeypatch.setattr(group, "_distil", train)
    job.folder.mkdir(parents=True)
    (job.folder / PREDICTIONS).touch()
    group._do(job, 40, settings)
    assert job.record(settings) is None
    sums["train.tsv"] = "old"
    assert job.record(settings) is not None


def test_a_job_is_done_again_once_something_that_decides_it_changes(study, tmp_path):
    settings, jobs = study(seeds=[1])
    for job in jobs:
        finish(settings, job, answers([0]))

    def left(**changes):
        other, again = study(seeds=[1], **changes)
        return [job.variant for job in again if job.record(other) is not None]

    def with_base(**sections):
        return left(tasks={"demo-sentiment": sections})

    distilled, tuned = VARIANTS[:3], VARIANTS[3:]
    assert left() == with_base() == VARIANTS
    assert left(processes=1, keep_models=True) == VARIANTS, "these decide no figure"
    assert with_base(export={"rows": 5}, save_minutes=3.0) == VARIANTS, "a study exports nothing"
    assert left(steps=100) == left(equal_steps=False) == []
    assert left(rates=[0.1]) == with_base(baseline={"learning_rate": 0.1}) == distilled
    assert with_base(objective={"hidden": {"weight": 2.0}}) == tuned
    assert with_base(stages={"general": {"training": {"max_steps": 31}}}) == [], "all have the reference's steps"
    assert with_base(teacher={"finetune": {"learning_rate": 1e-3}}) == []
    general = {"general": {"training": {"learning_rate": 0.5}}}
    assert with_base(stages=general) == ["no_general", "fine_tuned"], "which have no such stage"
    assert left(reference="no_general") == [], "the others have its steps"


class NoWorkers:
    """What a study asks of its processes, noted; every group of jobs ends with `outcome`."""

    asked, outcome = [], None

    def __init__(self, count, environment):
        self.asked.append((count, environment))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, function, group):
        future = Future()
        future.set_exception(self.outcome) if self.outcome else future.set_result({})
        return future


@pytest.fixture
def workers(monkeypatch):
    """Processes that do nothing, on a machine with eight cores."""
    monkeypatch.setattr(ablate_module, "Workers", NoWorkers)
    monkeypatch.setattr(ablate_module, "cpu_cores", lambda: 8)
    monkeypatch.setattr(ablate_module, "thread_count", lambda asked: 8)
    monkeypatch.setattr(NoWorkers, "outcome", None)
    monkeypatch.setattr(NoWorkers, "asked", [])
    return NoWorkers


def test_a_study_that_continues_has_the_same_threads(study, tmp_path, workers):
    """Other threads add numbers in another order: the figures would not come again."""
    settings, jobs = study()
    for done in ([], [job for job in jobs if job.seed == 1]):
        for job in done:
            finish(settings, job, answers([0]))
        ablate_module.ablate(tmp_path / "study.yaml", say=lambda line: None)
    assert [environment for _, environment in workers.asked] == [{"OMP_NUM_THREADS": "4"}] * 2


def test_the_command_of_the_report_can_be_given_to_a_shell(study, tmp_path, workers):
    study()
    report = ablate_module.ablate(tmp_path / "study.yaml", ["seeds=[1, 2]"], say=lambda line: None)
    command = json.loads(report.with_name("results.json").read_text(encoding="utf-8"))["command"]
    assert command == f"ernie-tiny ablate {tmp_path}/study.yaml 'seeds=[1, 2]'"


def test_the_table_shows_what_is_done_and_what_is_at_work(study):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]))
    write_json(of(jobs, "no_general")[0].folder / PROGRESS, {"title": "general", "done": 1, "of": 4})
    screen = Console(width=80, file=io.StringIO())
    screen.print(LiveTable(settings, jobs, jobs[1:], print)._table())
    rows = {line.split()[1]: line for line in screen.file.getvalue().splitlines() if line.startswith("│")}
    assert "0.9000" in rows["full"] and "[general 25%]" in rows["no_general"] and "·" in rows["no_soft_label"]


def test_a_process_that_is_killed_is_named_with_what_to_do(study, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(workers, "outcome", BrokenProcessPool("A process in the process pool was terminated abruptly"))
    study()
    with pytest.raises(ErnieTinyError, match="ended without an answer") as error:
        ablate_module.ablate(tmp_path / "study.yaml", say=lambda line: None)
    assert "processes=1" in error.value.remedy and error.value.exit_code == 1


def test_only_some_jobs_are_run(study, tmp_path, workers):
    settings, jobs = study()
    said = []
    ablate_module.ablate(tmp_path / "study.yaml", only=["demo-sentiment/seed-2/no_"], say=said.append)
    assert len(workers.asked) == 1 and said[0].startswith("8 jobs, 0 of them done")
    with pytest.raises(InputError, match="no such job") as error:
        ablate_module.ablate(tmp_path / "study.yaml", only=["other/"], say=said.append)
    assert "demo-sentiment/seed-1/full/" in error.value.remedy
    for job in jobs:
        if job.variant == "no_general":
            finish(settings, job, answers([0]))
    ablate_module.ablate(tmp_path / "study.yaml", only=["demo-sentiment/seed-2/no_general"], say=said.append)
    assert len(workers.asked) == 1, "what is done asks for no process"
