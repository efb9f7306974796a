"""Checkpoints: whole or not used, no pickle, and exact: a training that goes on from one ends as an undisturbed one."""

import json
import os
import pickle
import random

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import TrainingSettings
from paddle_ernie_tiny.data.rows import EncodedRows
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.seals import DamageError, write_seal
from paddle_ernie_tiny.training.checkpoints import last_checkpoint, load_random_state, write_random_state
from paddle_ernie_tiny.training.tasks import FinetuneTrainer
from paddle_ernie_tiny.training.trainer import Training, training_arguments

from ..damage import DAMAGES, delete, flip

FILES = [
    "complete",
    "model.safetensors",
    "optimizer.safetensors",
    "random-0.json",
    "schedule.json",
    "trainer_state.json",
]
SCORES = {5: 0.5, 10: 0.9, 15: 0.7, 20: 0.8}


class Stop(Exception):
    """Stands for a crash."""


def train(folder, crash_at=None, scores=None):
    """(weights, history) of a training with dropout, 20 steps in epochs of 5; Stop is raised at the step `crash_at`."""
    from paddlenlp.transformers import BertConfig, BertForSequenceClassification

    with paddle.utils.unique_name.guard():
        paddle.seed(3)
        rng = np.random.default_rng(0)
        ids = [rng.integers(5, 40, size=rng.integers(3, 12)).tolist() for _ in range(20)]
        rows = EncodedRows(ids, [[0] * len(row) for row in ids], np.array([row[0] % 2 for row in ids]))
        size = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = BertForSequenceClassification(
            BertConfig(**size, intermediate_size=16, max_position_embeddings=16, type_vocab_size=2, num_labels=2)
        )
        settings = TrainingSettings(
            max_steps=20, learning_rate=1e-3, per_device_train_batch_size=4, logging_steps=5, save_steps=5
        )
        args = training_arguments(settings, len(rows), folder, folder / "vdl", seed=3)
        evaluate = None if scores is None else lambda: scores[trainer.state.global_step]
        trainer = FinetuneTrainer(model, KINDS["classification"], Training(args, rows, 0, "test", evaluate))
        compute = trainer.compute_loss

        def loss(model, inputs, **kwargs):
            if trainer.state.global_step == crash_at:
                raise Stop
            return compute(model, inputs, **kwargs)

        trainer.compute_loss = loss
        assert model.config.hidden_dropout_prob > 0
        checkpoint = trainer.begin()
        if trainer.steps_left:
            trainer.train(resume_from_checkpoint=checkpoint)
        result = trainer.conclude()
    history = [(entry["step"], entry.get("loss"), entry.get("dev_score")) for entry in result["history"]]
    return {name: value.numpy() for name, value in model.state_dict().items()}, history


def crashed(folder, step, **options):
    """A training that crashed at a step."""
    with pytest.raises(Stop):
        train(folder, crash_at=step, **options)
    np.random.seed(99)  # a new process has other states
    random.seed(99)
    return folder


def check_equal(one, other):
    assert one[1] == other[1]
    for name, value in one[0].items():
        np.testing.assert_array_equal(other[0][name], value, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def test_the_environment_is_left_alone_at_every_step(undisturbed):
    """With PaddleNLP writing to it, memory grew by 2 kB per step; without, it does not."""
    assert "TRAINER_GLOBAL_STEP" not in os.environ


@pytest.mark.parametrize("step", [13, 11, 5])
def test_with_dropout_a_training_goes_on_exactly_also_from_the_end_of_an_epoch(tmp_path, undisturbed, step):
    check_equal(undisturbed, train(crashed(tmp_path, step)))


def test_no_file_is_a_pickle_and_none_is_read(tmp_path, undisturbed, monkeypatch):
    folder = crashed(tmp_path, 13)
    assert sorted(file.name for file in (folder / "checkpoint-10").iterdir()) == FILES

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "code ran"),)

    for name in ("optimizer.pdopt", "scheduler.pdparams", "rng_state.pth", "model_state.pdparams", "training_args.bin"):
        (folder / "checkpoint-10" / name).write_bytes(pickle.dumps(Evil(), 2))
    monkeypatch.setattr(paddle, "load", None)
    check_equal(undisturbed, train(folder))
    assert not (tmp_path / "code ran").exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_not_used_and_the_one_before_it_is(tmp_path, name, damage, capsys):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for file in FILES[1:]:
            (folder / file).write_bytes(file.encode() * 9)
        write_seal(folder / "complete", {}, folder.iterdir())
    damage(tmp_path / "checkpoint-10" / name)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert not (tmp_path / "checkpoint-10").exists(), "or it would count as one of the two that are kept"
    if (name, damage) != ("complete", delete):  # which is what a crash while saving leaves
        said = capsys.readouterr().out
        assert "checkpoint-10 is not used" in said and str(tmp_path / "checkpoint-10" / name) in said


@pytest.mark.parametrize("steps", [[10], [5, 10]])
def test_from_the_older_one_or_from_the_start_the_training_ends_the_same(tmp_path, undisturbed, steps):
    folder = crashed(tmp_path, 13)
    for step in steps:
        flip(folder / f"checkpoint-{step}" / "optimizer.safetensors")
    check_equal(undisturbed, train(folder))


def test_what_else_is_called_like_a_checkpoint_is_removed(tmp_path):
    write_seal(tmp_path / "checkpoint-5" / "complete", {})
    (tmp_path / "checkpoint-7").write_text("a file")
    write_seal(tmp_path / "checkpoint-abc" / "complete", {})
    assert last_checkpoint(tmp_path).name == "checkpoint-5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5"]


def test_a_checkpoint_of_an_earlier_version_is_refused_and_kept(tmp_path):
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    (folder / "complete").write_text("12.3")
    with pytest.raises(InputError, match=r"checkpoint-5: a checkpoint of an earlier version.*pickles"):
        last_checkpoint(tmp_path)
    assert folder.is_dir()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "score.json"])
def test_without_its_best_model_a_training_starts_again(tmp_path, damage, name, capsys):
    expected = train(tmp_path / "whole", scores=SCORES)
    folder = crashed(tmp_path / "cut", 17, scores=SCORES)
    damage(folder / "best" / name)
    check_equal(expected, train(folder, scores=SCORES))
    assert "checkpoint-15 is not used; the best model, of step 10, is not there any more" in capsys.readouterr().out


def test_a_best_model_that_is_damaged_while_the_training_runs_is_no_result(tmp_path):
    def evaluated():
        class Scores(dict):
            def __getitem__(self, step):
                if step == 20:
                    flip(tmp_path / "best" / "model.safetensors")
                return SCORES[step]

        return Scores()

    with pytest.raises(DamageError, match=r"best/model\.safetensors: the file is damaged"):
        train(tmp_path, scores=evaluated())


def test_random_states_come_back(tmp_path):
    def drawn():
        return random.random(), float(np.random.rand()), float(np.random.randn()), paddle.rand([3]).tolist()

    np.random.randn()  # NumPy keeps the second of two normal numbers
    write_random_state(tmp_path, 0)
    first = drawn()
    drawn()
    load_random_state(tmp_path, 0)
    assert drawn() == first
    load_random_state(tmp_path, 1)  # of a process that was not there: nothing changes
    json.loads((tmp_path / "random-0.json").read_text(encoding="utf-8"))
