"""What preflight finds and does not refuse: in the data, and by rough estimates of passes, disk, memory and time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from timeit import Timer

import numpy as np
import paddle

from ..config import TrainingSettings
from ..data.corpus import corpus_files, read_lines
from ..data.rows import characters
from ..data.splits import TaskData
from ..errors import Finding, InputError
from ..files import free_bytes
from ..machine import available_memory
from ..models.weights import has_masked_lm_head
from ..terms import Needs
from ..training.trainer import total_steps
from .context import RunContext
from .step import fingerprint

_SAMPLE = 2000  # lines or rows that are looked at
_MANY_PASSES = 20
_BYTES = 4  # a float32 weight
_CHECKPOINTS = 3  # two that are kept, and one that is being written


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
        at = [example.line for example in examples if example.content in seen]
        if at and name != "train":
            what = f"{len(at)} of {len(examples)} rows also occur in the training split, the first on line {at[0]}"
            remedy = "the report gives the score on the others too" if name != "dev" or data.test_is_dev else ""
            findings.append(found("repetitions", what, f"data.{name}", True, remedy))
    return findings


def _contradictions(data: TaskData) -> list[Finding]:
    first: dict[tuple, tuple] = {}
    wrong = []
    for example in data.train:
        answer = example.label if data.kind.has_labels else None  # scores of the same text may differ
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
        lengths, unit = [characters(example) for example in sample], "characters (the tokenizer is not made yet)"
    else:
        pairs = [example.text_b or "" for example in sample] if rows[0].text_b is not None else None
        encoded, _ = data.kind.tokenize(context.tokenizer, [example.text for example in sample], pairs, 1 << 30)
        lengths, unit = [len(ids) for ids in encoded.input_ids], "tokens"
    cut = np.mean(np.array(lengths) > limit)
    middle, most, longest = np.percentile(lengths, [50, 90, 99])
    of = f"a sample of {len(sample)} rows" if len(sample) < len(rows) else f"{len(sample)} rows"
    what = (
        f"{cut:.1%} of {of} are longer than {limit} {unit}; "
        f"median {middle:.0f}, 90 % have at most {most:.0f}, 99 % {longest:.0f}"
    )
    return found("lengths", what, f"data.{split}", bool(cut > 0.2), "raise task.max_length_tokens")


def corpus_findings(context: RunContext) -> list[Finding]:
    """How often each general stage will see the general corpus, by an estimate of its rows."""
    config = context.config
    if config.general_corpus is None:
        return []
    files, lines = corpus_files(config.general_corpus.path), _corpus_lines(context)
    what = f"about {lines:,} lines in {len(files)} files, {context.corpus_bytes / 1e6:.1f} MB"
    findings = [found("corpus", what, "general_corpus")]
    for index, settings in enumerate(config.stages):
        if context.is_general(index):
            passes = _passes(settings.training, lines)
            what, where = f"{passes:.3g} passes over the general corpus", f"stages[{index}] ({settings.stage})"
            remedy = "give more text, or fewer steps: the model would memorise it"
            findings.append(found("corpus", what, where, passes > _MANY_PASSES, remedy))
    return findings


def _corpus_lines(context: RunContext) -> int:
    sample = [len(line.encode()) + 1 for line in islice(read_lines(context.corpus_settings.path), _SAMPLE)]
    return max(1, round(len(sample) * context.corpus_bytes / max(1, sum(sample))))


def _passes(training: TrainingSettings, rows: int) -> float:
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return training.num_train_epochs or (training.max_steps or 0) * batch / rows


def signals_findings(contexts: dict[str, RunContext]) -> list[Finding]:
    """What cached signals will take on disk, by an estimate of the tokens, and whether they are worth it.

    Raises InputError if they do not fit on the disk.
    """
    context = next(iter(contexts.values()))
    sizes, findings = {}, []
    for index, settings in enumerate(context.config.stages):
        if settings.teacher_signals == "online":
            continue
        stage, (tokens, passes) = context.stage(index), _tokens(context, index)
        each = [student.planned_objectives()[index].needs("teacher") for student in contexts.values()]
        # students that are trained together share theirs
        for needs in [Needs.union(each)] if context.is_general(index) else each:
            layout = context.signal_layout(stage, needs, context.teacher["hidden_size"])
            size = tokens * layout.bytes_per_token
            sizes[stage.data, stage.teacher, fingerprint(layout.as_key())] = size
            once, remedy = passes <= 1, "set teacher_signals: online, unless a later stage or run reads them"
            what = (
                f"cached teacher signals: {layout.bytes_per_token / 1000:.1f} kB per token, about {tokens:,.0f} "
                f"tokens, {size / 1e9:.1f} GB; {passes:.3g} passes over them{': none is read twice' if once else ''}"
            )
            findings.append(found("signals", what, f"stages[{index}] ({settings.stage})", once, remedy))
    need = sum(sizes.values())
    free, folder = free_bytes(Path(context.config.signals_folder or context.folder.shared))
    if need > free:
        what = f"cached teacher signals would take about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise InputError(what, str(folder), "make room, name another signals_folder, or set teacher_signals: online")
    return findings


def _tokens(context: RunContext, index: int) -> tuple[float, float]:
    """About how many tokens the stage asks the teacher about, and how often it goes over them."""
    config, train = context.config, context.data.train
    if context.is_general(index):
        # about three bytes per Chinese character, and a token per character
        tokens, rows = context.corpus_bytes / 3, _corpus_lines(context)
    else:
        picked = np.random.default_rng(config.seed).permutation(len(train))[:_SAMPLE]
        length = np.mean([min(config.task.max_length_tokens, 3 + characters(train[i])) for i in picked])
        rows = len(train) * (1 + (config.augmentation.copies_per_row if config.augmentation else 0))
        tokens = float(length * rows)
    passes = _passes(config.stages[index].training, rows)
    return tokens * min(1.0, passes), passes


def resource_findings(context: RunContext) -> list[Finding]:
    """Free disk and memory against an estimate, and the time of each step by this machine's speed."""
    config = context.config
    teacher, student = (
        encoder_parameters(shape) + (context.teacher["vocab_size"] + 512) * shape["hidden_size"]
        for shape in (context.teacher, config.student.model_dump())
    )
    trained = [teacher] * (bool(config.teacher.pretrain) + bool(config.teacher.finetune))
    trained += [student] * (bool(config.baseline) + len(config.stages))
    # finished models; and, of the largest, checkpoints of weights and two AdamW moments
    need = _BYTES * (sum(trained) + 3 * _CHECKPOINTS * max(trained)) + context.corpus_bytes
    free, _ = free_bytes(Path(config.output_dir))
    what = f"about {need / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free"
    disk = found("disk", what, "output_dir", free < 1.2 * need, "make room, or choose another output_dir")
    # weights, gradients and two moments of what is trained, beside a teacher's weights; activations come on top
    need, free = _BYTES * max(4 * teacher, 4 * student + teacher) + 10**9, available_memory()
    what = f"about {need / 1e9:.1f} GB for models, optimiser, Paddle, without activations; {free / 1e9:.1f} GB free"
    memory = found("memory", what, "machine", free < need, "free memory, or use smaller models")
    return [disk, memory, _time(context)]


def encoder_parameters(shape: dict) -> int:
    """Weights of the layers, without embeddings: 4 h^2 + 2 h f per layer, and the biases and norms."""
    h, f = shape["hidden_size"], shape["intermediate_size"]
    return shape["num_hidden_layers"] * (4 * h * h + 2 * h * f + 9 * h + f)


def _time(context: RunContext) -> Finding:
    config, teacher, student = context.config, context.teacher, context.config.student.model_dump()
    corpus, speed, seconds = config.general_corpus, machine_flops(), {}
    # mean length and rows: batches are of similar lengths, and most rows are shorter than the longest
    task = 0.6 * config.task.max_length_tokens, len(context.data.train)
    # three bytes per Chinese character, and about forty characters per line
    general = (0.6 * corpus.max_length_tokens, max(1, context.corpus_bytes // 120)) if corpus else task

    def add(name: str, settings: TrainingSettings | None, data: tuple, trained: dict, watched: dict | None = None):
        if settings is not None:
            length, rows = data
            tokens = settings.per_device_train_batch_size * settings.gradient_accumulation_steps * length
            seconds[name] = total_steps(settings, rows) * step_flops(trained, watched, tokens, length) / speed

    if config.teacher.pretrain is not None:
        add("pretrain", config.teacher.pretrain.training, general, teacher)
    add("finetune", config.teacher.finetune, task, teacher)
    add("baseline", config.baseline, task, student)
    for index, stage in enumerate(config.stages):
        add(stage.stage, stage.training, general if context.is_general(index) else task, student, teacher)
    parts = ", ".join(f"{name} {value / 60:.0f}" for name, value in seconds.items())
    minutes = sum(seconds.values()) / 60
    about = f"about {minutes:.0f} minute(s)" if minutes >= 1 else "less than a minute"
    what = (
        f"{about} (rough estimate) of matrix products at {speed / 1e9:.0f} GFLOP/s ({parts}, in minutes); "
        "real training takes one and a half to three times that"
    )
    return found("time", what, "machine")


def step_flops(student: dict, teacher: dict | None, tokens: float, length: float) -> float:
    """FLOPs of one training step: 6 per weight and token for what is trained, 2 for a teacher's forward pass.

    Attention adds 4 h per pair of tokens and layer to a forward pass, three times that to a training step.
    """

    def forward(shape: dict) -> float:
        attention = 4.0 * shape["hidden_size"] * length * shape["num_hidden_layers"]
        return tokens * (2.0 * encoder_parameters(shape) + attention)

    return 3 * forward(student) + (forward(teacher) if teacher else 0.0)


def machine_flops() -> float:
    """FLOP/s of float32 matrix products of a layer's size on Paddle's present device, measured for under a second."""
    a, b = paddle.rand([2048, 512]), paddle.rand([512, 512])
    products, seconds = Timer(lambda: float(paddle.matmul(a, b)[0, 0])).autorange()  # reading it waits for the device
    return products * 2 * 2048 * 512 * 512 / seconds
