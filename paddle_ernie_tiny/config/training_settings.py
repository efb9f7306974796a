"""The settings of one training: the teacher's, the baseline's, or a stage's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..sections import Fraction, PositiveInt, Section, Weight, key


class EarlyStopping(Section):
    """A training ends before its last step when its dev score does not rise any more."""

    patience: PositiveInt = key(..., "dev scores (one at each checkpoint) in a row that are not above the best one")


class TrainingSettings(Section):
    """How one training step of the pipeline runs. Give `max_steps` or `num_train_epochs`, not both."""

    max_steps: PositiveInt | None = key(None, "optimiser steps; alternatively num_train_epochs")
    num_train_epochs: Annotated[float, Field(gt=0, le=1e6)] | None = key(None, "passes over the data")
    learning_rate: Annotated[float, Field(gt=0, le=10)] = key(5e-5, "peak learning rate of AdamW")
    per_device_train_batch_size: PositiveInt = key(32, "batch size per device")
    per_device_eval_batch_size: PositiveInt = key(64, "batch size per device in evaluation; changes no result")
    gradient_accumulation_steps: PositiveInt = key(1, "forward passes per optimiser step")
    warmup_ratio: Fraction = key(0.1, "share of the steps in which the rate rises from 0")
    weight_decay: Weight = key(0.01, "AdamW weight decay")
    max_grad_norm: Weight = key(1.0, "gradients are clipped to this global norm")
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = key("linear", "after warm-up")
    precision: Literal["float32", "bfloat16", "float16"] = key(
        "float32", "bfloat16, float16: automatic mixed precision, on GPUs; losses stay in float32"
    )
    logging_steps: PositiveInt = key(20, "steps between two log lines and curve points")
    save_steps: PositiveInt | None = key(
        None, "steps between checkpoints (and dev scores); default: a tenth, at most 1000"
    )
    early_stopping: EarlyStopping | None = key(None, "where there is a dev score; null: train to the last step")

    @model_validator(mode="after")
    def _one_length(self):
        if self.max_steps is None and self.num_train_epochs is None:
            raise ValueError("give max_steps or num_train_epochs")
        if self.max_steps is not None and self.num_train_epochs is not None:
            raise ValueError("give max_steps or num_train_epochs, not both (set the other one to null)")
        return self

    @property
    def patience(self) -> int | None:
        """Of early stopping; None: train to the last step."""
        return None if self.early_stopping is None else self.early_stopping.patience

    def decisive(self) -> dict[str, Any]:
        """What decides the trained weights, as JSON values."""
        return self.model_dump(mode="json", exclude={"per_device_eval_batch_size", "logging_steps"})
