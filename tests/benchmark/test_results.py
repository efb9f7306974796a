"""Tables and plots of a result: what there are no figures for is left out."""

import copy

from paddle_ernie_tiny.benchmark import plots
from paddle_ernie_tiny.benchmark.results import tables, write_folder

MODEL = {"model": "bundle", "graph": "served", "precision": "fp32", "parameters": 2_000_000, "file_mb": 8.0}
RECORD = {
    **MODEL,
    "engine": "paddle",
    "device": "cpu",
    "threads": 1,
    "batch": 1,
    "length": 128,
    "latency_ms": {"p50": 2.0, "p90": 3.0, "p99": 4.0, "mean": 2.5},
    "items_per_second": 400.0,
    "times_as_fast": {"median": 1.5, "low": 1.25, "high": 2.0},
    "gflop_per_second": None,
    "rss_mb": 300.0,
}
RESULT = {
    "environment": {
        "cpu": "a processor",
        "cores": 2,
        "system": "Linux x86_64",
        "instruction_sets": [],
        "versions": {"python": "3.11", "numpy": "1.26"},
        "git_commit": None,
        "load_average": [0.0, 0.125, 1.0],
        "busy_share": 0.25,
        "started": "today",
    },
    "models": [{**MODEL, "gflop_128_tokens": None, "score": 0.9}, {**MODEL, "gflop_128_tokens": 1.5, "graph": "plain"}],
    "records": [RECORD],
    "text": [],
    "profiles": [],
    "warnings": ["a busy machine"],
}


def test_cells():
    sizes, speeds = tables(RESULT)
    assert sizes[3] == [
        ("bundle", "fp32", "2.00 M", "1.00", "8.0", "", "0.9000"),
        ("bundle (plain graph)", "fp32", "2.00 M", "1.00", "8.0", "1.50", ""),
    ]
    cells = ("bundle", "fp32", "paddle", "1", "1 x 128", "2.00", "3.00", "4.00", "400.0", "1.50 (1.25-2.00)", "", "300")
    assert speeds[3] == [cells] and len(speeds[2]) == len(cells)


def test_a_page_with_the_plots_that_there_are_figures_for(tmp_path):
    write_folder(RESULT, tmp_path)
    pictures = {"latency.png", "speed-and-accuracy.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "tables.md", *pictures}
    page = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "**Warning: a busy machine.**" in page and "![speed and accuracy](speed-and-accuracy.png)" in page
    assert page.endswith(
        "## Machine\n\n- a processor, 2 core(s), Linux x86_64; instruction sets: not known\n"
        "- python 3.11, numpy 1.26; commit not known\n"
        "- started today; load average 0.00, 0.12, 1.00; 25% of the cores busy just before\n"
    )


def test_nothing_measured_is_a_page_of_sizes(tmp_path):
    write_folder({**copy.deepcopy(RESULT), "records": []}, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"result.json", "tables.md"}


def test_plots_take_a_chinese_font_that_is_installed(monkeypatch):
    names = ["DejaVu Sans", "SimHei", "WenQuanYi Zen Hei"]
    monkeypatch.setattr(plots.font_manager, "get_font_names", lambda: names)
    assert plots.font_families() == ["DejaVu Sans", "WenQuanYi Zen Hei"]
    names.remove("WenQuanYi Zen Hei")
    assert plots.font_families() == ["DejaVu Sans", "SimHei"]
    names.remove("SimHei")
    assert plots.font_families() == ["DejaVu Sans"]
