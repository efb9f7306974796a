"""What teaches beside labels, as preflight and the report say it: the pool, and soft labels from files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.rows import EncodedRows, characters
from ..distributed import is_main
from ..errors import Finding
from ..seals import whole_or_none
from ..terms.term import Side
from ..training.batches import Mixture, rows_of_batches
from ..training.inference import predict_outputs
from .context import TRAIN_SAMPLE, UNLABELLED, RunContext
from .findings import found, sample_of, split_tokens
from .step import METRICS

_LISTED = 8  # labels whose shares are said
_OTHER_LENGTH = 2.0  # times as long, or as short, as the training rows


def answers_in_short(context: RunContext, model: Any, side: Side, batch_size: int = 64) -> dict[str, Any]:
    """What a model answers to a sample of the training rows and of the pool, by "train" and "unlabelled"."""
    kind, data = context.fitted_kind(model, side, batch_size), context.data
    answers = answers_to_samples(context, model, side, batch_size)
    short = {name: kind.in_short(logits, data.labels) for name, logits in answers.items()}
    return {name: {"answers": len(answers[name]), **facts} for name, facts in short.items()}


def answers_to_samples(context: RunContext, model: Any, side: Side, batch_size: int) -> dict[str, np.ndarray]:
    """A model's logits [answers, labels] for the samples of training rows and of the pool."""
    found = {}
    for name, split in (("train", TRAIN_SAMPLE), ("unlabelled", UNLABELLED)):
        rows, pad_id = context.rows(split, side), context.tokenizers[side].pad_id
        found[name] = np.concatenate(predict_outputs(model, context.data.kind, rows, pad_id, batch_size))
    return found


def agreement_on_samples(context: RunContext, student: Any, batch_size: int) -> dict[str, Any]:
    """How close a student's answers to both samples are to its teacher's, each by what it learnt on dev.

    See `Kind.fidelity`.
    """
    teacher = context.load_teacher("finetuned")
    given = answers_to_samples(context, teacher, "teacher", batch_size)
    own = answers_to_samples(context, student, "student", batch_size)
    # two tokenizers may cut a tagger's row after different words
    same = {name: logits for name, logits in own.items() if len(logits) == len(given[name])}
    ours, theirs = (
        context.fitted_kind(student, "student", batch_size),
        context.fitted_kind(teacher, "teacher", batch_size),
    )
    return {name: ours.fidelity(ours.compared(own), theirs.compared(given[name])) for name, own in same.items()}


def mixture(context: RunContext, index: int, rows: EncodedRows) -> Mixture | None:
    """How much of every batch of a stage's `rows` is the pool; None: as they come."""
    pool, ratio = context.data.pool, context.config.data.unlabelled_ratio
    if context.is_general(index) or pool is None or ratio is None:
        return None
    number = np.arange(rows_of_batches(rows))
    if rows.rows is not None and getattr(rows, "starts", None) is None:  # batches are of windows
        number = rows.rows
    return Mixture(number >= len(context.stage_examples) - len(pool.rows), ratio)


def said(facts: dict[str, Any]) -> str:
    """`Kind.in_short` in words."""
    facts = {name: value for name, value in facts.items() if name != "answers"}
    listed = list(facts.items())
    if len(listed) > _LISTED:
        listed = sorted(listed[:-1], key=lambda item: -item[1])[: _LISTED - 1] + listed[-1:]
    return ", ".join(f"{name} {value:.3g}" for name, value in listed)


def supervision_findings(context: RunContext) -> list[Finding]:
    """How the pool relates to the task's text, and how many rows have soft labels of their own."""
    return [*_soft_findings(context), *_pool_findings(context)]


def _soft_findings(context: RunContext) -> list[Finding]:
    data = context.data
    if data.soft is None:
        return []
    facts = soft_facts(context)
    values = data.soft.found if data.kind.has_labels else "scores"
    what = f"{facts['rows']} rows have soft labels of their own ({values})"
    if facts["unlabelled"]:
        what += f" ({facts['unlabelled']} of them in the pool)"
    what += f"; {facts['labelled']} of {len(data.train)} training rows have a label"
    if context.config.teacher is None:
        what += "; there is no teacher, so the objective has soft and hard labels alone"
    return [found("soft labels", what, "data.columns.soft_labels")]


def soft_facts(context: RunContext) -> dict[str, Any]:
    """Of soft labels from files: how many rows have them, what they are, and how many training rows have a label."""
    data = context.data
    given = sum(row.soft is not None for row in data.train)
    pool = sum(row.soft is not None for row in data.pool.rows) if data.pool else 0
    values = data.soft.found if data.soft else None
    return {"rows": given + pool, "unlabelled": pool, "values": values, "labelled": len(data.labelled)}


def _pool_findings(context: RunContext) -> list[Finding]:
    data, pool, where = context.data, context.data.pool, "data.unlabelled"
    if pool is None:
        return []
    ratio = context.config.data.unlabelled_ratio
    share = ratio or len(pool.rows) / (len(pool.rows) + len(data.train))
    what = f"{len(pool.rows)} rows without labels, {share:.0%} of a batch of task data{'' if ratio else ' on average'}"
    if pool.removed:
        names = {"train": "the training split", "unlabelled": "the pool, earlier"}
        parts = ", ".join(f"{count} in {names.get(name, name)}" for name, count in pool.removed.items())
        what += f"; {sum(pool.removed.values())} of {pool.read} are left out, as their text occurs: {parts}"
    findings = [found("unlabelled", what, where)]
    middle, own = (
        float(np.median([characters(row) for row in sample_of(context, rows)])) for rows in (pool.rows, data.train)
    )
    what = f"median of {middle:.0f} characters, of the training rows {own:.0f}"
    far = max(middle, own) > _OTHER_LENGTH * min(middle, own)
    findings.append(found("unlabelled", what, where, far, "check that it is text of this task"))
    findings += split_tokens(context, "unlabelled", pool.rows)
    known = _teacher_answers(context)
    if known:
        what = f"the teacher's answers to a sample: {said(known['unlabelled'])}; "
        what += f"to training rows: {said(known['train'])}"
        findings.append(found("unlabelled", what, where))
    return findings


def _teacher_answers(context: RunContext) -> dict[str, Any] | None:
    """Those of a teacher that is given fine-tuned, or that this run measured with the same pool; None: not known."""
    given, pool = context.config.teacher, context.data.pool
    if given is None or pool is None or not is_main():
        return None
    step = context.folder.finetuned if given.finetune is not None else context.folder.given
    measured = (whole_or_none(step / METRICS, "measurement of the teacher") or {}).get("unlabelled")
    if measured and measured["fingerprint"] == pool.fingerprint:
        return measured
    return answers_in_short(context, context.load_teacher("finetuned"), "teacher") if given.finetune is None else None
