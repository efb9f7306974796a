"""What a study has found, against values computed by hand: steps, means, spreads, paired differences, retention."""

import io
import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rich.console import Console

from paddle_ernie_tiny.config import TrainingSettings
from paddle_ernie_tiny.errors import ErnieTinyError, InputError
from paddle_ernie_tiny.files import write_json
from paddle_ernie_tiny.kinds.scored import Scored
from paddle_ernie_tiny.kinds.uncertainty import bounds_of, difference
from paddle_ernie_tiny.pipeline.step import PREDICTIONS
from paddle_ernie_tiny.study import ablate as ablate_module
from paddle_ernie_tiny.study import group
from paddle_ernie_tiny.study.ablate import plan_jobs
from paddle_ernie_tiny.study.group import shared_out, stage_steps, with_steps
from paddle_ernie_tiny.study.jobs import PROGRESS, RECORD
from paddle_ernie_tiny.study.live_table import LiveTable
from paddle_ernie_tiny.study.study_results import gather, over_seeds, over_tasks
from paddle_ernie_tiny.study.study_settings import load_study
from paddle_ernie_tiny.study.study_verdicts import ALL_TASKS

from ..damage import DAMAGES

GOLD = np.array([0, 1, 0, 1, 1, 0, 1, 0, 1, 1])
VARIANTS = ["full", "no_general", "no_soft_label", "fine_tuned"]


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
    with pytest.raises(InputError, match="steps: 3 steps are too few for 4 stages"):
        shared_out([10, 10, 10, 10], 3)
    with pytest.raises(InputError, match="100 steps are too few for 2 stages"):
        shared_out([100_000, 1], 100)  # the second would have none


@pytest.fixture
def study(tmp_path, project_root):
    """A function that plans a study: (settings, jobs). Stages of 30, 70, 20 and 50 steps; the files are the demo's."""
    demo = yaml.safe_load((project_root / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    for stage, steps in zip(demo["stages"], (30, 70, 20, 50), strict=True):
        stage["training"] = {"max_steps": steps, "learning_rate": 1e-3, "per_device_train_batch_size": 8}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(demo), encoding="utf-8")

    def plan(**changes):
        file = tmp_path / "study.yaml"
        values = {"output_dir": str(tmp_path / "out"), "base": "base.yaml", "seeds": [1, 2], "variants": VARIANTS}
        file.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")
        settings, base = load_study(file)
        return settings, plan_jobs(settings, base, str(file))[0]

    return plan


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


def test_over_seeds_is_the_mean_and_draws_seeds_in_every_resample():
    draws = np.array([[0.1, 1.0, 1.0, 1.0, 1.0], [0.3, 3.0, 3.0, 3.0, 3.0]])
    found = over_seeds(draws)
    assert found[0] == pytest.approx(0.2) and found.shape == (5,)
    many = over_seeds(np.repeat([[0.1, 1.0], [0.3, 3.0]], [1, 4000], axis=1))[1:]
    shares = [np.mean(many == value) for value in (1.0, 2.0, 3.0)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03), "two draws of two seeds"
    one = np.array([[0.5, 0.1, 0.9, 0.4]])
    assert over_seeds(one).tolist() == one[0].tolist(), "of one seed there is nothing to draw"


def test_over_tasks_is_the_mean_of_independent_resamples():
    one, other = np.array([0.4, 0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 10.0, 20.0, 30.0])
    found = over_tasks([one, other])
    assert found[0] == pytest.approx(0.2)
    assert found[1:].mean() == pytest.approx(np.mean([one[1:], other[1:]]))
    units, tens = np.round(found[1:] * 2) % 10, np.round(found[1:] * 2) // 10  # resamples stay whole, order is mixed
    assert sorted(units) == [0, 1, 2, 3] and sorted(tens) == [0, 1, 2, 3]
    rng = np.random.default_rng(3)
    normal = np.concatenate([[0.0], rng.normal(size=4000)])
    assert over_tasks([normal, normal])[1:].std() == pytest.approx(np.sqrt(0.5), rel=0.05), "not added to itself"


def answers(wrong):
    """Class ids: the gold labels, but for the rows that are wrong."""
    given = GOLD.copy()
    given[list(wrong)] ^= 1
    return given


def finish(settings, job, given, teacher=0.9, **more):
    """Records a job whose student has given these answers to ten rows; its last two are not unseen."""
    job.folder.mkdir(parents=True, exist_ok=True)
    logits = np.eye(2)[given]
    unseen = np.arange(len(GOLD)) < 8
    np.savez_compressed(job.folder / PREDICTIONS, unseen=unseen, logits=logits, labels=GOLD, rows=np.arange(len(GOLD)))
    right = given == GOLD
    names = [stage.stage for stage in job.config.stages]
    stages = [{"name": name, "steps": 10, "rows_trained": 80, "seconds": 1.5, "curve": []} for name in names]
    values = {
        **{"score": float(right.mean()), "score_unseen": float(right[unseen].mean()), "interval": [0.1, 0.9]},
        **{"params": 1000, "rows": len(GOLD), "rows_unseen": 8, "settings": None, "agreement": 0.75, "kl": 0.5},
        "teacher": teacher and {"score": teacher, "score_unseen": 0.8, "params": 5000},
        "floor": {"score": 0.6, "score_unseen": 0.5},
        **{"kind": "classification", "metric": "accuracy", "evaluated_on": "test", "labels": ["negative", "positive"]},
        **{"stages": stages, "environment": {"python": "3.11"}, **more},
    }
    job.finish(job.key(settings), values)


def of(jobs, variant, task=None):
    return [job for job in jobs if job.variant == variant and task in (None, job.task)]


def test_means_spreads_retention_and_paired_differences_by_hand(study):
    settings, jobs = study(seeds=[1, 2, 3])
    for job, wrong in zip(of(jobs, "full"), ([0], [0, 1], [9]), strict=True):  # 0.9, 0.8, 0.9; unseen 7/8, 6/8, 8/8
        finish(settings, job, answers(wrong), teacher={1: 0.9, 2: 0.9, 3: 0.96}[job.seed])
    for job, wrong in zip(of(jobs, "no_general"), ([0, 1], [0, 1, 2], [3]), strict=True):  # 0.8, 0.7, 0.9
        finish(settings, job, answers(wrong))
    finish(settings, of(jobs, "no_soft_label")[1], answers([]))  # of one seed alone: 1.0
    results = gather(settings, jobs, [("demo-sentiment", "random", "why")], "ernie-tiny ablate x")
    full, without, soft = (results["summary"]["demo-sentiment"][name] for name in VARIANTS[:3])
    assert (full["seeds"], without["seeds"], soft["seeds"]) == (3, 3, 1)
    assert full["mean"] == pytest.approx(2.6 / 3) and full["sd"] == pytest.approx(np.sqrt(1 / 300))
    assert full["mean_unseen"] == pytest.approx(7 / 8) and full["sd_unseen"] == pytest.approx(1 / 8)
    assert without["mean"] == pytest.approx(0.8) and without["sd"] == pytest.approx(0.1)
    assert soft["mean"] == 1 and soft["sd"] is None and soft["retention_sd"] is None
    assert full["retention"] == pytest.approx(7 / 8 / 0.8), "on unseen rows"
    assert full["retention_sd"] == pytest.approx(1 / 8 / 0.8)
    assert full["difference"] is None
    assert without["difference"]["score"] == pytest.approx(-0.2 / 3)
    assert without["difference"]["low"] <= -0.2 / 3 <= without["difference"]["high"]
    assert soft["difference"]["score"] == pytest.approx(0.2), "from the reference with the same seed, which has 0.8"
    assert (full["steps"], full["seconds"], without["steps"], full["params"]) == (40, 6.0, 30, 1000)
    assert "fine_tuned" not in results["summary"]["demo-sentiment"]
    teacher = results["teacher"]["demo-sentiment"]
    assert teacher["mean"] == pytest.approx(0.92) and teacher["sd"] == pytest.approx(np.sqrt(0.0012))
    assert teacher["mean_unseen"] == pytest.approx(0.8)
    assert not results["complete"] and len(results["jobs"]) == 7 and ALL_TASKS not in results["summary"]
    assert results["tasks"]["demo-sentiment"] == {
        **{"metric": "accuracy", "evaluated_on": "test", "rows": 10, "rows_unseen": 8, "kind": "classification"},
        "floor": {"score": 0.6, "score_unseen": 0.5},
    }
    assert results["not_run"] == [{"task": "demo-sentiment", "variant": "random", "reason": "why"}]
    json.dumps(results)


def test_one_teacher_for_all_seeds_has_no_spread(study):
    settings, jobs = study()
    for job in of(jobs, "full"):
        finish(settings, job, answers([0]), teacher=0.9)
    assert gather(settings, jobs, [], "")["teacher"]["demo-sentiment"] == {"mean": 0.9, "sd": 0, "mean_unseen": 0.8}


def test_without_a_teacher_there_is_no_retention(study):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]), teacher=None, agreement=None)
    results = gather(settings, jobs, [], "")
    line = results["summary"]["demo-sentiment"]["full"]
    assert results["teacher"]["demo-sentiment"] is None
    assert line["retention"] is None and line["agreement"] is None and line["sd"] is None


def test_of_a_teacher_whose_score_is_below_0_nothing_is_kept(study):
    settings, jobs = study(seeds=[1, 2])
    for job in of(jobs, "full"):
        finish(settings, job, answers([0]), score_unseen=None, teacher={1: -0.1, 2: 0.9}[job.seed])  # of all rows: 0.9
    line = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["full"]
    assert line["retention"] == pytest.approx(1.0) and line["retention_sd"] is None, "of the second alone"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_seeds_that_answer_alike_have_the_interval_of_one(study, metric):
    settings, jobs = study(seeds=[1, 2, 3])
    for job in jobs:
        if job.variant in ("full", "no_general"):
            finish(settings, job, answers([0] if job.variant == "full" else [0, 3, 5, 6]), metric=metric)
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    full, without = (Scored.of(np.eye(2)[answers(wrong)], GOLD) for wrong in ([0], [0, 3, 5, 6]))
    expected = difference(metric, without, full)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    if metric == "accuracy":
        assert found["score"] == pytest.approx(-0.3)


def test_variants_that_answer_alike_do_not_differ_at_all(study):
    """A resample has the same rows on both sides: nothing is left of it in the difference."""
    settings, jobs = study()
    for job in (*of(jobs, "full"), *of(jobs, "no_general")):
        finish(settings, job, answers([job.seed, 7]))
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    assert found == {"score": 0, "low": 0, "high": 0}


def test_seeds_spread_the_interval(study):
    """Differences of +0.4 and -0.4: seeds that are drawn twice show both."""
    settings, jobs = study()
    for job in of(jobs, "full"):
        finish(settings, job, answers([] if job.seed == 1 else range(4)))
    for job in of(jobs, "no_general"):
        finish(settings, job, answers(range(4) if job.seed == 1 else []))
    found = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"]
    assert found["score"] == pytest.approx(0) and found["low"] <= -0.4 and found["high"] >= 0.4


def test_several_tasks_are_averaged(study):
    settings, jobs = study(tasks={"one": {}, "two": {}}, variants=["full", "no_general", "no_soft_label"])
    wrong = {("one", "full"): [0], ("two", "full"): [0, 1], ("one", "no_general"): [0, 1]}
    wrong |= {("two", "no_general"): [0, 1, 2, 3], ("one", "no_soft_label"): []}
    for job in jobs:
        if (job.task, job.variant) in wrong:
            finish(settings, job, answers(wrong[job.task, job.variant]))
    results = gather(settings, jobs, [], "")
    everywhere = results["summary"][ALL_TASKS]
    assert everywhere.keys() == {"full", "no_general"}, "no_soft_label is not done of the second task"
    assert everywhere["full"]["mean"] == pytest.approx(0.85) and everywhere["no_general"]["mean"] == pytest.approx(0.7)
    assert everywhere["full"]["sd"] is None and everywhere["full"]["difference"] is None
    assert everywhere["no_general"]["seeds"] == 2
    own = [results["summary"][task]["no_general"]["difference"] for task in ("one", "two")]
    mean = everywhere["no_general"]["difference"]
    assert [each["score"] for each in own] == pytest.approx([-0.1, -0.2]) and mean["score"] == pytest.approx(-0.15)
    narrow = np.hypot(*(each["high"] - each["low"] for each in own)) / 2
    assert mean["high"] - mean["low"] == pytest.approx(narrow, rel=0.25), "as of independent resamples"


def test_a_result_without_its_reference_has_no_difference(study):
    settings, jobs = study()
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    finish(settings, of(jobs, "full")[1], answers([1]))
    assert gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"] is None
    assert gather(settings, [], [], "")["summary"] == {}


def test_predictions_of_other_rows_are_not_compared(study):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]), rows=9)
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    assert gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]["difference"] is None


def test_an_interval_is_that_of_its_resamples():
    values = np.concatenate([[0.5], np.arange(1001) / 1000])
    found = bounds_of(float(over_tasks([values])[0]), over_tasks([values])[1:])
    assert (found.score, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


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


def test_scores_on_other_rows_are_not_compared(study, monkeypatch):
    settings, jobs = study(seeds=[1])
    finish(settings, of(jobs, "full")[0], answers([0]))
    monkeypatch.setitem(globals(), "GOLD", GOLD[::-1])
    finish(settings, of(jobs, "no_general")[0], answers([0]))
    line = gather(settings, jobs, [], "")["summary"]["demo-sentiment"]["no_general"]
    assert line["mean"] is not None and line["difference"] is None


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
