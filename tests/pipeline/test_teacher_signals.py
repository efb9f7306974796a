"""What `auto` is: the engine of the teacher and whether its signals are cached, by the work of a stage and the disk."""

from types import SimpleNamespace

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.data.splits import load_task_data
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.pipeline import teacher_signals as module
from paddle_ernie_tiny.pipeline.context import RunContext
from paddle_ernie_tiny.pipeline.preflight import _check_device
from paddle_ernie_tiny.pipeline.step import INPUTS
from paddle_ernie_tiny.pipeline.teacher_signals import engine_of, remove_signals, signals_findings, signals_of
from paddle_ernie_tiny.seals import write_seal

# Of the demo: 400 rows, one batch holds 32 of them
STEPS = {"general": 9, "general_enhanced": 9, "task_adaptive": 25, "task_specific": 100}
TEACHER = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
WEIGHTS = 2 * (4 * 16 * 16 + 2 * 16 * 32 + 9 * 16 + 32)  # of its layers


@pytest.fixture
def context(project_root, tmp_path, monkeypatch):
    """(overrides) -> the context of the demo with 400 training rows, two passes in its third stage and eight in its
    last."""
    monkeypatch.chdir(project_root)

    def made(*overrides):
        steps = [f"stages.{name}.training.max_steps={count}" for name, count in STEPS.items()]
        sizes = [f"stages.{name}.training.per_device_train_batch_size=32" for name in STEPS]
        shape = [f"student.{key}={value}" for key, value in TEACHER.items()]
        run = [f"output_dir={tmp_path / 'run'}", "data.train_limit=400", "device=cpu"]
        config = load_config("configs/demo.yaml", [*run, *steps, *sizes, *shape, *overrides])
        return RunContext(config, load_task_data(config), None, {**TEACHER, "vocab_size": 100})

    return made


def chosen(context):
    """(signals, engine) of each stage."""
    signals = [signals_of(context, index) for index in range(4)]
    return [(each, engine_of(context, index, each)) for index, each in enumerate(signals)]


def test_a_small_teacher_is_asked_at_every_step_in_the_dynamic_graph(context):
    assert chosen(context()) == [("online", "dynamic")] * 4
    assert signals_findings({"": context()}) == []


def test_work_decides(context, monkeypatch):
    made = context()
    tokens, passes = module._tokens(made, 3)
    assert passes == 100 * 32 / 400 and module._tokens(made, 2)[1] == 2
    # what the last stage saves: seven passes; the third one saves one, and asks about two
    monkeypatch.setattr(module, "WORTH", 7 * tokens * WEIGHTS)
    assert [each for each, _ in chosen(made)[2:]] == ["online", "cached"]
    monkeypatch.setattr(module, "WORTH", 1.5 * tokens * WEIGHTS)
    # the last one, cached, asks about each row once
    assert chosen(made)[2:] == [("online", "inference"), ("cached", "dynamic")]
    monkeypatch.setattr(module, "WORTH", 0.5 * tokens * WEIGHTS)
    assert chosen(made)[2:] == [("cached", "inference"), ("cached", "inference")]


def test_text_without_labels_counts_as_the_training_rows_do(context, monkeypatch):
    made = context()
    tokens, passes = module._tokens(made, 3)
    monkeypatch.setattr(module, "windows_per_row", lambda *_: 2.0)
    monkeypatch.setattr(made.data, "pool", SimpleNamespace(rows=made.data.train))
    # the same rows again, and each of two windows
    assert module._tokens(made, 3) == (pytest.approx(4 * tokens), passes / 4)


def test_paddle_inference_is_not_for_a_gpu(context):
    with pytest.raises(InputError, match=r"teacher\.engine: inference is for CPUs"):
        _check_device(context("teacher.engine=inference").config, "gpu")


@pytest.fixture
def worth(monkeypatch):
    """All work is worth it."""
    monkeypatch.setattr(module, "WORTH", 1.0)


def test_general_text_and_rows_that_are_seen_once_are_not_cached(context, worth):
    once = context("stages.task_adaptive.training.max_steps=12")
    assert [each for each, _ in chosen(once)] == ["online", "online", "online", "cached"]
    assert {engine for _, engine in chosen(once)} == {"inference"}


def test_what_the_user_asks_for_is_done(context, worth):
    asked = context("teacher.engine=static", "stages.task_specific.teacher_signals=online")
    assert chosen(asked)[3] == ("online", "static")
    assert engine_of(context("teacher.engine=dynamic"), 3, "online") == "dynamic"


def test_on_a_gpu_and_in_several_processes_signals_are_not_cached(context, worth, monkeypatch):
    made = context()
    with monkeypatch.context() as patch:
        patch.setattr(module, "find_device", lambda device: "gpu")
        assert chosen(made) == [("online", "dynamic")] * 4
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert chosen(made) == [("online", "inference")] * 4


def test_the_disk_decides_once(context, worth, monkeypatch):
    made, settings = context(), context().config.stages[3].training
    size = module._size(made, 3)
    monkeypatch.setattr(module, "free_bytes", lambda folder: (size / module.DISK_SHARE, folder))
    (note,) = [finding for finding in signals_findings({"": made}) if "task_specific" in finding.where]
    assert note.level == "note" and "auto: cached; cached they take about" in note.what and "25%" in note.what
    monkeypatch.setattr(module, "free_bytes", lambda folder: (size / module.DISK_SHARE - 1, folder))
    assert signals_of(made, 3) == "online"
    assert any("auto: online" in finding.what for finding in signals_findings({"": made}))
    folder = made.stage_folder(3)
    folder.mkdir(parents=True)
    record = {"training": settings.decisive(), "teacher_signals": "cached"}
    write_seal(folder / INPUTS, record)
    assert signals_of(made, 3) == "cached", "the stage has begun so"
    write_seal(folder / INPUTS, {**record, "training": {}})
    assert signals_of(made, 3) == "online", "of another training"


def test_signals_that_are_there_count_as_free(context, worth, monkeypatch):
    made = context()
    size = module._size(made, 3)
    monkeypatch.setattr(module, "free_bytes", lambda folder: (0, folder))
    assert signals_of(made, 3) == "online"
    kept = made.folder.prepared("signals") / "task-finetuned-0"
    kept.mkdir(parents=True)
    (kept / "states.bin").write_bytes(bytes(int(size / module.DISK_SHARE) + 1))
    assert signals_of(made, 3) == "cached"


@pytest.mark.parametrize(
    ("override", "stay"),
    [("seed=1", False), ("stages.task_specific.teacher_signals=cached", True), ("signals_folder=elsewhere", True)],
)
def test_a_finished_run_keeps_the_signals_that_were_asked_for(context, override, stay):
    made = context(override)
    kept = made.folder.prepared("signals") / "task-finetuned-0"
    kept.mkdir(parents=True)
    remove_signals(made.config, made.folder)
    assert kept.is_dir() == stay
    remove_signals(made.config, made.folder)  # and where there are none
