"""The report of a search: sentences, tables, CSV; what counts as the winner and what it cost."""

import csv
import io
import json
from dataclasses import replace

import pytest

from paddle_ernie_tiny.budget_search import remeasure
from paddle_ernie_tiny.budget_search.remeasure import measure_finalists
from paddle_ernie_tiny.budget_search.search_pages import finals_table, lead, write_search_pages
from paddle_ernie_tiny.budget_search.search_plots import check_plot, pareto_plot
from paddle_ernie_tiny.budget_search.search_settings import SearchSettings
from paddle_ernie_tiny.budget_search.search_state import Entry, SearchState
from paddle_ernie_tiny.budget_search.search_summary import print_search
from paddle_ernie_tiny.budget_search.shape_speed import Setting
from paddle_ernie_tiny.budget_search.space import CandidateStudent
from paddle_ernie_tiny.budget_search.trials import Trial
from paddle_ernie_tiny.files import write_json

pytestmark = pytest.mark.unit
SMALL, LARGE, SLOW = (CandidateStudent(n, 64, 4, 128) for n in (1, 2, 3))


def figures(latency, measured=True):
    return {
        **{"latency_ms": latency, "latency_low_ms": 0.9 * latency, "latency_high_ms": 1.2 * latency},
        **{"texts_per_second": 1e3 / latency, "files_mb": 2.0, "rss_mb": 90.0, "parameters_m": 0.5},
        "measured": measured,
    }


def final(dev, score, name):
    run = f"students/{name}"
    return {
        **{"dev": dev, "score": score, "score_unseen": score, "interval": [score - 0.01, score + 0.01]},
        **{"steps": 100, "seconds": 10.0, "parameters": 500_000, "retention": 0.95, "agreement": 0.9},
        **{"bundle": f"{run}/bundle", "report": f"{run}/report.html"},
    }


@pytest.fixture
def state():
    """A search within 1 ms with two finalists, of which the better one is too slow as a bundle; and one over budget."""
    settings = SearchSettings(output_dir="runs/<s>", base="base.yaml", budget={"latency_ms": 1.0})
    made = SearchState(settings, "ernie-tiny search search.yaml")
    made.facts = {"metric": "accuracy", "evaluated_on": "test", "lengths": [5, 9], "teacher": {}, "floor": None}
    made.full_steps = {"general": 60, "task": 40}
    made.entries = {one: Entry(one, figures(latency)) for one, latency in ((SMALL, 0.5), (LARGE, 0.9), (SLOW, 1.5))}
    made.entries[SLOW].out = "1.5 ms, latency_ms is <= 1"
    for one, dev, latency in ((SMALL, 0.8, 0.52), (LARGE, 0.9, 1.1)):
        made.entries[one].rungs = [{"steps": 5, "score": dev - 0.2}]
        made.entries[one].final = final(dev, dev - 0.01, one.trained)
        made.entries[one].measured = figures(latency)
    made.references = {
        "teacher": {"score": 0.95, "latency_ms": 9.0},
        "linear floor": {"score": 0.7, "latency_ms": None},
    }
    return made


def test_the_best_that_keeps_to_the_budget_as_measured_wins(state):
    assert state.choose([SMALL, LARGE]) == SMALL
    assert state.entries[LARGE].out == "1.1 ms, latency_ms is <= 1"
    results = state.results()
    assert results["complete"] and results["winner"] == SMALL.name
    asked, found = lead(results)
    assert (
        asked == "Asked for: latency_ms <= 1, at 1 text per call, lengths of the data (5, 9 tokens), 1 thread(s), auto."
    )
    assert "1l-64h-4heads-128ffn: accuracy 0.7900 on test, 95.0% of the teacher; 0.52 ms" in found
    assert "latency 0.468 to 0.624 ms" in found and "measured in another process" in found


def test_no_finalist_keeps_to_it(state):
    state.entries[SMALL].measured = figures(1.3)
    assert state.choose([SMALL, LARGE]) is None
    state.nearest = LARGE
    found = "No finalist keeps to the budget when its bundle is measured. The nearest is 2l-64h-4heads-128ffn: 1.1 ms, "
    assert lead(state.results())[1] == found + "latency_ms is <= 1."


def test_steps_are_counted_once_for_each_folder(state, tmp_path):
    def count(name, *steps):
        state.count(Trial(name, None, None, tmp_path), {"stages": [{"steps": n} for n in steps]})

    count("students/a", 60)  # general stages of a width
    count("rungs/a", 5)
    count("rungs/a", 5, 10)
    count("rungs/b", 5)
    count("students/a", 60, 40)  # the full recipe goes on from there
    steps = state.results()["steps"]
    assert (steps["trained"], steps["full_recipe"], steps["candidates"]) == (100 + 15 + 5, 100, 2)
    assert steps["times_full_recipe"] == pytest.approx(1.2) and steps["times_per_4_candidates"] == pytest.approx(2.4)


def test_a_finalists_figures_are_those_of_its_bundle(tmp_path):
    run = tmp_path / "students/a"
    student = {"score": 0.85, "score_unseen": 0.8, "interval": [0.8, 0.9], "params": 900}
    report = {"student": student, "teacher": {"score": 0.9}, "retention": 0.85 / 0.9}
    write_json(run / "report.json", {**report, "fidelity": {"student": {"agreement": 0.7}}})
    for name, count in (("bundle", 900), ("bundle-int8", 600)):  # 600: of a pruned vocabulary
        write_json(run / name / "manifest.json", {"parameters": count})
    stages = [{"steps": 60, "seconds": 3.0, "dev": None}, {"steps": 40, "seconds": 2.0, "dev": 0.88}]

    entry = Entry(SMALL)
    entry.finish({"stages": stages, "bundle": None}, run / "bundle", tmp_path)
    names = ("dev", "score", "interval", "parameters", "agreement", "steps", "seconds", "bundle")
    assert [entry.final[name] for name in names] == [
        *(0.88, 0.85, [0.8, 0.9], 900, 0.7),
        *(100, 5.0, "students/a/bundle"),
    ]
    own = {"dev": 0.82, "score": 0.81, "interval": [0.78, 0.84]}
    entry.finish({"stages": stages, "bundle": own}, run / "bundle-int8", tmp_path)
    assert [entry.final[name] for name in names] == [
        *(0.82, 0.81, [0.78, 0.84], 600, None),
        *(100, 5.0, "students/a/bundle-int8"),
    ], "nothing is said of it that was measured of the student before"
    assert entry.final["retention"] == pytest.approx(0.9) and entry.final["score_unseen"] is None


def test_pages_hold_every_candidate(state, tmp_path, capsys):
    state.choose([SMALL, LARGE])
    state.environment = {"cores": 2, "versions": {"paddle": "3.1.1", "numpy": "1.26"}}
    results = state.results()
    write_json(tmp_path / "results.json", results)
    page = write_search_pages(json.loads(json.dumps(results)), tmp_path)
    html, markdown = page.read_text(encoding="utf-8"), (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| versions | paddle 3.1.1, numpy 1.26 |" in markdown
    assert "Search: &lt;s&gt;" in html and "data:image/png" in html
    for one in (SMALL, LARGE, SLOW):
        assert one.name in html and one.name in markdown
    lines = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text(encoding="utf-8"))))
    assert [line["name"] for line in lines] == [SMALL.name, LARGE.name, SLOW.name]
    assert lines[0]["latency_ms"] == "0.52" and lines[0]["rung_1"] == "0.6000000000000001" and lines[2]["dev"] == ""
    assert "final" not in lines[0] and "trained once for each width" in html
    results["steps"]["general"] = 0
    plain = write_search_pages(results, tmp_path).read_text(encoding="utf-8")
    assert "trained once for each width" not in plain, "the base has no general stage"
    rows = finals_table(results).rows
    assert [row["student"] for row in rows] == [LARGE.name, SMALL.name, "teacher", "linear floor"]
    assert rows[1]["ms"] == "0.52 (0.468 to 0.624)" and rows[1]["budget"] == "kept"
    print_search(page)
    assert SMALL.name[:6] in capsys.readouterr().out


def test_a_search_that_has_just_begun_has_a_page(state, tmp_path):
    state.entries, state.references = {SMALL: Entry(SMALL, figures(0.5, measured=False))}, {}
    results = state.results()
    assert lead(results)[1] == "The search is not finished." and pareto_plot(results) is None and check_plot({}) is None
    assert finals_table(results).rows == [] and write_search_pages(results, tmp_path).is_file()


def test_bundles_are_measured_once_with_the_teachers_size(state, tmp_path, monkeypatch):
    state.facts["teacher"] = {
        **{"num_hidden_layers": 12, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
        "vocab_size": 8000,
    }
    for one in (SMALL, LARGE):
        folder = tmp_path / state.entries[one].final["bundle"]
        folder.mkdir(parents=True)
        write_json(folder / "manifest.json", {"files": {"model.pdiparams": one.name, "README.md": "first"}})
        write_json(folder.parent / "report.json", {"teacher": {"score": 0.9, "score_unseen": 0.9}, "environment": {}})
    asked = []

    def bench(request, say):
        asked.append(request)
        models = [{"file_mb": 50.0}, {"file_mb": 1.0}, {"file_mb": 2.0}]
        records = []
        for length, factor in zip(request.lengths, (1.0, 3.0), strict=True):
            for latency in (10.0, 0.4, 0.8):
                rounds = [[factor * latency] * 3, [1.5 * factor * latency] * 3]
                figures = {"latency_ms": {"p50": factor * latency}, "rounds_ms": rounds, "rss_mb": 70.0}
                records.append({"length": length, **figures})
        return {"models": models, "records": records}

    monkeypatch.setattr(remeasure, "bench", bench)
    state.speeds = type("Speeds", (), {"engine": "openvino", "record": lambda self: {}})()
    setting = Setting(1, (5, 9), 1, "auto")
    for _ in range(2):
        measure_finalists(state, [SMALL, LARGE], setting, tmp_path, print)
        for one in (SMALL, LARGE):  # as the step of the card does when there is more to tell
            manifest = tmp_path / state.entries[one].final["bundle"] / "manifest.json"
            write_json(manifest, {"files": {"model.pdiparams": one.name, "README.md": "second"}})
    assert len(asked) == 1, "kept"
    assert asked[0].models[0] == "12l-384h-12heads-1536ffn-8000vocab" and asked[0].engines == ["openvino"]
    small = state.entries[SMALL].measured
    assert small["latency_ms"] == pytest.approx(0.8), "the mean of 0.4 and 1.2"
    assert (small["latency_low_ms"], small["latency_high_ms"]) == (pytest.approx(0.8), pytest.approx(1.2))
    assert small["files_mb"] == 1.0 and state.references["teacher"]["latency_ms"] == pytest.approx(20.0)

    measure_finalists(state, [SMALL, LARGE], replace(setting, lengths=(5, 9, 9, 9)), tmp_path, print)
    assert len(asked) == 2 and asked[1].lengths == [5, 9], "a length is measured once, and counts as often as it is"
    assert state.entries[SMALL].measured["latency_ms"] == pytest.approx(1.0), "the mean of 0.4 and three times 1.2"
