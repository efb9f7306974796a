"""What preflight finds in the data and does not refuse: warnings and notes, shown and kept in the report."""

from __future__ import annotations

import numpy as np

from ..data.splits import TaskData
from ..errors import Finding
from ..models.weights import has_masked_lm_head
from .context import RunContext

_SAMPLE = 2000


def found(check: str, what: str, where: str, warns: bool = False, remedy: str = "") -> Finding:
    """A warning with its remedy, or a note without one."""
    return Finding("warning", check, what, where, remedy) if warns else Finding("note", check, what, where)


def model_findings(context: RunContext) -> list[Finding]:
    """Where the vocabulary comes from, and what augmentation draws on."""
    source, augmentation = context.teacher_source, context.config.augmentation
    if source is None:
        return [found("tokenizer", "teacher and student share the vocabulary that pre-training makes", "teacher")]
    what = f"teacher and student share one vocabulary of {context.tokenizer.vocab_size} tokens"
    findings = [found("tokenizer", what, "teacher")]
    if augmentation is not None and context.data.kind.augmenter == "words" and not has_masked_lm_head(source):
        what = "the teacher has no masked LM head, so replacements come from the word vectors alone"
        remedy = "name the pretrained model and give teacher.finetune, for predictions too"
        findings.append(found("augmentation", what, "augmentation", True, remedy))
    return findings


def data_findings(context: RunContext) -> list[Finding]:
    """Labels, repetitions, contradictions and lengths of the labelled data."""
    data = context.data
    labels = data.kind.findings({"train": data.train, "dev": data.dev, "test": data.test}, data.labels)
    lengths = [_lengths(context, name) for name in data.splits]
    return [*labels, *_repetitions(data), *_contradictions(data), *lengths]


def _repetitions(data: TaskData) -> list[Finding]:
    """Rows that repeat an earlier training row, and evaluation rows that also occur in training."""
    findings = []
    seen: set[tuple] = {example.content for example in data.train}
    repeated = len(data.train) - len(seen)
    if repeated:
        what = f"{repeated} of {len(data.train)} rows repeat an earlier one"
        findings.append(found("repetitions", what, "data.train"))
    for name, examples in data.splits.items():
        lines = [example.line for example in examples if example.content in seen]
        if lines and name != "train":
            what = (
                f"{len(lines)} of {len(examples)} rows also occur in the training split, the first on line {lines[0]}"
            )
            remedy = "the report gives the score on the others too" if name != "dev" or data.test_is_dev else ""
            findings.append(found("repetitions", what, f"data.{name}", True, remedy))
    return findings


def _contradictions(data: TaskData) -> list[Finding]:
    first: dict[tuple, tuple] = {}
    wrong = []
    for example in data.train:
        answer = data.kind.answer_of(example)
        earlier, line = first.setdefault(example.content, (answer, example.line))
        if earlier != answer:
            wrong.append((line, example.line))
    if not wrong:
        return []
    one, other = wrong[0]
    what = f"{len(wrong)} rows contradict an earlier row with the same text, the first lines {one} and {other}"
    return [found("contradictions", what, "data.train", True, "decide on one label")]


def _lengths(context: RunContext, split: str) -> Finding:
    """How many rows are cut, by the teacher's tokenizer if there is one yet, else by characters."""
    data, rows, limit = context.data, context.data.splits[split], context.config.task.max_length_tokens
    sample = [rows[i] for i in np.random.default_rng(context.config.seed).permutation(len(rows))[:_SAMPLE]]
    if context.teacher_source is None:
        lengths, unit = [example.characters for example in sample], "characters (the tokenizer is not made yet)"
    else:
        pairs = [example.text_b or "" for example in sample] if rows[0].text_b is not None else None
        encoded, _ = data.kind.tokenize(context.tokenizer, [example.text for example in sample], pairs, 1 << 30)
        lengths, unit = [len(ids) for ids in encoded.input_ids], "tokens"
    cut = np.mean(np.array(lengths) > limit)
    middle, most, longest = np.percentile(lengths, [50, 90, 99])
    of = f"a sample of {len(sample)} rows" if len(sample) < len(rows) else f"{len(sample)} rows"
    what = (
        f"{cut:.1%} of {of} are longer than {limit} {unit}; "
        f"half have up to {middle:.0f}, 90 % {most:.0f}, 99 % {longest:.0f}"
    )
    return found("lengths", what, f"data.{split}", bool(cut > 0.2), "raise task.max_length_tokens")
