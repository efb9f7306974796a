"""What a run's student starts from: its model before any training, and what that depends on; its head in a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..distillation.head_start import check_head_start
from ..errors import InputError
from ..models.build import read_model_config
from ..models.initialise import initial_student, start_folder
from ..models.narrow import Batches
from ..models.weights import model_fingerprint
from ..training.batches import input_batches
from .step import identity

if TYPE_CHECKING:
    from .context import RunContext

NARROWING_TOKENS = 12_000  # of training rows, on which layers are narrowed
_ROWS_PER_BATCH = 32


def first_student(context: RunContext) -> Any:
    """The student that the baseline and the first stage both start from."""
    config, data = context.config, context.data
    given = context.teacher_model("pretrained"), data.labels, data.kind, config.seed
    return initial_student(config.student, *given, lambda: narrowing_texts(context))


def start_inputs(context: RunContext) -> dict[str, Any]:
    """The weights that the student starts from, if they are not random, and its vocabulary, if it is its own."""
    folder, method = start_folder(context.config.student), context.config.student.init.method
    if folder is not None:
        own = {} if context.shares_vocabulary else {"student's tokenizer": context.tokenizers["student"].fingerprint}
        return {"student's start": model_fingerprint(folder), **own}
    if context.config.teacher is None:
        return {"student's start": identity(context.folder.start)}
    if method == "random":
        return {}
    start: dict[str, Any] = {"student's start": context.teacher_identity("pretrained")}
    if method == "teacher_narrowed":
        reading = context.config.task.model_dump(include={"max_length_tokens", "long_text"})
        start |= {"its texts": [context.data.fingerprints["train"], reading, context.config.seed]}
    return start


def head_of(context: RunContext, index: int, shares_vocabulary: bool = True) -> str:
    """What the student's head starts from in the stage at `index`, as its `head` says: "own" or "teacher".

    Raises InputError where the teacher's head is asked for and cannot be made.
    """
    config, stage = context.config, context.config.stages[index]
    if stage.head == "own" or context.teacher is None:
        return "own"
    folder, where = start_folder(config.student), f"stages[{index}] ({stage.stage}).head"
    theirs = {} if folder is None else read_model_config(folder)
    student = {**theirs, **config.student.shape.model_dump()}
    before = context.planned_objectives(shares_vocabulary)[index - 1] if index else None
    try:
        check_head_start(where, before, student, context.teacher, folder is not None)
    except InputError:
        if stage.head == "teacher":
            raise
        return "own"
    trained = any(context.stage(earlier).label_terms for earlier in range(index))
    return "own" if stage.head == "auto" and trained else "teacher"


def narrowing_texts(context: RunContext) -> Batches:
    """Training rows, drawn by the run's seed, in batches of similar length: about `NARROWING_TOKENS` tokens."""
    rows = context.rows("train", "teacher")
    order = np.random.default_rng(context.config.seed).permutation(len(rows))
    count = int(np.searchsorted(np.cumsum(rows.lengths[order]), NARROWING_TOKENS)) + 1
    pad_id = context.tokenizers["teacher"].pad_id
    batches = [inputs for _, inputs in input_batches(rows.take(order[:count]), pad_id, _ROWS_PER_BATCH)]
    return batches[::-1]  # shortest first, as for the results in docs: sums in another order round in another way
