"""What preflight finds in the data and does not refuse: warnings and notes, shown and kept in the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from ..config import TrainingSettings
from ..data.corpus import corpus_files, read_lines
from ..data.token_files import misplaced_tags
from ..distillation.stages import STAGES
from ..models.weights import has_masked_lm_head
from .context import RunContext, content

_SAMPLE = 2000
_FEW_ROWS = 5
_MANY_PASSES = 20


@dataclass(frozen=True)
class Finding:
    """One finding: what was checked, what was seen, where, and what to do about it."""

    level: Literal["warning", "note"]
    check: str
    what: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = "warning: " if self.level == "warning" else ""
        return f"{mark}{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")

    def as_dict(self) -> dict:
        return asdict(self)


def model_findings(context: RunContext) -> list[Finding]:
    """Where the vocabulary comes from, and what augmentation draws on."""
    source, augmentation = context.teacher_source, context.config.augmentation
    if source is None:
        return [
            Finding("note", "tokenizer", "teacher and student share the vocabulary that pre-training makes", "teacher")
        ]
    what = f"teacher and student share one vocabulary of {context.tokenizer.vocab_size} tokens"
    found = [Finding("note", "tokenizer", what, "teacher")]
    if augmentation is not None and not context.data.tagged and not has_masked_lm_head(source):
        what = "the teacher has no masked LM head, so replacements come from the word vectors alone"
        remedy = "name the pretrained model and give teacher.finetune, for predictions too"
        found.append(Finding("warning", "augmentation", what, "augmentation", remedy))
    return found


def data_findings(context: RunContext) -> list[Finding]:
    """Balance, repetitions, contradictions, lengths and tags of the labelled data."""
    data = context.data
    found = [*_balance(context), *_repetitions(context), *_contradictions(context), *_lengths(context)]
    if data.tagged:
        for name in ("train", "dev", "test"):
            wrong = misplaced_tags(getattr(data, name), data.labels)
            if wrong:
                line, example = wrong[0]
                what = (
                    f"{len(wrong)} tags go on with an entity that was not begun, the first in the row of line "
                    f"{line}: {example}"
                )
                found.append(
                    Finding(
                        "warning", "tags", what, f"data.{name}", "mend them, or know that they are read as they stand"
                    )
                )
    return found


def _balance(context: RunContext) -> list[Finding]:
    data = context.data
    if data.kind == "regression":
        scores = np.array([e.label for e in data.train])
        what = f"scores from {scores.min():g} to {scores.max():g}, mean {scores.mean():.3g}"
        return [Finding("note", "scores", what, "data.train")]
    if data.tagged:
        counts = Counter(data.labels[tag] for e in data.train for tag in e.tags)
    else:
        counts = Counter(data.labels[e.label] for e in data.train)
    unit = "words" if data.tagged else "rows"
    shares = ", ".join(f"{name} {count}" for name, count in counts.most_common(8))
    found = [Finding("note", "labels", f"{unit} a label: {shares}{' ...' if len(counts) > 8 else ''}", "data.train")]
    rare = [name for name in data.labels if counts[name] < _FEW_ROWS]
    if rare:
        what = f"{len(rare)} labels have fewer than {_FEW_ROWS} {unit}: {', '.join(rare[:8])}"
        found.append(Finding("warning", "labels", what, "data.train", "add rows, or merge labels"))
    return found


def _repetitions(context: RunContext) -> list[Finding]:
    data, found = context.data, []
    contents = {name: [content(e) for e in getattr(data, name)] for name in _splits(context)}
    repeated = len(contents["train"]) - len(set(contents["train"]))
    if repeated:
        what = f"{repeated} of {len(contents['train'])} rows repeat an earlier one"
        found.append(Finding("note", "repetitions", what, "data.train"))
    seen = set(contents["train"])
    for name in contents:
        if name == "train":
            continue
        both = [e for e, text in zip(getattr(data, name), contents[name], strict=True) if text in seen]
        if both:
            what = f"{len(both)} of {len(contents[name])} rows also stand in train, the first on line {both[0].line}"
            remedy = "the report gives the score on the others too" if name != "dev" or data.test_is_dev else ""
            found.append(Finding("warning", "repetitions", what, f"data.{name}", remedy))
    return found


def _contradictions(context: RunContext) -> list[Finding]:
    data = context.data
    if data.kind == "regression":
        return []
    first, wrong = {}, []
    for e in data.train:
        answer = e.tags if data.tagged else e.label
        earlier = first.setdefault(content(e), (answer, e.line))
        if earlier[0] != answer:
            wrong.append((earlier[1], e.line))
    if not wrong:
        return []
    one, other = wrong[0]
    what = f"{len(wrong)} rows contradict an earlier row with the same text, the first lines {one} and {other}"
    return [Finding("warning", "contradictions", what, "data.train", "decide on one label")]


def _lengths(context: RunContext) -> list[Finding]:
    """How many rows are cut, by the teacher's tokenizer where there is one yet, else by characters."""
    data, limit, found = context.data, context.config.task.max_length_tokens, []
    for name in _splits(context):
        rows = getattr(data, name)
        picked = np.random.default_rng(context.config.seed).permutation(len(rows))[:_SAMPLE]
        sample = [rows[i] for i in picked]
        if context.teacher_source is None:
            lengths = [sum(len(part) for part in content(e) if part) for e in sample]
            unit = "characters (the tokenizer is not made yet)"
        elif data.tagged:
            lengths = [
                len(ids) for ids in context.tokenizer.encode_words([e.words for e in sample], 1 << 30)[0].input_ids
            ]
            unit = "tokens"
        else:
            pairs = [e.text_b for e in sample] if data.pair else None
            lengths = [len(ids) for ids in context.tokenizer.encode([e.text for e in sample], pairs, 1 << 30).input_ids]
            unit = "tokens"
        cut = np.mean(np.array(lengths) > limit)
        middle, most, longest = np.percentile(lengths, [50, 90, 99])
        of = f"a sample of {len(sample)} rows" if len(sample) < len(rows) else f"{len(sample)} rows"
        what = (
            f"{cut:.1%} of {of} are longer than {limit} {unit}; "
            f"half have up to {middle:.0f}, 90 % {most:.0f}, 99 % {longest:.0f}"
        )
        level = "warning" if cut > 0.2 else "note"
        found.append(
            Finding(
                level, "lengths", what, f"data.{name}", "raise task.max_length_tokens" if level == "warning" else ""
            )
        )
    return found


def _splits(context: RunContext) -> list[str]:
    return ["train", "dev"] if context.data.test_is_dev else ["train", "dev", "test"]


def corpus_findings(context: RunContext) -> list[Finding]:
    """How often each general stage will see the general corpus, by an estimate of its rows."""
    config = context.config
    if config.general_corpus is None:
        return []
    files, rows = corpus_files(config.general_corpus.path), _corpus_rows(context)
    size = sum(file.stat().st_size for file in files)
    found = [
        Finding("note", "corpus", f"about {rows:,} lines in {len(files)} files, {size / 1e6:.1f} MB", "general_corpus")
    ]
    for index, settings in enumerate(config.stages):
        if STAGES[settings.stage].data_kind != "general":
            continue
        passes = _passes(settings.training, rows)
        what = f"{passes:.3g} passes over the general corpus"
        where = f"stages[{index}] ({settings.stage})"
        if passes > _MANY_PASSES:
            found.append(
                Finding("warning", "corpus", what, where, "give more text, or fewer steps: it will be learnt by heart")
            )
        else:
            found.append(Finding("note", "corpus", what, where))
    return found


def general_passes(context: RunContext, training: TrainingSettings) -> float:
    """About how often a training goes over the general corpus."""
    return _passes(training, _corpus_rows(context))


def _corpus_rows(context: RunContext) -> int:
    path = context.config.general_corpus.path
    size, lines, sampled = sum(file.stat().st_size for file in corpus_files(path)), 0, 0
    for line in read_lines(path):
        lines, sampled = lines + 1, sampled + len(line.encode()) + 1
        if lines == _SAMPLE:
            break
    return max(1, round(lines * size / sampled))


def _passes(training: TrainingSettings, rows: int) -> float:
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.num_train_epochs if training.max_steps is None else training.max_steps * batch / rows
