"""Damaged files of a run, interrupted or finished: `verify` names each, and `run` never uses one."""

import hashlib
import shutil
from pathlib import Path

import pytest

from paddle_ernie_tiny.config import load_config
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.pipeline.run import run as run_pipeline
from paddle_ernie_tiny.pipeline.verify import verify
from paddle_ernie_tiny.seals import DamageError
from paddle_ernie_tiny.watch import Watcher

from ..damage import DAMAGES, delete, empty, flip, halve
from .conftest import ernie_tiny

CACHED = ["stages.task_adaptive.teacher_signals=cached", "stages.task_specific.teacher_signals=cached"]
LAST = "stages/4-task_specific"


class Stop(Exception):
    """Stands for a crash."""


def go(run, root: Path, on_progress=None) -> str:
    """Runs up to the last stage in `root`, in this process; returns what was said."""
    said: list[str] = []
    config = load_config(run.file, [f"output_dir={root}", *CACHED])
    run_pipeline(config, until="task_specific", say=said.append, watcher=Watcher(on_progress))
    return "\n".join(said)


def products(root: Path) -> dict[str, str]:
    files = [
        file for folder in (*root.glob("stages/*/final"), *root.glob("teacher/*/final")) for file in folder.iterdir()
    ]
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def problems(root: Path) -> list[str]:
    lines: list[str] = []
    count = verify(root, lines.append)
    damaged = [line for line in lines if line.startswith("damaged")]
    assert len(damaged) == count and len(lines) > len(damaged)
    return damaged


@pytest.fixture(scope="module")
def states(finished, tmp_path_factory):
    """(the run, its folder when the last stage crashed at its end, what comes out of it undisturbed)"""
    run = finished.copy(tmp_path_factory.mktemp("states"))

    def crash(progress):
        if progress.title.startswith("task-specific") and progress.steps == 10:
            raise Stop

    cut, whole = run.folder / "cut", run.folder / "whole"
    shutil.copytree(run.root, cut)
    with pytest.raises(Stop):
        go(run, cut, crash)
    shutil.copytree(cut, whole)
    go(run, whole)
    assert not problems(cut) and not problems(whole)
    return run, cut, products(whole)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (f"{LAST}/checkpoint-9/model.safetensors", flip),
        (f"{LAST}/checkpoint-9/trainer_state.json", empty),
        (f"{LAST}/best/model.safetensors", halve),
        (f"{LAST}/inputs.json", flip),
        ("data/signals/*/states.bin", flip),
        ("data/signals/*/logits.bin", halve),
        ("data/signals/*/key.json", delete),
        ("teacher/finetuned/final/model.safetensors", flip),
        ("teacher/finetuned/final/config.json", delete),
        ("teacher/finetuned/done.json", empty),
        ("teacher/finetuned/metrics.json", flip),
        ("teacher/finetuned/predictions.npz", halve),
        ("stages/3-task_adaptive/final/projections.safetensors", delete),
        ("stages/3-task_adaptive/done.json", flip),
    ],
)
def test_a_damaged_part_is_named_and_made_again(states, tmp_path, name, damage, capsys):
    run, cut, expected = states
    root = tmp_path / "run"
    shutil.copytree(cut, root)
    file = next(root.glob(name))
    damage(file)
    found = problems(root)
    assert found and (str(file) in found[0] or str(file.parent) in found[0]) and "ernie-tiny run CONFIG" in found[0]
    said = go(run, root) + capsys.readouterr().out
    assert str(file) in said or str(file.parent) in said
    assert products(root) == expected and not problems(root)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_sees_every_damage_of_a_finished_run(finished, tmp_path, damage):
    shutil.copytree(finished.root, tmp_path / "whole")
    assert not problems(tmp_path / "whole")
    for file in sorted(path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        name = file.relative_to(tmp_path / "whole")
        # logs and notes that no step reads; what is begun has no weight once it is done
        if name.parts[0] in ("vdl", ".lock") or name.name == "inputs.json" or not file.stat().st_size:
            continue
        content = file.read_bytes()
        damage(file)
        if name.name == "config.resolved.yaml" and damage is not flip:
            with pytest.raises(InputError):
                verify(tmp_path / "whole", lambda line: None)
        elif (name.name, damage) != ("sealed.json", delete):
            try:
                assert problems(tmp_path / "whole"), name
            except DamageError as refused:  # where the flipped byte leaves no YAML
                assert refused.where == str(file) and name.name == "config.resolved.yaml"
        file.write_bytes(content)


def test_a_step_that_is_made_again_as_it_was_keeps_what_builds_on_it(states, tmp_path, capsys):
    run, cut, expected = states
    shutil.copytree(cut, tmp_path / "run")
    go(run, tmp_path / "run")
    flip(tmp_path / "run" / "stages" / "1-general" / "final" / "model.safetensors")
    said = go(run, tmp_path / "run")
    assert "general: re-running" in said and "general_enhanced: already done" in said and said.count("done in") == 1
    assert products(tmp_path / "run") == expected


def test_text_that_changes_during_a_run_stops_it_before_the_next_step(states, tmp_path):
    run, _, _ = states
    copied = run.copy(tmp_path / "run")
    shutil.rmtree(copied.folder / "cut")

    def change(progress):
        with open(copied.folder / "general" / "part.txt", "ab") as file:
            file.write(b"more\n")

    with pytest.raises(InputError, match=r"part\.txt: the file was changed while the run was at work"):
        go(copied, copied.folder / "new", change)
    assert not (copied.folder / "new" / "teacher" / "finetuned").exists(), "pre-training was the first step"


def test_the_command_says_each_part_and_exits_by_what_it_found(finished, tmp_path):
    run = finished.copy(tmp_path)
    done = ernie_tiny("verify", run.root)
    assert done.returncode == 0 and "ok       stages/1-general/done.json: 6 files in final/" in done.stdout, done.stderr
    done = ernie_tiny("verify", run.root / "bundle")
    assert done.returncode == 0 and "ok       manifest.json: 5 files" in done.stdout, done.stderr
    flip(run.root / "bundle" / "model.pdiparams")
    for folder, remedy in ((run.root, "ernie-tiny run CONFIG"), (run.root / "bundle", "ernie-tiny export")):
        done = ernie_tiny("verify", folder)
        assert done.returncode == 2 and "model.pdiparams" in done.stdout and remedy in done.stdout
        assert "Traceback" not in done.stderr
    assert ernie_tiny("verify", tmp_path).returncode == 2
