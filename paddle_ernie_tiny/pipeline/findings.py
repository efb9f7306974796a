"""What preflight finds and does not refuse in the data, and by a rough estimate of the passes over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..config import TrainingSettings
from ..data.corpus import corpus_files, read_lines
from ..data.rows import Example, characters
from ..data.splits import TaskData
from ..data.text_tokenizer import TextTokenizer
from ..data.windows import windows
from ..errors import Finding, InputError
from ..models.weights import has_masked_lm_head
from ..terms.term import Side
from .context import RunContext

_SAMPLE = 2000  # lines or rows that are looked at
_MANY_PASSES = 20
_LOPSIDED = 0.8  # share of one label from which accuracy says little
_TOLD = 0.9  # share of rows that hold their own label
_MANY_UNKNOWN, _FOREIGN = 0.05, 0.5  # shares of unknown tokens
_PIECES = 1.8  # tokens per character; byte-level vocabularies cut what they do not know into two or three


def found(check: str, what: str, where: str, warns: bool = False, remedy: str = "") -> Finding:
    """A warning with its remedy, or a note without one."""
    return Finding("warning", check, what, where, remedy) if warns else Finding("note", check, what, where)


def model_findings(context: RunContext) -> list[Finding]:
    """What augmentation draws on."""
    source, augmentation, findings = context.teacher_source, context.config.augmentation, []
    if source is None:
        return []
    if augmentation is not None and context.data.kind.augmenter == "words" and not has_masked_lm_head(source):
        what = "the teacher has no masked LM head, so replacements come from the word vectors alone"
        remedy = "name the pretrained model and give teacher.finetune, for predictions too"
        findings.append(found("augmentation", what, "augmentation", True, remedy))
    return findings


def tokenizer_findings(context: RunContext) -> list[Finding]:
    """Where the vocabulary of a student comes from; of one that has its own, how many rows it cuts."""
    if context.config.teacher is None:
        start, made = context.config.student.init.folder, context.config.student.init.vocabulary
        origin = start or (made.file if made else None)
        what = f"the vocabulary is {f'that of {origin}' if origin else 'made of the text of this task'}"
        return [found("tokenizer", what, "student.init")]
    if context.teacher_source is None:
        start = context.config.student.init.folder
        what = "teacher and student share the vocabulary that pre-training makes"
        what = (
            f"{start} has to have the vocabulary that pre-training makes, or learn from labels alone" if start else what
        )
        return [found("tokenizer", what, "teacher")]
    sizes = {side: tokenizer.vocab_size for side, tokenizer in context.tokenizers.items()}
    if context.shares_vocabulary:
        return [found("tokenizer", f"teacher and student share one vocabulary of {sizes['teacher']} tokens", "teacher")]
    what = (
        f"the student has a vocabulary of its own ({sizes['student']} tokens, the teacher's has {sizes['teacher']}): "
        "it learns from soft and hard labels, and each model reads a row in its own tokens"
    )
    lengths = [finding for name in context.data.splits for finding in split_tokens(context, name, side="student")]
    return [found("tokenizer", what, "student.init.folder"), *lengths]


def data_findings(context: RunContext) -> list[Finding]:
    """Labels, repetitions, contradictions and lengths of the labelled data."""
    data = context.data
    splits = {**data.splits, "train": data.labelled}
    labels = data.kind.findings(splits, data.labels) if data.labelled else []
    tokens = [finding for name in data.splits for finding in split_tokens(context, name)]
    rows = [*_repetitions(data), *_contradictions(data), *_leaks(data)]
    return [*data.notes, *labels, *_imbalance(context), *rows, *tokens]


def _imbalance(context: RunContext) -> list[Finding]:
    """A metric that one answer to all rows would do well by."""
    data, metric = context.data, context.config.task.metric
    if metric != "accuracy" or data.kind.by_token or not data.labelled:
        return []
    label, count = Counter(row.label for row in data.labelled if isinstance(row.label, int)).most_common(1)[0]
    share = count / len(data.labelled)
    if share < _LOPSIDED:
        return []
    what = f"{share:.0%} of the rows are {data.labels[label]}: one answer to all would have about that accuracy"
    better = "f1 or matthews" if len(data.labels) == 2 else "macro_f1"
    remedy = f"set task.metric to {better}, and perhaps task.class_weights to balanced"
    return [found("imbalance", what, "data.train", True, remedy)]


def _leaks(data: TaskData) -> list[Finding]:
    """Texts that hold their row's label, and evaluated pairs that are training pairs the other way round."""
    findings, labelled = [], data.train if data.kind.has_labels else ()
    rows = [(row, data.labels[row.label]) for row in labelled if isinstance(row, Example) and type(row.label) is int]
    for field, name in (("text", "text"), ("text_b", "second text")):
        told = sum(_tells((getattr(row, field) or "").strip(), label) for row, label in rows)
        if told > _TOLD * len(rows):
            what = f"in {told} of {len(rows)} rows the {name} begins or ends with the row's own label"
            remedy = "check data.columns: is it the right column?"
            findings.append(found("leakage", what, "data.train", True, remedy))
    if data.train[0].text_b is None:
        return findings
    turned = {row.content[::-1] for row in data.train}
    for name, examples in data.splits.items():
        at = [row.line for row in examples if row.content in turned and row.content[0] != row.content[1]]
        if at and name != "train":
            first = f"the first on line {at[0]}"
            what = f"{len(at)} of {len(examples)} pairs occur in the training split the other way round, {first}"
            remedy = "know that the score counts them, or take them out"
            findings.append(found("leakage", what, f"data.{name}", True, remedy))
    return findings


def _tells(text: str, label: str) -> bool:
    """Is the label a word of its own at one end of the text?"""
    before, after = text.removesuffix(label), text.removeprefix(label)
    return (before != text and not before[-1:].isalnum()) or (after != text and not after[:1].isalnum())


def _repetitions(data: TaskData) -> list[Finding]:
    """Rows that repeat an earlier training row, and evaluation rows that also occur in training."""
    findings = []
    seen: set[tuple] = {example.content for example in data.train}
    repeated = len(data.train) - len(seen)
    if repeated:
        what = f"{repeated} of {len(data.train)} rows repeat an earlier one"
        findings.append(found("repetitions", what, "data.train"))
    for name, examples in data.splits.items():
        at = [example.line for example in examples if example.content in seen]
        if at and name != "train":
            what = f"{len(at)} of {len(examples)} rows also occur in the training split, the first on line {at[0]}"
            remedy = "the report gives the score on the others too" if name != "dev" or data.test_is_dev else ""
            findings.append(found("repetitions", what, f"data.{name}", True, remedy))
    return findings


def _contradictions(data: TaskData) -> list[Finding]:
    first: dict[tuple, tuple] = {}
    wrong = []
    for example in data.labelled:
        answer = example.label if data.kind.has_labels else None  # scores of the same text may differ
        earlier, line = first.setdefault(example.content, (answer, example.line))
        if earlier != answer:
            wrong.append((line, example.line))
    if not wrong:
        return []
    one, other = wrong[0]
    what = f"{len(wrong)} rows contradict an earlier row with the same text, the first lines {one} and {other}"
    return [found("contradictions", what, "data.train", True, "decide on one label")]


def split_tokens(
    context: RunContext, split: str, rows: Sequence[Any] | None = None, side: Side = "teacher"
) -> list[Finding]:
    """How many rows are cut by a tokenizer, if there is one yet, else by characters; unknown tokens."""
    data, limit = context.data, context.config.task.max_length_tokens
    rows = data.splits[split] if rows is None else rows
    sample = sample_of(context, rows)
    unknown: list[Finding] = []
    told: list[Finding] = []  # by the kind of task
    if context.teacher_source is None:
        apart = data.kind.gives_vectors  # each text of a row by itself
        lengths = [len(text) for row in sample for text in row.content if text] if apart else [*map(characters, sample)]
        unit = "characters (the tokenizer is not made yet)"
    else:
        pairs = [example.text_b or "" for example in sample] if rows[0].text_b is not None else None
        tokenizer = context.tokenizers[side]
        encoded, _ = data.kind.tokenize(tokenizer, [example.text for example in sample], pairs, 1 << 30)
        unit = "tokens" if context.shares_vocabulary else f"tokens of the {side}"
        lengths = [len(ids) for ids in encoded.input_ids]
        told = data.kind.token_findings(tokenizer, sample, limit, f"data.{split}")
        ids = np.concatenate(encoded.input_ids)
        unknown = vocabulary_findings(tokenizer, ids, sum(map(characters, sample)), f"data.{split}", side)
    cut = np.mean(np.array(lengths) > limit)
    middle, most, longest = np.percentile(lengths, [50, 90, 99])
    of = f"a sample of {len(sample)} rows" if len(sample) < len(rows) else f"{len(sample)} rows"
    what = (
        f"{f'{cut:.1%}' if cut else 'none'} of {of} are longer than {limit} {unit}; "
        f"median {middle:.0f}, 90 % have at most {most:.0f}, 99 % {longest:.0f}"
    )
    reading = context.config.task.long_text
    if cut and reading == "windows":
        what += f"; they are read in overlapping windows, {windows_per_row(context, rows, side):.2f} per row on average"
    elif cut:
        what += "; their middle is left out" if reading == "head_tail" else "; they are cut at their end"
    warns, remedy = bool(cut > 0.2 and reading == "truncate"), "raise task.max_length_tokens, or set task.long_text"
    return [found("lengths", what, f"data.{split}", warns, remedy), *told, *unknown]


def sample_of(context: RunContext, rows: Sequence[Any]) -> list[Any]:
    """The same rows whenever they are looked at, not too many."""
    return [rows[i] for i in np.random.default_rng(context.config.seed).permutation(len(rows))[:_SAMPLE]]


def windows_per_row(context: RunContext, rows: Sequence[Any], side: Side = "student") -> float:
    """How many windows one of `rows` has on average, by a sample; 1 where the end or the middle is left out."""
    task = context.config.task
    if task.long_text != "windows":
        return 1.0
    sample = sample_of(context, rows)
    if context.teacher_source is None:  # a token per character, as there is no tokenizer yet
        room = task.max_length_tokens - 2
        return float(np.mean([len(windows([1] * characters(row), room)) for row in sample]))
    pairs = [row.text_b for row in sample] if sample[0].text_b is not None else None
    how = context.tokenizers[side], [row.text for row in sample], pairs, task.max_length_tokens, task.long_text
    return len(context.data.kind.tokenize(*how)[0].input_ids) / len(sample)


def task_rows(context: RunContext) -> int:
    """About how many rows a stage on task data goes over: those for training, their copies, and unlabelled ones."""
    copies = context.config.augmentation.copies_per_row if context.config.augmentation else 0
    parts = (context.data.train, 1 + copies), (context.data.pool.rows if context.data.pool else [], 1)
    return sum(times * round(len(rows) * windows_per_row(context, rows)) for rows, times in parts if rows)


def vocabulary_findings(
    tokenizer: TextTokenizer, ids: np.ndarray, letters: int, where: str, side: Side = "teacher"
) -> list[Finding]:
    """The share of unknown tokens among `ids`, of a text of so many characters.

    Raises InputError where text and vocabulary are of different scripts: most tokens are unknown, or characters are cut
    into pieces.
    """
    special = np.isin(ids, [tokenizer.cls_id, tokenizer.sep_id]).sum()
    count = max(1, len(ids) - special)
    share, pieces = float((ids == tokenizer.unk_id).sum()) / count, count / max(1, letters)
    if share > _FOREIGN or pieces > _PIECES:
        seen = f"{share:.0%} of the tokens are unknown" if share > _FOREIGN else f"{pieces:.1f} tokens per character"
        what = f"{seen}: the {side}'s vocabulary and this text do not share a script"
        raise InputError(what, where, f"use a {side} that was pretrained on text of this language")
    if share < 0.0005:
        return []
    what = f"{share:.1%} of the tokens are unknown to the {side}"
    return [found("unknown", what, where, share > _MANY_UNKNOWN, f"use a {side} of this language and domain")]


def corpus_findings(context: RunContext) -> list[Finding]:
    """How often each general stage will see the general corpus, by an estimate of its rows."""
    config = context.config
    if config.general_corpus is None:
        return []
    files, lines = corpus_files(config.general_corpus.path), corpus_lines(context)
    what = f"about {lines:,} lines in {len(files)} file{'s' * (len(files) > 1)}, {context.corpus_bytes / 1e6:.1f} MB"
    findings = [found("corpus", what, "general_corpus")]
    if context.teacher_source is not None:
        sample = list(islice(read_lines(config.general_corpus.path), _SAMPLE))
        ids = np.array([i for row in context.tokenizers["teacher"].encode_plain(sample) for i in row])
        findings += vocabulary_findings(context.tokenizers["teacher"], ids, sum(map(len, sample)), "general_corpus")
    for index, settings in enumerate(config.stages):
        if context.is_general(index):
            passes = passes_over(settings.training, lines)
            what, where = f"{passes:.3g} passes over the general corpus", f"stages[{index}] ({settings.stage})"
            remedy = "give more text, or fewer steps: the model would memorise it"
            findings.append(found("corpus", what, where, passes > _MANY_PASSES, remedy))
    return findings


def corpus_lines(context: RunContext) -> int:
    """Lines of the general corpus, by an estimate."""
    sample = [len(line.encode()) + 1 for line in islice(read_lines(context.corpus_settings.path), _SAMPLE)]
    return max(1, round(len(sample) * context.corpus_bytes / max(1, sum(sample))))


def passes_over(training: TrainingSettings, rows: int) -> float:
    """How often a training sees each of so many rows."""
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.num_train_epochs or (training.max_steps or 0) * batch / rows
