"""Trainer mechanics on small random models: resume, checkpoints, best model, schedules."""

import signal

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import TrainingSettings
from paddle_ernie_tiny.errors import ErnieTinyError, Interrupted
from paddle_ernie_tiny.seals import write_seal
from paddle_ernie_tiny.training.tasks import FinetuneTrainer, MaskedLMTrainer, Masking
from paddle_ernie_tiny.training.trainer import Training, last_checkpoint, total_steps, training_arguments
from tests.tiny_training import CLASSES, SETTINGS, classifier, fit, rows


class Stop(Exception):
    """Stands for a crash."""


def finetuner(folder, evaluate_with=None, **more):
    paddle.seed(3)
    data = rows()
    args = training_arguments(SETTINGS, len(data), folder, folder / "vdl", seed=3)
    return FinetuneTrainer(classifier(), CLASSES, Training(args, data, 0, "test", evaluate_with, **more))


def weights(trainer):
    return {name: value.numpy() for name, value in trainer.model.state_dict().items()}


def whole_and_resumed(make, folder):
    """(trainer, result) of an undisturbed training, and of one that crashed at step 13 and was run again.

    As the pipeline does, each training counts parameter names from zero.
    """
    with paddle.utils.unique_name.guard():
        whole = make(folder / "whole")
        expected = fit(whole)
    with paddle.utils.unique_name.guard():
        cut = make(folder / "cut")
    compute = cut.compute_loss

    def crash_at_step_13(model, inputs, **kwargs):
        if cut.state.global_step == 13:
            raise Stop
        return compute(model, inputs, **kwargs)

    cut.compute_loss = crash_at_step_13
    with paddle.utils.unique_name.guard(), pytest.raises(Stop):
        fit(cut)
    assert last_checkpoint(folder / "cut").name == "checkpoint-10"
    np.random.seed(99)  # a new process has another state
    with paddle.utils.unique_name.guard():
        resumed = make(folder / "cut")
        return (whole, expected), (resumed, fit(resumed))


def test_a_training_that_was_cut_off_ends_with_the_same_weights_and_history(tmp_path):
    (whole, expected), (resumed, result) = whole_and_resumed(finetuner, tmp_path)
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(resumed)[name], value, atol=1e-6, err_msg=name)
    assert [entry["step"] for entry in result["history"]] == [5, 10, 15, 20]
    assert [e["loss"] for e in result["history"]] == pytest.approx([e["loss"] for e in expected["history"]], rel=1e-4)


def test_a_training_that_was_cut_off_after_its_last_step_makes_no_step_more(tmp_path):
    with paddle.utils.unique_name.guard():
        first = finetuner(tmp_path)
        expected = fit(first)
    with paddle.utils.unique_name.guard():
        again = finetuner(tmp_path)
        result = fit(again)
    assert result["steps"] == 20 and result["history"] == expected["history"]
    for name, value in weights(first).items():
        np.testing.assert_array_equal(weights(again)[name], value)


def masked_language_model(folder):
    from paddlenlp.transformers import BertConfig, BertForMaskedLM

    class Vocabulary:
        pad_id, cls_id, sep_id, mask_id, vocab_size = 0, 1, 2, 3, 40

    paddle.seed(3)
    data = rows(labelled=False)
    size = {"vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForMaskedLM(BertConfig(**size, intermediate_size=16, max_position_embeddings=16))
    args = training_arguments(SETTINGS, len(data), folder, folder / "vdl", seed=3)
    return MaskedLMTrainer(model, Masking(Vocabulary, 0.3, whole_words=False), Training(args, data, 0, "test"))


def test_a_pre_training_that_was_cut_off_draws_the_same_masks(tmp_path):
    (whole, expected), (resumed, result) = whole_and_resumed(masked_language_model, tmp_path)
    assert [e["loss"] for e in result["history"]] == [e["loss"] for e in expected["history"]]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value, err_msg=name)


def test_masks_differ_from_epoch_to_epoch(tmp_path):
    trainer = masked_language_model(tmp_path)
    loader = trainer.get_train_dataloader()
    batch = [trainer.train_dataset[i] for i in range(8)]
    drawn = []
    for epoch in (0, 1, 0):
        loader.batch_sampler.set_epoch(epoch)
        drawn.append(trainer.make_batch([dict(row) for row in batch])["positions"].tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_the_two_newest_checkpoints_are_kept(tmp_path):
    fit(finetuner(tmp_path))
    kept = sorted(folder.name for folder in tmp_path.glob("checkpoint-*"))
    assert kept == ["checkpoint-15", "checkpoint-20"]
    assert all((tmp_path / name / "complete").is_file() for name in kept)


def test_an_error_while_a_batch_is_made_ends_the_training(tmp_path):
    trainer = finetuner(tmp_path)
    read, count = trainer.train_dataset, iter(range(1000))

    class Failing:
        lengths = read.lengths

        def __len__(self):
            return len(read)

        def __getitem__(self, index):
            if next(count) == 30:
                raise OSError("the disk is gone")
            return read[index]

    trainer.train_dataset = Failing()
    with pytest.raises(OSError, match="the disk is gone"):
        fit(trainer)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    trainer = finetuner(tmp_path)
    compute = trainer.compute_loss
    trainer.compute_loss = lambda *args, **kwargs: compute(*args, **kwargs) * float("nan")
    with pytest.raises(ErnieTinyError, match=r"test: the loss is nan at step 5\n  remedy: lower learning_rate"):
        fit(trainer)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_that_are_no_numbers_are_no_result(tmp_path):
    trainer = finetuner(tmp_path)
    trainer.begin()
    with paddle.no_grad():
        trainer.model.classifier.bias[0] = float("inf")
    with pytest.raises(ErnieTinyError, match=r"classifier\.bias is not finite at step 0"):
        trainer.conclude()


def test_a_checkpoint_without_its_mark_is_removed_and_not_used(tmp_path):
    for step, complete in ((5, True), (10, True), (15, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if complete:
            write_seal(tmp_path / f"checkpoint-{step}" / "complete", {})
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-15").exists()


def test_the_best_model_by_dev_score_is_the_result(tmp_path):
    scores, kept = iter([0.5, 0.9, 0.7, 0.8]), []

    def score():
        kept.append({name: value.copy() for name, value in weights(trainer).items()})
        return next(scores)

    trainer = finetuner(tmp_path, evaluate_with=score)
    result = fit(trainer)
    assert result["best"] == {"score": 0.9, "step": 10}
    assert len(kept) == 4
    assert [e["step"] for e in result["history"] if "loss" in e] == [5, 10, 15, 20], "a score hides no loss"
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, kept[1][name])


@pytest.mark.parametrize("stopped", [None, 10, 15])
@pytest.mark.parametrize("moment", ["in the step", "while it is scored"])
def test_a_training_whose_dev_score_does_not_rise_ends_early(tmp_path, stopped, moment):
    """Scores 5, 4, 5 at steps 5, 10, 15: after two that are not above the best. A signal on the way changes nothing."""

    def early(folder, stop):
        def score():
            if stop == trainer.state.global_step and moment == "while it is scored":
                signal.raise_signal(signal.SIGTERM)
            return {5: 5.0, 10: 4.0, 15: 5.0}[trainer.state.global_step]

        def compute_loss(*args, **more):
            if trainer.state.global_step + 1 == stop and moment == "in the step":
                signal.raise_signal(signal.SIGTERM)
            return compute(*args, **more)

        with paddle.utils.unique_name.guard():
            trainer = finetuner(folder, evaluate_with=score, patience=2)
            compute, trainer.compute_loss = trainer.compute_loss, compute_loss
            return trainer, fit(trainer)

    if stopped is not None:
        with pytest.raises(Interrupted):
            early(tmp_path, stopped)
    trainer, result = early(tmp_path, None)
    assert result["steps"] == 15 and result["best"] == {"score": 5.0, "step": 5}
    assert [entry["step"] for entry in result["history"] if "dev_score" in entry] == [5, 10, 15]
    with paddle.utils.unique_name.guard():
        again = finetuner(tmp_path, evaluate_with=lambda: 5.0, patience=2)
        assert fit(again)["steps"] == 15
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(weights(again)[name], value)


@pytest.mark.parametrize("moment", ["in the step", "while it is scored"])
@pytest.mark.parametrize("step", [10, 20])
def test_a_signal_at_a_step_that_is_scored_changes_no_result(tmp_path, step, moment):
    """Stopped there, the checkpoint has no score yet; it is made up for when training resumes."""

    def scored(folder, stop):
        def score():  # falls from step to step: the first model that is scored must win again
            nonlocal stop
            if stop == trainer.state.global_step and moment == "while it is scored":
                stop = None
                signal.raise_signal(signal.SIGTERM)
            return 1 - trainer.state.global_step / 100 if trainer.state.global_step != 10 else 2.0

        def compute_loss(*args, **more):
            nonlocal stop
            if trainer.state.global_step + 1 == stop and moment == "in the step":
                stop = None
                signal.raise_signal(signal.SIGTERM)
            return compute(*args, **more)

        with paddle.utils.unique_name.guard():
            trainer = finetuner(folder, evaluate_with=score)
            compute, trainer.compute_loss = trainer.compute_loss, compute_loss
            return trainer, fit(trainer)

    whole, expected = scored(tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        scored(tmp_path / "cut", step)
    assert last_checkpoint(tmp_path / "cut").name == f"checkpoint-{step}"
    resumed, result = scored(tmp_path / "cut", None)
    assert result["best"] == expected["best"] == {"score": 2.0, "step": 10}
    scores = [[e for e in found["history"] if "dev_score" in e] for found in (result, expected)]
    assert [(e["step"], e["dev_score"]) for e in scores[0]] == [(e["step"], e["dev_score"]) for e in scores[1]]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value)


def test_checkpoints_by_time_change_no_result(tmp_path):
    def timed(folder, save_minutes):
        saved, scored = [], []

        def score():
            scored.append(trainer.state.global_step)
            return float(len(scored) == 2)

        with paddle.utils.unique_name.guard():
            trainer = finetuner(folder, evaluate_with=score, save_minutes=save_minutes)
            save = trainer._save_checkpoint
            trainer._save_checkpoint = lambda *a, **k: (saved.append(trainer.state.global_step), save(*a, **k))
            return fit(trainer), saved, scored, weights(trainer)

    result, saved, scored, expected = timed(tmp_path / "by steps", None)
    often, every, again, found = timed(tmp_path / "by time", 1e-9)
    assert saved == scored == again == [5, 10, 15, 20] and every == list(range(1, 21))
    assert often["best"] == result["best"]
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    _, seldom, _, _ = timed(tmp_path / "seldom", 60)
    assert seldom == [5, 10, 15, 20]


def test_steps_from_epochs():
    settings = TrainingSettings(num_train_epochs=2.5, per_device_train_batch_size=8, gradient_accumulation_steps=2)
    # 100 rows are 13 batches, 6 optimiser steps an epoch
    assert total_steps(settings, 100) == 15


@pytest.mark.parametrize("kind, ending", [("linear", 0.0), ("cosine", 0.0), ("constant", 1e-3)])
def test_every_schedule_starts_with_the_warm_up(tmp_path, kind, ending):
    paddle.seed(3)
    settings = SETTINGS.model_copy(update={"lr_scheduler_type": kind, "warmup_ratio": 0.25})
    data = rows()
    args = training_arguments(settings, len(data), tmp_path, tmp_path / "vdl", seed=3)
    trainer = FinetuneTrainer(classifier(), CLASSES, Training(args, data, 0, "test"))
    schedule = trainer.create_scheduler(num_training_steps=20)
    rates = []
    for _ in range(21):
        rates.append(schedule.get_lr())
        schedule.step()
    np.testing.assert_allclose(rates[:6], [0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3], atol=1e-12)
    assert rates[-1] == pytest.approx(ending, abs=1e-9)
