"""Training without a teacher: fine-tuning on the task, and masked-LM pre-training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ..data.rows import EncodedRows
from ..data.text_tokenizer import TextTokenizer
from ..kinds import Kind
from ..models.capture import masked_token_logits
from .batches import NumberedRows, collate
from .trainer import ToolkitTrainer, Training


class FinetuneTrainer(ToolkitTrainer):
    """A model on hard labels alone: the teacher's fine-tuning, and the baseline."""

    def __init__(self, model: Any, kind: Kind, training: Training, class_weights: list[float] | None = None):
        """class_weights: the weight of each label name in the loss; None: 1."""
        self.kind, self.class_weights = kind, class_weights
        super().__init__(model, training)

    def compute_loss(self, model: Any, inputs: dict[str, paddle.Tensor], return_outputs: bool = False) -> paddle.Tensor:
        """The task's own loss of one batch, a scalar; inputs [batch, length], labels as the kind of task has them."""
        labels, _ = inputs.pop("labels"), inputs.pop("soft", None)
        loss = self.kind.weighted_hard_label(model(**inputs), labels, self.class_weights)
        count = self.kind.label_weights(labels, self.class_weights).sum().reshape([1])
        return self.over_all({"hard_label": loss}, count)["hard_label"]


class MaskedLMTrainer(ToolkitTrainer):
    """BERT's masked language model (arXiv 1810.04805, section 3.1), masked again in every epoch.

    With `whole_words`, the unit that is masked is a word (rows then carry `word_starts`).
    """

    def __init__(self, model: Any, masking: Masking, training: Training):
        self.masking = masking
        super().__init__(model, replace(training, rows=NumberedRows(training.rows)))

    def make_batch(self, rows: list[dict]) -> dict[str, np.ndarray]:
        """A collated batch with masks that depend on seed, epoch and rows alone, so a resumed run draws the same."""
        seeds = np.random.SeedSequence([self.args.seed, self.sampler.epoch, *[row["row"] for row in rows]])
        batch = self.masking(rows, np.random.RandomState(np.random.MT19937(seeds)))
        del batch["rows"]
        return batch

    def compute_loss(self, model: Any, inputs: dict[str, paddle.Tensor], return_outputs: bool = False) -> paddle.Tensor:
        """Cross-entropy of the masked tokens of one batch, a scalar; positions and targets int64 [masked]."""
        positions, targets = inputs.pop("positions"), inputs.pop("targets")
        loss = F.cross_entropy(masked_token_logits(model, inputs, positions).astype("float32"), targets)
        return self.over_all({"masked_lm": loss}, paddle.to_tensor([float(len(targets))]))["masked_lm"]


@dataclass
class Masking:
    """Chooses tokens to predict: 80 % become [MASK], 10 % a random token, 10 % stay."""

    tokenizer: TextTokenizer
    probability: float
    whole_words: bool

    def __call__(self, rows: list[dict], rng: np.random.RandomState) -> dict[str, np.ndarray]:
        """Adds `positions` [masked] into the flattened batch and `targets` [masked] to a collated batch."""
        tokenizer, batch = self.tokenizer, collate(rows, self.tokenizer.pad_id)
        ids = batch["input_ids"]
        candidates = ~np.isin(ids, [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id])
        if self.whole_words:
            starts = np.ones_like(candidates)
            for index, row in enumerate(rows):
                flags = np.asarray(row["word_starts"], dtype=bool)
                starts[index, : len(flags)] = flags
            # every token belongs to the word whose start is the last one at or before it
            word = np.cumsum(starts.reshape(-1)) - 1
            chosen = (rng.random_sample(word[-1] + 1) < self.probability)[word].reshape(ids.shape) & candidates
        else:
            chosen = (rng.random_sample(ids.shape) < self.probability) & candidates
        if not chosen.any():
            chosen[tuple(np.argwhere(candidates)[0])] = True  # a batch must predict something
        positions = np.flatnonzero(chosen)
        flat = ids.reshape(-1)
        targets = flat[positions].copy()
        dice = rng.random_sample(len(positions))
        flat[positions[dice < 0.8]] = tokenizer.mask_id
        swap = positions[(dice >= 0.8) & (dice < 0.9)]
        flat[swap] = rng.randint(0, tokenizer.vocab_size, size=len(swap))
        batch["positions"], batch["targets"] = positions.astype(np.int64), targets.astype(np.int64)
        return batch


def masked_accuracy(model: Any, rows: EncodedRows, masking: Masking, seed: int) -> dict[str, float]:
    """Loss and accuracy of masked tokens on held-out rows, with masks fixed by the seed."""
    rng = np.random.RandomState(seed)
    model.eval()
    loss, correct, count = 0.0, 0, 0
    with paddle.no_grad():
        for start in range(0, len(rows), 64):
            batch = masking([rows[i] for i in range(start, min(start + 64, len(rows)))], rng)
            inputs = {name: paddle.to_tensor(value) for name, value in batch.items()}
            positions, targets = inputs.pop("positions"), inputs.pop("targets")
            logits = masked_token_logits(model, inputs, positions)
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
            correct += int((logits.argmax(-1) == targets).sum())
            count += len(targets)
    return {"masked_loss": round(loss / count, 4), "masked_accuracy": round(correct / count, 4), "masked": count}
