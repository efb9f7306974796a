"""What a search refuses before any work, and what becomes of it when a training fails."""

import os
from pathlib import Path

import pytest
import yaml

from paddle_ernie_tiny.budget_search.desk import Desk, ProcessEndedError
from paddle_ernie_tiny.budget_search.run_search import _Search, search
from paddle_ernie_tiny.budget_search.search_settings import SearchSettings
from paddle_ernie_tiny.budget_search.search_state import Entry
from paddle_ernie_tiny.budget_search.space import CandidateStudent
from paddle_ernie_tiny.budget_search.trials import Trial, bundle_of, short_run
from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.config.load import read_mapping
from paddle_ernie_tiny.errors import ErnieTinyError, InputError, InputErrors
from paddle_ernie_tiny.files import write_json
from paddle_ernie_tiny.stages import step_names

pytestmark = pytest.mark.unit
ONE = CandidateStudent(1, 64, 4, 128)


@pytest.fixture
def written(tmp_path, project_root):
    """Writes a search on the demo, with changes of the base, and gives its path."""

    def write(space: dict, **changes) -> Path:
        base = {**read_mapping(project_root / "configs/demo.yaml"), **changes}
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
        values = {"output_dir": str(tmp_path / "out"), "base": "base.yaml", "budget": {"latency_ms": 1}, "space": space}
        (tmp_path / "search.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return tmp_path / "search.yaml"

    return write


@pytest.mark.parametrize("changes", [{"teacher": 5}, {"stages": "all"}, {"no_such": 1}, {"student": [1]}])
def test_a_base_that_is_no_run_is_refused(written, tmp_path, changes):
    with pytest.raises(InputErrors) as raised:
        search(written({}, **changes))
    assert f"base.yaml: {next(iter(changes))}" in str(raised.value) and not (tmp_path / "out").exists()


def test_a_length_that_no_text_has_is_refused(written, tmp_path):
    with pytest.raises(InputError, match="128 tokens are more than the 40 of task.max_length_tokens"):
        search(written({}), ["at.length=128"])
    assert not (tmp_path / "out").exists()


def test_shapes_that_the_bases_start_does_not_fit_are_left_out(written, tmp_path):
    space = {"num_hidden_layers": [2], "hidden_size": [64], "num_attention_heads": [4], "ffn_ratio": [4.0]}
    file = written(space, student={"init": {"method": "teacher_layers"}})
    with pytest.raises(InputError) as raised:
        search(file)
    what = "no candidate fits together: 2l-64h-4heads-256ffn: a layer of the teacher does not fit: hidden_size is 128"
    assert what in str(raised.value) and not (tmp_path / "out").exists()


class FailingDesk:
    def __init__(self, error):
        self.error = error

    def do(self, trial, steps):
        raise self.error


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (ErnieTinyError("the loss is nan"), False),
        (InputError("the file was changed"), True),
        (ProcessEndedError("it is gone"), True),
    ],
)
def test_a_candidate_that_diverges_is_out_and_the_search_goes_on(tmp_path, error, stops):
    settings = SearchSettings(output_dir=str(tmp_path), base="base.yaml", budget={"latency_ms": 1.0})
    running = _Search(settings, {}, tmp_path, FailingDesk(error), print, "ernie-tiny search search.yaml")
    running.state.entries = {ONE: Entry(ONE)}
    if stops:
        with pytest.raises(type(error)):
            running._record(ONE, Trial("rungs/a", None, "task_specific", tmp_path), 5)
        return
    assert running._record(ONE, Trial("rungs/a", None, "task_specific", tmp_path), 5) is None
    assert running.state.entries[ONE].out == "failed: the loss is nan" and running.failure is error


def test_a_process_that_dies_is_no_answer(tmp_path):
    with Desk(tmp_path, print) as desk:
        assert desk.ask(abs, -3) == 3
        for _ in range(2):
            with pytest.raises(ProcessEndedError, match="ended without an answer"):
                desk.ask(os._exit, 1)


def test_the_time_left_is_reckoned_from_students_alone(tmp_path):
    desk = Desk(tmp_path, print)
    desk.planned, desk.ask = 100, lambda *_: {}
    made = type("Made", (), {"record": lambda self: None})()
    desk.do(made, 0)  # a teacher
    assert desk.left == "time left not known yet"
    desk.do(made, 40)
    assert desk.passed == 40 and desk.left == "left about 00:00"


def test_a_trial_is_done_while_its_files_are_there(tmp_path, project_root):
    config = load_config(project_root / "configs/demo.yaml", [f"output_dir={tmp_path / 'run'}"])
    trial = Trial("students/a", config, "general_enhanced", tmp_path)
    trial.finish({"stages": []})
    assert trial.record() is None, "its model is not there"
    (tmp_path / "run/stages/2-general_enhanced/final").mkdir(parents=True)
    assert trial.record()["stages"] == []
    baseline = Trial("baseline", config, "baseline", tmp_path, measured=True)
    baseline.finish({"stages": []})
    assert baseline.record() is None, "the report reads what was measured of it"
    write_json(tmp_path / "run/baseline/metrics.json", {})
    assert baseline.record()["stages"] == []
    whole = Trial("students/a", config, None, tmp_path, engine="paddle")
    whole.finish({"stages": []})
    write_json(tmp_path / "run/report.json", {})
    assert whole.record() is None
    write_json(bundle_of(config) / "manifest.json", {})
    assert whole.record() is not None
    assert Trial("students/a", config, None, tmp_path, engine="openvino").record() is None, "scored in another engine"


def test_the_first_stage_of_a_rung_has_no_head_of_the_teacher(project_root):
    config = load_config(project_root / "configs/demo.yaml", ["stages.task_specific.head=teacher"])
    short, _ = short_run(config, "x", [300, 100], [40, 80])
    assert [stage.head for stage in short.stages] == ["own", "teacher", "own", "teacher"]
    alone = config.model_copy(update={"stages": [config.stages[0], config.stages[-1]]})
    short, until = short_run(alone, "x", [100], [40, 80])
    assert [stage.head for stage in short.stages] == ["own", "own"]
    assert until == "task_specific-2" and step_names(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]
