"""The report of an ablation study: figures in CSV and Markdown, sentences, escaping, and what is not complete."""

import copy
import csv
import io
import json
import re

import pytest

from paddle_ernie_tiny.files import write_json
from paddle_ernie_tiny.study.study_pages import write_study_pages
from paddle_ernie_tiny.study.study_plots import curve_plot, difference_plot, jobs_of, score_plot
from paddle_ernie_tiny.study.study_summary import print_study
from paddle_ernie_tiny.study.study_verdicts import compared, floor_of, in_points, lead, teacher_of

SEEDS = (1, 2)


def stage(name, score, seconds, shared=False, curve=()):
    kind = "classifier" if name in ("task_specific", "fine_tuning") else "linear probe"
    return {
        **{"name": name, "steps": 100, "rows_trained": 3200, "seconds": seconds, "score": score, "score_kind": kind},
        **{"learning_rate": 0.001, "shared": shared, "curve": [list(point) for point in curve]},
    }


def job(variant, seed, score, stages, task="demo", **more):
    return {
        **{"task": task, "variant": variant, "seed": seed, "score": score, "score_unseen": score - 0.01},
        **{"interval": [score - 0.02, score + 0.02], "params": 300000, "agreement": 0.93, "kl": 0.1},
        "teacher": {"score": 0.95, "score_unseen": 0.94, "params": 1500000},
        **{"steps": 100 * len(stages), "rows_trained": 3200 * len(stages)},
        **{"seconds": sum(s["seconds"] for s in stages), "stages": stages, **more},
    }


def line(mean, difference=None, **more):
    keys = dict(zip(("score", "low", "high"), difference, strict=True)) if difference else None
    return {
        **{"seeds": 2, "mean": mean, "sd": 0.01, "mean_unseen": mean - 0.01, "sd_unseen": 0.02, "retention": 0.957},
        **{"retention_sd": 0.011, "agreement": 0.93, "steps": 200, "seconds": 90.0, "params": 300000},
        **{"difference": keys, **more},
    }


def study(**more):
    """One task, four variants and two seeds: one variant of each sort against the reference."""
    jobs = []
    for seed in SEEDS:
        noise = 0.01 * (seed - 1)
        first, curve = stage("general", 0.6 + noise, 60.0), ((50, 0.7 + noise), (100, 0.8 + noise))
        jobs.append(job("full", seed, 0.9 + noise, [first, stage("task_specific", 0.9 + noise, 30.0, curve=curve)]))
        shared = {**first, "shared": True}
        jobs.append(job("no_soft", seed, 0.87 + noise, [shared, stage("task_specific", 0.87 + noise, 20.0)]))
        jobs.append(job("no_hard", seed, 0.91 + noise, [shared, stage("task_specific", 0.91 + noise, 25.0)]))
        tuned = stage("fine_tuning", 0.93 + noise, 12.5, curve=curve)
        jobs.append(job("fine_tuned", seed, 0.93 + noise, [tuned], rates={"0.002": 0.8 + noise, "0.001": 0.83 + noise}))
    summary = {
        "full": line(0.905),
        "no_soft": line(0.875, (-0.03, -0.05, -0.01), seconds=80.0),
        "no_hard": line(0.915, (0.01, -0.005, 0.025), seconds=85.0),
        "fine_tuned": line(0.935, (0.03, 0.01, 0.05), seconds=12.5, steps=1200),
    }
    titles = {"full": "all four stages", "no_soft": "without soft labels", "no_hard": "without hard labels"}
    titles["fine_tuned"] = "fine-tuning from the same start"
    return {
        **{"name": "try", "complete": True, "equal_steps": True, "reference": "full", "seeds": list(SEEDS)},
        "variants": {name: {"title": title, "changes": f"changes of {name}"} for name, title in titles.items()},
        "tasks": {"demo": task()},
        **{"not_run": [], "jobs": jobs, "summary": {"demo": summary}},
        "teacher": {"demo": {"mean": 0.95, "sd": 0.0, "mean_unseen": 0.94}},
        "environment": {"cores": 2, "versions": {"paddle": "3.1.1", "numpy": "1.26"}},
        **{"command": "ernie-tiny ablate try.yaml", **more},
    }


def task(**more):
    floor = {"score": 0.75, "score_unseen": 0.74}
    facts = {"metric": "accuracy", "evaluated_on": "test", "rows": 400, "rows_unseen": 390, "kind": "classification"}
    return {**facts, "floor": floor, **more}


def two_tasks():
    """The same figures for a second task, and all tasks together."""
    results = study()
    results["tasks"]["other"] = task(metric="macro_f1", evaluated_on="dev", floor={"score": 0.85, "score_unseen": 0.84})
    results["jobs"] += [{**each, "task": "other"} for each in results["jobs"]]
    results["summary"] |= {"other": results["summary"]["demo"], "all tasks": copy.deepcopy(results["summary"]["demo"])}
    results["summary"]["all tasks"]["full"]["sd"] = None
    results["teacher"]["other"] = {"mean": 0.85, "sd": 0.01, "mean_unseen": 0.84}
    return results


@pytest.fixture
def pages(tmp_path):
    """A function that writes the pages of a study and returns (CSV rows, Markdown, HTML)."""

    def write(results):
        page = write_study_pages(results, tmp_path / "pages")
        assert page == tmp_path / "pages" / "report.html"
        texts = [page.with_name(name).read_text("utf-8") for name in ("results.csv", "report.md", "report.html")]
        return list(csv.DictReader(io.StringIO(texts[0]))), texts[1], texts[2]

    return write


def test_csv_has_a_line_per_job(pages):
    results = study()
    results["jobs"].reverse()
    rows, _, _ = pages(results)
    order = ["full", "no_soft", "no_hard", "fine_tuned"]
    assert [(row["variant"], row["seed"]) for row in rows] == [(name, str(s)) for name in order for s in SEEDS]
    first, tuned = rows[0], rows[-2]
    expected = {"task": "demo", "metric": "accuracy", "score": "0.9", "low": "0.88", "high": "0.92", "steps": "200"}
    expected |= {"teacher_score": "0.95", "teacher_params": "1500000", "seconds": "90.0", "rows_trained": "6400"}
    expected |= {"general.seconds": "60.0", "general.shared": "False", "task_specific.score_kind": "classifier"}
    assert expected.items() <= first.items()
    assert tuned["general.seconds"] == "" and tuned["rates"] == "0.002=0.8 0.001=0.83"
    assert rows[2]["general.shared"] == "True"


def test_tables_of_scores_and_stages(pages):
    _, page, _ = pages(study())
    for cells in (
        "| variant | seeds | accuracy | accuracy, unseen rows | difference from full, points (95 % interval) | "
        "of the teacher kept | agreement with the teacher | steps | seconds | parameters |",
        "| teacher | – | 0.950 | 0.940 | – | – | – | – | – | 1,500,000 |",
        "| linear floor | – | 0.750 | 0.740 | – | – | – | – | – | – |",
        "| full | 2 | 0.905 ± 0.010 | 0.895 ± 0.020 | – | 95.7% ± 1.1% | 93.0% | 200 | 90.0 | 300,000 |",
        "| no_soft | 2 | 0.875 ± 0.010 | 0.865 ± 0.020 | -3.0 (-5.0 to -1.0) | 95.7% ± 1.1% | 93.0% | 200 | 80.0 | "
        "300,000 |",
        "| no_hard | without hard labels | changes of no_hard |",
        # stages: means over the two seeds
        "| variant | general | task_specific | fine_tuning |",
        "| no_soft | 100 steps, 60.0 s * | 100 steps, 20.0 s | – |",
        "| fine_tuned | – | – | 100 steps, 12.5 s |",
        "| full | 0.605 (linear probe) | 0.905 (classifier) | – |",
        "| variant | 0.001 | 0.002 | taken |",
        "| fine_tuned | 0.835 | 0.805 | 0.001 |",
        "| versions | paddle 3.1.1, numpy 1.26 |",
    ):
        assert f"\n{cells}\n" in page, cells
    assert "demo: 400 rows of test, 390 unseen in training." in page and "    ernie-tiny ablate try.yaml\n" in page
    assert page.index("| teacher |") < page.index("| linear floor |") < page.index("| full | 2 |")


def test_unseen_rows_are_shown_only_if_they_differ(pages):
    _, page, _ = pages(study(tasks={"demo": task(rows_unseen=400)}))
    assert "unseen" not in page.partition("## Scores on demo")[2].partition("## ")[0]


def test_sentences_say_what_helped_what_is_not_shown_and_what_harmed():
    assert lead(study()) == [
        "On demo, fine_tuned (fine-tuning from the same start) scores highest: 0.935; its difference from full is "
        "+3.0 points (95 % interval +1.0 to +5.0).",
        "Worse than full, as the whole interval of the difference is below 0: what is left out or changed there helped."
        " In points, with 95 % intervals: no_soft -3.0 (-5.0 to -1.0).",
        "Not shown to differ from full, as the interval includes 0. In points, with 95 % intervals: "
        "no_hard +1.0 (-0.5 to +2.5).",
        "Better than full, as the whole interval is above 0: what is left out or changed there harmed. In points, with "
        "95 % intervals: fine_tuned +3.0 (+1.0 to +5.0).",
        "The study is complete: all 8 jobs are done.",
    ]


@pytest.mark.parametrize("bounds", [(-0.01, 0.0), (0.0, 0.01), (0.0, 0.0)])
def test_an_interval_that_ends_at_0_includes_it(bounds):
    results = study()
    results["summary"]["demo"] = {"full": line(0.9), "no_soft": line(0.9, (0.0, *bounds))}
    best, said = compared(results, "demo")
    assert best == "On demo, full (all four stages) scores highest: 0.900." and said.startswith("Not shown to differ")


def test_a_best_variant_without_a_shown_lead():
    results = study()
    del results["summary"]["demo"]["fine_tuned"]
    assert lead(results)[0].endswith("full is +1.0 points (95 % interval -0.5 to +2.5), so the lead is not shown.")


def test_a_mean_of_fewer_seeds_is_not_called_the_highest():
    results = study()
    results["summary"]["demo"]["fine_tuned"]["seeds"] = 1  # its other seed, which may be a hard one, is not done
    best = compared(results, "demo")[0]
    assert best.startswith("On demo, no_hard (without hard labels) scores highest of the variants with 2 seeds: 0.915;")


def test_all_tasks_come_first_and_are_means(pages):
    results = two_tasks()
    said, (_, page, _) = lead(results), pages(results)
    assert said[0].startswith("On average over 2 tasks, fine_tuned (") and not any(
        t.startswith("On demo") for t in said
    )
    assert teacher_of(results, "all tasks") == pytest.approx({"mean": 0.9, "mean_unseen": 0.89})
    assert floor_of(results, "all tasks") == pytest.approx({"score": 0.8, "score_unseen": 0.79})
    assert page.index("## Scores on all tasks") < page.index("## Scores on demo") < page.index("## Scores on other")
    assert "| teacher | – | 0.900 | 0.890 |" in page and "| full | 2 | 0.905 | 0.895 ± 0.020 |" in page
    assert "means of different metrics: accuracy, macro_f1." in page and "Scored on the dev split: other." in page
    assert "There are 9 differences here." in page


def test_a_linear_floor_that_is_as_good_is_said():
    results = two_tasks()
    results["summary"]["other"] = {"full": line(0.84)}
    assert (
        "On other, the linear floor (0.850) is not below the teacher (0.850) and full (0.840): the task shows little."
        in lead(results)
    )


def test_what_is_missing_is_counted_and_named():
    results = study(complete=False, not_run=[{"task": "demo", "variant": "no_hard", "reason": "it has no labels"}])
    left_out = {("full", 2), ("fine_tuned", 1), ("fine_tuned", 2), ("no_hard", 1), ("no_hard", 2)}
    results["jobs"] = [each for each in results["jobs"] if (each["variant"], each["seed"]) not in left_out]
    assert lead(results)[-1] == (
        "The study is not complete: 3 of 6 jobs are done. Missing: demo: full (seed 2), fine_tuned (seed 1, 2)."
    )


def test_what_was_not_run_is_listed_with_its_reason(pages):
    results = study(not_run=[{"task": "demo", "variant": "no_hard", "reason": "soft | hard"}])
    assert "| demo | no_hard | soft \\| hard |" in pages(results)[1]


def test_own_steps_are_said_to_differ(pages):
    equal, own = pages(study())[1], pages(study(equal_steps=False))[1]
    assert "equal steps are not equal seconds" in equal and "compared as they are" not in equal
    assert "The recipes are compared as they are: their steps differ." in own and "Equal steps" not in own


def test_seeds_are_said_to_be_few(pages):
    assert "2 seeds are few" in pages(study())[1]
    results = study()
    for row in results["summary"]["demo"].values():
        row["seeds"] = 1
    said = pages(results)[1]
    assert "those of one seed know nothing of how much seeds differ" in said, "those that are done, not those planned"
    assert "2 seeds are few" not in said


def test_names_are_escaped(pages):
    results = json.loads(re.sub("no_soft|without soft labels", "<b>|$x$", json.dumps(study())))
    _, markdown, html = pages(results)
    assert "<b>" not in html and "&lt;b&gt;|$x$" in html
    assert "<b>" not in markdown and "| &lt;b>\\|$x$ | 2 |" in markdown


def test_the_page_holds_its_pictures(pages):
    results = two_tasks()
    _, _, html = pages(results)
    sources = re.findall(r'<img src="([^"]+)"', html)
    assert len(sources) == 4  # a plot for each task, the differences, the learning curves
    assert len(set(sources)) == 3 + 1 and all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "<link" not in html and "<script" not in html


def test_learning_curves_are_means_over_seeds_at_shared_steps():
    results = study()
    results["jobs"][0]["stages"][-1]["curve"] = [[50, 0.7], [75, None], [100, 0.8], [150, 0.9]]
    (axis,) = curve_plot(results).axes
    drawn = [(list(found.get_xdata()), list(found.get_ydata())) for found in axis.lines]
    assert drawn[0] == ([50, 100], pytest.approx([0.705, 0.805])) and len(drawn) == 2
    results["jobs"][0]["stages"][-1]["curve"] = [[60, 0.7]]  # no step in common: the curves themselves
    assert [len(found.get_xdata()) for found in curve_plot(results).axes[0].lines] == [1, 2, 2]


def test_a_variant_has_one_colour_in_all_plots():
    results = study()
    of_scores = {str(found.get_color()) for found in score_plot(results, "demo").axes[0].lines[:3]}
    of_curves = {str(found.get_color()) for found in curve_plot(results).axes[0].lines[:1]}
    assert of_scores == of_curves, "both begin with the reference"
    (axis,) = difference_plot(results).axes
    colours = [found.get_color() for found in axis.lines[:3]]
    assert len(set(colours)) == 3 and of_scores.isdisjoint(map(str, colours))


def nothing_done(results):
    results |= {"jobs": [], "summary": {}, "teacher": {}, "complete": False}


def no_summary_of_a_task(results):
    results["summary"]["demo"] = {}


def one_seed(results):
    results |= {"seeds": [1], "jobs": [each for each in results["jobs"] if each["seed"] == 1]}
    for values in results["summary"]["demo"].values():
        values |= {"seeds": 1, "sd": None, "sd_unseen": None, "retention_sd": None}


def null_scores(results):
    for each in results["jobs"]:
        each |= dict.fromkeys(("score", "score_unseen", "interval", "agreement", "kl", "params"))
        for part in each["stages"]:
            part |= {"score": None, "learning_rate": None, "curve": []}
    for values in results["summary"]["demo"].values():
        values |= dict.fromkeys(values, None)


def no_floor(results):
    results["tasks"]["demo"] |= {"floor": None, "rows_unseen": None}


def no_common_seeds(results):
    for values in results["summary"]["demo"].values():
        values["difference"] = None


def one_variant_left(results):
    for name in ("no_hard", "fine_tuned"):
        del results["summary"]["demo"][name]
    results["jobs"] = [each for each in results["jobs"] if each["variant"] in results["summary"]["demo"]]


def no_curves_and_stages(results):
    for each in results["jobs"]:
        each["stages"] = []
        each.pop("rates", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing_done, "On demo, there are no scores yet."),
        (nothing_done, "The study is not complete: 0 of 8 jobs are done."),
        (no_summary_of_a_task, "On demo, there are no scores yet."),
        (one_seed, "| full | 1 | 0.905 | 0.895 | – | 95.7% |"),
        (null_scores, "| full | – | – | – | – | – | – | – | – | – |"),
        (no_floor, "| linear floor | – | – | – | – | – | – | – | – |"),
        (no_common_seeds, "Not compared with full, as no seed is done of both: no_soft, no_hard, fine_tuned."),
        (one_variant_left, "or not run: no_hard, fine_tuned."),
        (no_curves_and_stages, "| full | 2 | 0.905 ± 0.010 |"),
    ],
)
def test_a_study_that_has_not_all_is_reported(pages, change, said):
    results = study()
    change(results)
    rows, page, html = pages(results)
    assert len(rows) == len(results["jobs"]) and said in page
    assert "None" not in page.partition("## How it was made")[0] and "nan" not in html.partition("<img")[0]


def test_jobs_and_differences_by_hand():
    results = study()
    assert {name: [each["seed"] for each in jobs] for name, jobs in jobs_of(results, "demo").items()} == {
        name: [1, 2] for name in results["variants"]
    }
    assert in_points({"score": -0.0104, "low": -0.0251, "high": 0.005}) == "-1.0 (-2.5 to +0.5)"


def test_a_narrow_terminal_cuts_no_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    results = study()
    write_json(tmp_path / "results.json", results)
    print_study(tmp_path / "report.html")
    shown = capsys.readouterr().out
    mean = results["summary"]["demo"]["full"]["mean"]
    assert f"{mean:.4f}" in shown and "…" not in shown
