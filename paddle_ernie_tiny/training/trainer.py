"""PaddleNLP's Trainer with what every step of the pipeline shares.

Length-grouped batches, one console line and one VisualDL point per loss term, checkpoints that count only
when complete, resume, a Ctrl-C that saves first, the best model by the dev metric, and gradients that are
averaged over processes.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import paddle
from paddlenlp.trainer import Trainer, TrainingArguments
from paddlenlp.trainer import trainer as paddlenlp_trainer
from paddlenlp.trainer.trainer_callback import TrainerState
from paddlenlp.utils.log import logger as paddlenlp_logger
from tqdm import tqdm

from ..config import TrainingSettings
from ..distributed import is_main, main_first, processes, sum_over_all, wait_for_all
from ..errors import ErnieTinyError
from ..files import new_folder
from ..models.weights import WEIGHTS, load_state_strictly, to_numpy, write_weights
from ..seals import COMPLETE, SCORE, DamageError, read_seal, whole_or_none, write_seal
from ..watch import Watcher, interrupted
from .batches import BatchLoader, LengthGroupedBatchSampler, Mixture, collate
from .callbacks import AverageGradients, BeforeTraining, ProgressLine, StopAndSave
from .checkpoints import (
    BEST,
    TRAINER_STATE,
    last_checkpoint,
    load_random_state,
    load_states,
    seal_checkpoint,
    step_of,
    write_random_state,
    write_states,
)

# Settings that PaddleNLP's arguments have under the same names.
_PASSED_ON = {"learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm"}
_PASSED_ON |= {"per_device_train_batch_size", "gradient_accumulation_steps"}

# PaddleNLP sets TRAINER_GLOBAL_STEP, which nothing reads, in the environment at every step, and memory grows by 2 kB.
paddlenlp_trainer.os = ModuleType("os")
vars(paddlenlp_trainer.os).update(vars(os), environ={})


def total_steps(settings: TrainingSettings, rows: int) -> int:
    """Optimiser steps of a training over `rows` rows, by as many processes as there are."""
    if settings.max_steps is not None:
        return settings.max_steps
    batches = math.ceil(rows / (settings.per_device_train_batch_size * processes()))
    return max(1, int(batches // settings.gradient_accumulation_steps * (settings.num_train_epochs or 0)))


def checkpoint_steps(settings: TrainingSettings, steps: int) -> int:
    """Steps between two checkpoints, and two dev scores, of a training of `steps` steps."""
    return min(settings.save_steps or min(1000, math.ceil(steps / 10)), steps)


def training_arguments(
    settings: TrainingSettings, rows: int, output_dir: Path, vdl_dir: Path, seed: int
) -> TrainingArguments:
    """PaddleNLP's TrainingArguments for one step of the pipeline."""
    paddlenlp_logger.set_level("ERROR")
    logging.getLogger("paddle").setLevel(logging.ERROR)
    steps = total_steps(settings, rows)
    values = settings.model_dump(include=_PASSED_ON)
    if settings.lr_scheduler_type == "constant":  # which leaves the warm-up out that `warmup_ratio` asks for
        values["lr_scheduler_type"] = "constant_with_warmup"
    return TrainingArguments(
        output_dir=str(output_dir),
        logging_dir=str(vdl_dir),
        max_steps=steps,
        bf16=settings.precision == "bfloat16",
        fp16=settings.precision == "float16",
        fp16_opt_level="O1",  # of both: weights and optimiser states stay in float32
        logging_steps=min(settings.logging_steps, steps),
        save_steps=checkpoint_steps(settings, steps),
        save_strategy="steps",
        seed=seed,
        device=paddle.get_device().split(":")[0],
        disable_tqdm=True,  # our own progress line says the stage and the time left
        report_to=["visualdl"],
        remove_unused_columns=False,
        skip_profile_timer=True,  # timers would cost a line and a synchronisation at every step
        **values,
    )


@dataclass
class Training:
    """What every training is given beside its model.

    rows: map-style data set with `lengths`; items as `collate` expects. pad_id: the tokenizer's. label: on the
    progress line. evaluate_with: () -> score on the dev split; called at every checkpoint; larger is better. The best
    model is then kept and loaded at the end. None: the last model is the result. save_minutes: a checkpoint also when
    they have passed since the last one. patience: stop after so many dev scores in a row that are not above the best.
    mixture: of every batch, how much is of which rows; None: as the rows come.
    """

    args: TrainingArguments
    rows: Any
    pad_id: int
    label: str
    evaluate_with: Callable[[], float] | None = None
    watcher: Watcher = Watcher()
    save_minutes: float | None = None
    patience: int | None = None
    mixture: Mixture | None = None


class ToolkitTrainer(Trainer):
    """Base of all trainers here. Subclasses give `compute_loss` and record their terms."""

    def __init__(self, model: Any, training: Training):
        self.training = training
        self._best_folder = Path(training.args.output_dir) / BEST
        self._began = time.time()  # less the seconds before a resumed checkpoint
        self._term_sums: dict[str, paddle.Tensor] = {}
        self._term_count = 0
        super().__init__(model=model, args=training.args, train_dataset=training.rows, data_collator=self.make_batch)
        if is_main():
            self.add_callback(ProgressLine(training.label, training.watcher))
        if processes() > 1:
            self.add_callback(AverageGradients())
        self.add_callback(BeforeTraining(self._evaluate_if_due))
        self._interrupt = StopAndSave(training.watcher, training.save_minutes)
        self.add_callback(self._interrupt)

    def make_batch(self, rows: list[dict]) -> dict[str, Any]:
        """Collation of one batch; subclasses may mask or pair here."""
        return collate(rows, self.training.pad_id)

    def get_train_dataloader(self) -> BatchLoader:
        """PaddleNLP's loader, with batches of similar length."""
        args = self.args
        size, replicas, rank = args.per_device_train_batch_size, args.dataset_world_size, args.dataset_rank
        rows, how = self.train_dataset, (size, args.seed, replicas, rank)
        starts = getattr(rows, "starts", None)
        self.sampler = LengthGroupedBatchSampler(rows.lengths, *how, starts, self.training.mixture)
        return BatchLoader(self.train_dataset, self.sampler, self.make_batch)

    def record(self, values: dict[str, paddle.Tensor]) -> None:
        """Adds the terms of one forward pass to the averages of the next log line, detached."""
        for name, value in values.items():
            self._term_sums[name] = value.detach() + self._term_sums.get(name, 0.0)
        self._term_count += 1

    def over_all(self, values: dict[str, paddle.Tensor], counts: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Means over this process's rows, weighted so that their average over processes is the mean over all.

        counts: float32 [values], over how many units (tokens, rows, ...) each is a mean here. Without this, a
        process with short rows would count as much as one with long ones.
        """
        if processes() == 1:
            return values
        shares = counts * processes() / sum_over_all(counts.clone()).clip(min=1e-12)
        return {name: value * share for (name, value), share in zip(values.items(), shares, strict=True)}

    def log(self, logs: dict[str, Any], **kwargs: Any) -> None:
        """PaddleNLP's log, with the mean of each recorded term over all steps and processes since the last one."""
        if "loss" in logs and self._term_count:
            sums = sum_over_all(paddle.stack(list(self._term_sums.values())))
            for name, value in zip(self._term_sums, sums.numpy().tolist(), strict=True):
                logs[f"{name}_loss"] = round(value / (self._term_count * processes()), 8)
            self._term_sums, self._term_count = {}, 0
        if not math.isfinite(logs.get("loss", 0.0)):
            raise self._diverged(f"the loss is {logs['loss']}")
        super().log(logs, **kwargs)

    def _diverged(self, what: str) -> ErnieTinyError:
        remedy = "lower learning_rate or raise warmup_ratio, and use precision: float32 if it was float16"
        return ErnieTinyError(f"{self.training.label}: {what} at step {self.state.global_step}", remedy=remedy)

    def begin(self) -> str | None:
        """The last complete checkpoint, for `train`; None: from the start.

        A training that was cut off between its last step and its final model is loaded here, and has no `steps_left`:
        PaddleNLP would make one step more.
        """
        self._began = time.time()
        with main_first(self.args.output_dir):
            if whole_or_none(self._best_folder / SCORE, "best model") is None:
                shutil.rmtree(self._best_folder, ignore_errors=True)
            checkpoint = last_checkpoint(Path(self.args.output_dir), self.lost)
        values = read_seal(checkpoint / COMPLETE) if checkpoint else None
        if checkpoint is None or values is None:
            return None
        self._began -= values["seconds"]
        if is_main():
            tqdm.write(f"  {self.training.label}: resuming at step {step_of(checkpoint)} of {self.args.max_steps}")
        if step_of(checkpoint) >= self.args.max_steps or self.training.patience is not None:
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))
            self._evaluate_if_due()
        return str(checkpoint)

    @property
    def steps_left(self) -> bool:
        """Is there something to train after `begin`?"""
        return self.state.global_step < self.args.max_steps and not self._no_better

    @property
    def _no_better(self) -> bool:
        """Have the last dev scores, as many as `patience` says, not been above the best one?"""
        best = read_seal(self._best_folder / SCORE, files=False)
        if self.training.patience is None or best is None:
            return False
        later = sum("dev_score" in entry and entry["step"] > best["step"] for entry in self.state.log_history)
        return later >= self.training.patience

    def kept(self) -> dict[str, Any]:
        """What a checkpoint records of files that it needs beside its own; subclasses add theirs."""
        best = read_seal(self._best_folder / SCORE, files=False)
        return {"best": best and best["step"]}

    def lost(self, recorded: dict[str, Any]) -> str | None:
        """What is not there any more of that which a checkpoint has `recorded`; None: all is there."""
        wanted, best = recorded["best"], self.kept()["best"]
        gone = wanted is not None and (best is None or best < wanted)
        return f"the best model, of step {wanted}, is not there any more" if gone else None

    def conclude(self) -> dict:
        """What a step records of its training: steps, seconds, the best score, history. Loads the best model.

        Raises Interrupted after Ctrl-C, with a checkpoint written, DamageError for a best model that is not whole, and
        ErnieTinyError for weights that are not finite.
        """
        if self._interrupt.requested:
            raise interrupted()
        for name, weight in self.model.named_parameters():
            if not bool(paddle.isfinite(weight).all()):
                raise self._diverged(f"{name} is not finite")
        wait_for_all()  # for what the main process is still writing
        best = read_seal(self._best_folder / SCORE)
        if best is None and self.training.evaluate_with is not None:
            raise DamageError("the best model is gone", str(self._best_folder), "run the same command again")
        if best:
            best = {"score": best["score"], "step": best["step"]}
            load_state_strictly(self.model, self._best_folder / WEIGHTS)
        history = [entry for entry in self.state.log_history if "loss" in entry or "dev_score" in entry]
        seconds = round(time.time() - self._began, 1)
        return {"steps": self.state.global_step, "seconds": seconds, "best": best, "history": history}

    def _maybe_log_save_evaluate(self, tr_loss, model, epoch, ignore_keys_for_eval, **kwargs):
        # Before saving, so that the checkpoint's history holds the score.
        if not self._interrupt.stopping:
            wants_log = self.control.should_log
            self._evaluate_if_due()
            self.control.should_log = wants_log  # logging the score has cleared it
        super()._maybe_log_save_evaluate(tr_loss, model, epoch, ignore_keys_for_eval, **kwargs)

    def _evaluate_if_due(self) -> None:
        """Scores the model at the steps of `save_steps` and at the last one, unless its history holds the score.

        A checkpoint that a signal or `save_minutes` asked for may lack it; it is made up for when training resumes.
        """
        step, history = self.state.global_step, self.state.log_history
        due = step > 0 and (step % self.args.save_steps == 0 or step >= self.args.max_steps)
        known = any("dev_score" in entry and entry["step"] == step for entry in reversed(history))
        if self.training.evaluate_with is None or not due or known:
            return
        if not is_main():
            history.append({"dev_score": None, "step": step})  # which the main one alone computes
        else:
            try:
                with self._interrupt.at_once():
                    score = self.training.evaluate_with()
            except KeyboardInterrupt:
                if not self._interrupt.requested:  # it is not in the way of a checkpoint
                    raise
            else:
                self._keep_if_best(score)
        wait_for_all()  # a gradient that the others wait for would time out
        self._interrupt.agree(self.control)
        if step < self.args.max_steps and self._no_better:
            self.control.should_save = self.control.should_training_stop = True
            if is_main():
                tqdm.write(f"  {self.training.label}: stopped at step {step}, the dev score does not rise any more")

    def _keep_if_best(self, score: float) -> None:
        self.log({"dev_score": round(float(score), 6)})
        best = read_seal(self._best_folder / SCORE, files=False)
        if best and best["score"] >= score:
            return
        with new_folder(self._best_folder, marker=SCORE) as temporary:
            write_weights(to_numpy(self.model.state_dict()), temporary / WEIGHTS)
            values = {"score": float(score), "step": self.state.global_step}
            write_seal(temporary / SCORE, values, [temporary / WEIGHTS])

    def _wrap_model(self, model, training=True):
        """Not Paddle's DataParallel, which expects a gradient for every weight: terms may leave some without.

        Every process starts with the main one's weights; `AverageGradients` keeps them equal.
        """
        if processes() == 1:
            return super()._wrap_model(model, training)
        with paddle.no_grad():
            for weight in model.state_dict().values():
                paddle.distributed.broadcast(weight, src=0)
        return model

    def _save_checkpoint(self, model, metrics=None):
        folder, rank = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", self.args.process_index
        folder.mkdir(parents=True, exist_ok=True)
        write_random_state(folder, rank)
        if is_main():
            (folder / COMPLETE).unlink(missing_ok=True)
            write_weights(to_numpy(self.model.state_dict()), folder / WEIGHTS)
            write_states(folder, self.optimizer, self.lr_scheduler, self._loss_scaler)
            self.state.save_to_json(str(folder / TRAINER_STATE))
        wait_for_all()  # for the random state of each
        if is_main():
            seal_checkpoint(folder, {"seconds": round(time.time() - self._began, 1), **self.kept()})
        wait_for_all()

    @property
    def _loss_scaler(self) -> Any:
        return self.scaler if self.do_grad_scaling else None

    def _load_from_checkpoint(self, resume_from_checkpoint=None):
        if resume_from_checkpoint:
            load_state_strictly(self.model, Path(resume_from_checkpoint) / WEIGHTS)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint:
            load_states(Path(checkpoint), self.optimizer, self.lr_scheduler, self._loss_scaler)
            self._load_rng_state(checkpoint)  # PaddleNLP asks for it inside an epoch alone, not at its start

    def _load_rng_state(self, checkpoint):
        if checkpoint:
            load_random_state(Path(checkpoint), self.args.process_index)
