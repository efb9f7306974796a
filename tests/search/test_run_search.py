"""What a search refuses before any work, and how it ends without a winner."""

from types import SimpleNamespace

import pytest
import yaml

from paddle_ernie_tiny.budget_search import run_search
from paddle_ernie_tiny.budget_search.desk import ProcessEnded
from paddle_ernie_tiny.budget_search.run_search import search
from paddle_ernie_tiny.budget_search.search_settings import SearchSettings
from paddle_ernie_tiny.budget_search.search_state import Entry
from paddle_ernie_tiny.budget_search.space import CandidateStudent
from paddle_ernie_tiny.config.load import read_mapping
from paddle_ernie_tiny.errors import InputError, InputErrors

pytestmark = pytest.mark.unit
ONE = CandidateStudent(1, 64, 4, 128)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"teacher": "bert-base-chinese"}, "teacher"),
        ({"student": 3}, "student"),
        ({"stages": "general"}, "stages"),
        ({"objective": [1]}, "objective"),
        ({"export": "int8"}, "export"),
        ({"quantization_aware": {}}, "quantization_aware"),
    ],
)
def test_a_base_that_is_no_run_is_refused(project_root, tmp_path, change, place):
    base = {**read_mapping(project_root / "configs/demo.yaml"), **change, "seed": -1}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    values = {"output_dir": str(tmp_path / "out"), "base": "base.yaml", "budget": {"latency_ms": 5.0}}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(InputErrors) as raised:
        search(tmp_path / "search.yaml")
    assert f"base.yaml: {place}" in str(raised.value) and "base.yaml: seed" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_without_a_winner_it_is_an_error_and_no_older_winner_is_left(tmp_path, monkeypatch):
    settings = SearchSettings(output_dir=str(tmp_path), base="base.yaml", budget={"latency_ms": 1.0})
    facts = {"metric": "accuracy", "evaluated_on": "test", "lengths": [9], "teacher": {}, "floor": None}
    desk = SimpleNamespace(ask=lambda *asked: facts)
    made = run_search._Search(settings, {}, tmp_path, desk, print, "ernie-tiny search search.yaml")
    slow = {name: 2.0 for name in ("latency_ms", "latency_low_ms", "latency_high_ms", "files_mb", "texts_per_second")}

    def finals(self, finalists):
        self.state.entries[ONE].final = {"dev": 0.9, "score": 0.8}
        self.state.entries[ONE].measured = {**slow, "rss_mb": 2.0, "parameters_m": 2.0, "measured": True}
        self.state.choose(finalists)

    for name, answer in (("_full", None), ("_speeds", None), ("_within", [ONE]), ("_halved", [ONE])):
        monkeypatch.setattr(run_search._Search, name, lambda self, *asked, answer=answer: answer)
    monkeypatch.setattr(run_search._Search, "_finals", finals)
    (tmp_path / "winner.yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="1l-64h-4heads-128ffn: 2 ms, latency_ms is <= 1"):
        made.run([ONE], {})
    assert "No finalist keeps" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not (tmp_path / "winner.yaml").exists()


def test_a_process_that_dies_is_no_failed_finalist(tmp_path, monkeypatch):
    def dies(trial, steps):
        raise ProcessEnded("the process ended")

    settings = SearchSettings(output_dir=str(tmp_path), base="base.yaml", budget={"latency_ms": 1.0})
    desk = SimpleNamespace(do=dies, left="")
    made = run_search._Search(settings, {}, tmp_path, desk, print, "ernie-tiny search search.yaml")
    made.state.entries = {ONE: Entry(ONE)}
    monkeypatch.setattr(run_search._Search, "_final_trial", lambda self, one: None)
    with pytest.raises(ProcessEnded):
        made._finals([ONE])
    assert made.state.entries[ONE].out == "", "the next call trains it"
