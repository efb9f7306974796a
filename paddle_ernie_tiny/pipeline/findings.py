"""What preflight finds in the data and does not refuse: warnings and notes, shown and kept in the report."""

from __future__ import annotations

import numpy as np

from ..config import TrainingSettings
from ..data.corpus import corpus_files, read_lines
from ..data.rows import characters
from ..data.splits import TaskData
from ..errors import Finding
from ..models.weights import has_masked_lm_head
from .context import RunContext

_SAMPLE = 2000
_MANY_PASSES = 20


def model_findings(context: RunContext) -> list[Finding]:
    """Where the vocabulary comes from, and what augmentation draws on."""
    source, augmentation = context.teacher_source, context.config.augmentation
    if source is None:
        return [
            Finding("note", "tokenizer", "teacher and student share the vocabulary that pre-training makes", "teacher")
        ]
    what = f"teacher and student share one vocabulary of {context.tokenizer.vocab_size} tokens"
    found = [Finding("note", "tokenizer", what, "teacher")]
    if augmentation is not None and context.data.kind.augmenter == "words" and not has_masked_lm_head(source):
        what = "the teacher has no masked LM head, so replacements come from the word vectors alone"
        remedy = "name the pretrained model and give teacher.finetune, for predictions too"
        found.append(Finding("warning", "augmentation", what, "augmentation", remedy))
    return found


def data_findings(context: RunContext) -> list[Finding]:
    """Labels, repetitions, contradictions and lengths of the labelled data."""
    data = context.data
    labels = data.kind.findings({"train": data.train, "dev": data.dev, "test": data.test}, data.labels)
    return [*labels, *_repetitions(data), *_contradictions(data), *_lengths(context)]


def _repetitions(data: TaskData) -> list[Finding]:
    """Rows that repeat an earlier training row, and evaluation rows that also occur in training."""
    found = []
    seen: set[tuple] = {example.content for example in data.train}
    repeated = len(data.train) - len(seen)
    if repeated:
        what = f"{repeated} of {len(data.train)} rows repeat an earlier one"
        found.append(Finding("note", "repetitions", what, "data.train"))
    for name, examples in data.splits.items():
        both = [example for example in examples if example.content in seen]
        if both and name != "train":
            what = (
                f"{len(both)} of {len(examples)} rows also occur in the training split, the first on line "
                f"{both[0].line}"
            )
            remedy = "the report gives the score on the others too" if name != "dev" or data.test_is_dev else ""
            found.append(Finding("warning", "repetitions", what, f"data.{name}", remedy))
    return found


def _contradictions(data: TaskData) -> list[Finding]:
    first: dict[tuple, tuple] = {}
    wrong = []
    for example in data.train:
        answer = example.label if data.kind.has_labels else None  # scores of the same text may differ
        earlier = first.setdefault(example.content, (answer, example.line))
        if earlier[0] != answer:
            wrong.append((earlier[1], example.line))
    if not wrong:
        return []
    one, other = wrong[0]
    what = f"{len(wrong)} rows contradict an earlier row with the same text, the first lines {one} and {other}"
    return [Finding("warning", "contradictions", what, "data.train", "decide on one label")]


def _lengths(context: RunContext) -> list[Finding]:
    """How many rows are cut, by the teacher's tokenizer if there is one yet, else by characters."""
    data, limit, found = context.data, context.config.task.max_length_tokens, []
    for name, rows in data.splits.items():
        picked = np.random.default_rng(context.config.seed).permutation(len(rows))[:_SAMPLE]
        sample = [rows[i] for i in picked]
        if context.teacher_source is None:
            lengths = list(map(characters, sample))
            unit = "characters (the tokenizer is not made yet)"
        else:
            texts = [example.text for example in sample]
            pairs = [example.text_b or "" for example in sample] if rows[0].text_b is not None else None
            encoded, _ = data.kind.tokenize(context.tokenizer, texts, pairs, 1 << 30)
            lengths, unit = [len(ids) for ids in encoded.input_ids], "tokens"
        cut = np.mean(np.array(lengths) > limit)
        middle, most, longest = np.percentile(lengths, [50, 90, 99])
        of = f"a sample of {len(sample)} rows" if len(sample) < len(rows) else f"{len(sample)} rows"
        what = (
            f"{cut:.1%} of {of} are longer than {limit} {unit}; "
            f"half have up to {middle:.0f}, 90 % {most:.0f}, 99 % {longest:.0f}"
        )
        long = cut > 0.2
        remedy = "raise task.max_length_tokens" if long else ""
        found.append(Finding("warning" if long else "note", "lengths", what, f"data.{name}", remedy))
    return found


def corpus_findings(context: RunContext) -> list[Finding]:
    """How often each general stage will see the general corpus, by an estimate of its rows."""
    config = context.config
    if config.general_corpus is None:
        return []
    files, rows = corpus_files(config.general_corpus.path), _corpus_rows(config.general_corpus.path)
    size = sum(file.stat().st_size for file in files)
    what = f"about {rows:,} lines in {len(files)} files, {size / 1e6:.1f} MB"
    found = [Finding("note", "corpus", what, "general_corpus")]
    for index, settings in enumerate(config.stages):
        if context.stage(index).data != "general":
            continue
        passes = _passes(settings.training, rows)
        what, where = f"{passes:.3g} passes over the general corpus", f"stages[{index}] ({settings.stage})"
        if passes > _MANY_PASSES:
            remedy = "give more text, or fewer steps: it will be learnt by heart"
            found.append(Finding("warning", "corpus", what, where, remedy))
        else:
            found.append(Finding("note", "corpus", what, where))
    return found


def general_passes(context: RunContext, training: TrainingSettings) -> float:
    """About how often a training goes over the general corpus."""
    assert context.config.general_corpus is not None, "the schema asks for general_corpus where it is used"
    return _passes(training, _corpus_rows(context.config.general_corpus.path))


def _corpus_rows(path: str) -> int:
    size, lines, sampled = sum(file.stat().st_size for file in corpus_files(path)), 0, 0
    for line in read_lines(path):
        lines, sampled = lines + 1, sampled + len(line.encode()) + 1
        if lines == _SAMPLE:
            break
    return max(1, round(lines * size / max(1, sampled)))


def _passes(training: TrainingSettings, rows: int) -> float:
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.num_train_epochs or (training.max_steps or 0) * batch / rows
