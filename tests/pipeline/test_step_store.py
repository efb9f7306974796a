"""Steps that runs share: taken whole with their id, made once among processes, and damaged ones made again."""

import errno
import shutil
import threading
import time
from concurrent.futures import TimeoutError as TooLong
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_ernie_tiny.files import read_json
from paddle_ernie_tiny.models.weights import WEIGHTS
from paddle_ernie_tiny.pipeline.step import DONE, FINAL, RunFolder, Step, identity
from paddle_ernie_tiny.pipeline.step_store import TAKEN, StepStore
from paddle_ernie_tiny.processes import Workers

from ..damage import delete, flip


class Made(Step):
    """A step that leaves weights and a vocabulary; `settings` are its inputs."""

    name = "make"

    def inputs(self):
        return {"value": self.settings}


def step_of(root: Path, value=1, folder="stages/1-general", shared: Path | None = None) -> Made:
    """The step of a run in `root`; of a teacher, if it is in the folder `shared`."""
    run = RunFolder(root, shared)
    config = SimpleNamespace(extensions=["module", *map(str, root.parent.glob("*.py"))])
    step = Made(SimpleNamespace(folder=run, student="", config=config), (shared or root) / folder, value)
    step.state()
    return step


def make(step: Made, text="weights") -> Made:
    """Does the step's work."""
    step.begin(fresh=True)
    step.product.mkdir()
    (step.product / WEIGHTS).write_text(text)
    (step.product / "vocab.txt").write_text("words")
    step.finish({"steps": 3})
    return step


@pytest.fixture
def folder(tmp_path) -> Path:
    """A store that has the step of the run "a", which stays in the folder a."""
    store, step = StepStore(tmp_path / "store", "task/seed-1/a/"), step_of(tmp_path / "a")
    assert not store.take(step), "nobody has made it"
    store.give(make(step))
    return tmp_path


def kept(root: Path) -> list[Path]:
    return sorted(path.parent for path in (root / "store").glob(f"*/{DONE}"))


def test_a_taken_step_keeps_id_and_files(folder):
    step = step_of(folder / "b")
    assert StepStore(folder / "store", "task/seed-1/b/").take(step)
    assert step.state() == ("done", [])
    assert identity(step.folder) == identity(folder / "a" / "stages" / "1-general")
    assert (step.product / WEIGHTS).read_text() == "weights" and (step.product / "vocab.txt").read_text() == "words"
    assert read_json(step.folder / TAKEN) == {"from": "task/seed-1/a/", "teacher": False}
    assert not (folder / "a" / "stages" / "1-general" / TAKEN).exists(), "the maker's own is not marked"


def test_weights_are_linked_and_the_rest_is_copied(folder):
    step = step_of(folder / "b")
    StepStore(folder / "store", "b").take(step)
    files = [folder / "a" / "stages" / "1-general" / FINAL, *(entry / FINAL for entry in kept(folder)), step.product]
    assert len(files) == 3
    assert len({(place / WEIGHTS).stat().st_ino for place in files}) == 1
    assert len({(place / "vocab.txt").stat().st_ino for place in files}) == 3
    shutil.rmtree(files[0])
    assert step.state() == ("done", []), "what the maker removes is still here"


def test_a_step_with_other_extension_code_is_another(folder):
    (folder / "terms.py").write_text("WEIGHT = 1")
    step, store = step_of(folder / "a"), StepStore(folder / "store", "a")
    state, (what,) = step.state()
    assert state == "stale" and what.startswith("extensions: null -> [")
    assert not store.take(step)
    store.give(make(step))
    assert StepStore(folder / "store", "b").take(step_of(folder / "b"))
    (folder / "terms.py").write_text("WEIGHT = 2")
    assert step.state()[0] == "stale"
    other = StepStore(folder / "store", "c")
    assert not other.take(step_of(folder / "c"))
    other.close()


def test_weights_are_copied_between_disks(folder, monkeypatch):
    def other_disk(old, new):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("os.link", other_disk)
    step = step_of(folder / "b")
    assert StepStore(folder / "store", "b").take(step) and step.state() == ("done", [])
    assert (step.product / WEIGHTS).stat().st_nlink == 1 and (step.product / WEIGHTS).read_text() == "weights"


def test_other_inputs_are_another_step(folder):
    store = StepStore(folder / "store", "b")
    assert not store.take(step_of(folder / "b", value=2))
    store.close()


def test_a_step_whose_product_is_elsewhere_is_not_shared(tmp_path):
    store, step = StepStore(tmp_path / "store", "a"), step_of(tmp_path / "a")
    make(step)
    step.product = tmp_path / "given"
    store.give(step)
    assert not store.take(step) and not (tmp_path / "store").exists()


def test_what_a_run_left_half_done_is_replaced(folder):
    step = step_of(folder / "b")
    step.begin(fresh=True)
    (step.folder / "checkpoint-10").mkdir()
    assert StepStore(folder / "store", "b").take(step)
    assert not (step.folder / "checkpoint-10").exists() and step.state() == ("done", [])


@pytest.mark.parametrize("harm", [flip, delete])
@pytest.mark.parametrize("name", [f"{FINAL}/vocab.txt", DONE])
def test_a_damaged_entry_is_not_taken_but_made_again(folder, harm, name):
    harm(kept(folder)[0] / name)
    store, step = StepStore(folder / "store", "b"), step_of(folder / "b")
    assert not store.take(step) and not step.folder.exists()
    store.give(make(step))
    assert StepStore(folder / "store", "c").take(step_of(folder / "c")), "the damaged one has been replaced"
    assert identity(folder / "c" / "stages" / "1-general") == identity(step.folder)


def take_in_a_process(root: str, run: str) -> str:
    """What a process that needs the step does: takes it, or makes it slowly. Returns who made what it has."""
    store, step = StepStore(Path(root) / "store", run), step_of(Path(root) / run)
    if not store.take(step):
        time.sleep(1)
        store.give(make(step, text=f"by {run}"))
    return (step.product / WEIGHTS).read_text()


def test_of_two_processes_one_makes_a_step_and_the_other_waits_for_it(tmp_path):
    with Workers(2) as workers:
        both = [workers.submit(take_in_a_process, str(tmp_path), run) for run in ("a", "b")]
        texts = [future.result(timeout=120) for future in both]
    assert len(set(texts)) == 1 and texts[0] in ("by a", "by b")
    taken = [run for run in ("a", "b") if (tmp_path / run / "stages" / "1-general" / TAKEN).is_file()]
    assert [f"by {run}" for run in ("a", "b") if run not in taken] == texts[:1]


def test_a_run_that_gives_up_lets_the_others_make_the_step(tmp_path):
    first, second = StepStore(tmp_path / "store", "a"), StepStore(tmp_path / "store", "b")
    assert not first.take(step_of(tmp_path / "a"))
    found = []
    waiting = threading.Thread(target=lambda: found.append(second.take(step_of(tmp_path / "b"))), daemon=True)
    waiting.start()
    waiting.join(timeout=0.3)
    assert waiting.is_alive() and not found, "it waits for the one that is at work"
    first.close()
    waiting.join(timeout=30)
    assert found == [False], "it is to make the step itself"
    second.close()


def die_in_a_process(root: str) -> None:
    """Begins the step, and ends as if it were killed."""
    import os
    import signal

    assert not StepStore(Path(root) / "store", "a").take(step_of(Path(root) / "a"))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_holds_nothing_back(tmp_path):
    with pytest.raises(Exception, match="terminated abruptly"), Workers(1) as workers:
        workers.submit(die_in_a_process, str(tmp_path)).result(timeout=120)
    with Workers(1) as workers:
        try:
            assert workers.submit(take_in_a_process, str(tmp_path), "b").result(timeout=60) == "by b"
        except TooLong:
            pytest.fail("the lock of a process that is gone is still held")


def test_the_steps_of_some_runs_are_removed(folder):
    second = StepStore(folder / "store", "task/seed-2/a/")
    for value in (2, 3):
        step = step_of(folder / "second", value)
        assert not second.take(step)
        second.give(make(step))
    assert len(kept(folder)) == 3
    second.remove_of("task/seed-1/")
    assert len(kept(folder)) == 2
    assert (folder / "a" / "stages" / "1-general" / FINAL / WEIGHTS).read_text() == "weights"
    store = StepStore(folder / "store", "b")
    assert not store.take(step_of(folder / "b"))
    store.close()
    assert store.take(step_of(folder / "b", 2))


def test_teachers_stay_for_runs_that_come_later(tmp_path):
    store = StepStore(tmp_path / "store", "task/seed-1/a/")
    step = step_of(tmp_path / "a", folder="teacher/finetuned", shared=tmp_path / "shared-1")
    assert not store.take(step)
    store.give(make(step))
    store.remove_of("task/seed-1/")
    other = step_of(tmp_path / "b", folder="teacher/finetuned", shared=tmp_path / "shared-2")
    assert StepStore(tmp_path / "store", "task/seed-2/a/").take(other)
    assert identity(other.folder) == identity(step.folder)


def test_a_step_whose_record_is_damaged_is_removed_too(folder):
    (kept(folder)[0] / TAKEN).write_text("[]")
    StepStore(folder / "store", "task/seed-1/a/").remove_of("task/seed-1/")
    assert not kept(folder)
