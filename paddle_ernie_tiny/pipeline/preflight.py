"""Everything that can be checked before training, so that a mistake costs seconds and not hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..data.corpus import corpus_files
from ..data.splits import TaskData, load_task_data
from ..data.tokenization import read_tokenizer
from ..defaults import AUTO
from ..deploy.onnx_graph import require_engines
from ..engines import QDQ_PACKAGES, require_installed
from ..errors import Finding, InputError, InputErrors, explained
from ..files import free_bytes, require_folder
from ..models.architectures import MASKED_LM, check_room, default_labels, is_of_kind, label_names
from ..models.build import check_model, load_tokenizer, read_model_config, resolve_model
from ..models.initialise import check_start, start_folder, with_sizes
from ..models.weights import has_masked_lm_head
from ..stages import STAGES
from .context import RunContext
from .estimates import resource_findings
from .evidence import evidence_findings
from .findings import corpus_findings, data_findings, model_findings, tokenizer_findings
from .floor import floor_findings
from .launch import find_device
from .pruning import check_pruning, pruning_findings
from .step import RunFolder
from .student_start import head_of
from .supervision import supervision_findings
from .teacher_signals import signals_findings

_FREE_BYTES = 2 << 30


def preflight(
    config: RunConfig, say: Callable[[str], None] = print, shared: Path | None = None
) -> dict[str, RunContext]:
    """Checks data, corpus, teacher, students, objectives and disk; returns what each student's run needs, by name.

    shared: folder of teacher and prepared data, if it is not the run's.
    Raises InputErrors with all findings that stop a run.
    """
    errors: list[InputError] = []

    def attempt(check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except InputErrors as several:
            errors.extend(several.errors)
        except InputError as error:
            errors.append(error)
        return None

    attempt(_check_device, config, attempt(find_device, config.device))
    for check in (_check_engines, check_pruning):
        attempt(check, config)
    _ = config.general_corpus and attempt(corpus_files, config.general_corpus.path)
    given, pretrain = config.teacher, config.teacher and config.teacher.pretrain
    source = attempt(resolve_model, given.model) if given and not pretrain else None
    teacher: Any = pretrain and {**pretrain.shape.model_dump(), "vocab_size": pretrain.vocab_size}  # its configuration
    if source is not None:
        attempt(load_tokenizer, source)
        teacher = attempt(read_model_config, source)
    data = attempt(load_task_data, config := _with_outputs(config, teacher))
    if source is not None and teacher is not None:
        attempt(_check_room, config, source, data)
        attempt(_check_teacher, config, source, teacher, data)
    sized = attempt(with_sizes, config)
    any_student = RunContext(sized or config, data, source, teacher, shared)
    contexts = {name: any_student.for_student(name, run) for name, run in any_student.config.each_student.items()}
    for context in contexts.values() if sized else ():
        attempt(_check_student, context.config, teacher, data)
        if teacher is not None or given is None:
            attempt(_check_objectives, context, source is None or context.shares_vocabulary)
    attempt(_check_soft_labels, config, data)
    attempt(_check_augmentation, config, source)
    attempt(_check_output, Path(config.output_dir))
    _ = config.signals_folder and attempt(require_folder, Path(config.signals_folder))
    if errors:
        raise InputErrors(list({str(error): error for error in errors}.values()))  # several checks read one file
    first = next(iter(contexts.values()))
    say(f"preflight: task {config.task.name!r} ({data.kind.name}), {_in_short(data)}")
    common = model_findings(first) + data_findings(first) + corpus_findings(first) + signals_findings(contexts)
    common += supervision_findings(first) + floor_findings(contexts, say)
    for finding in common:
        say(f"preflight: {finding}")
    for name, context in contexts.items():
        context.findings = common + (own := _of_student(context))
        for finding in own:
            say(f"preflight{f' of {name}' if name else ''}: {finding}")
    return contexts


def check_student(context: RunContext, config: RunConfig) -> None:
    """Checks another student, with stages of its own, against the data and the teacher of a run. Raises InputError."""
    other = context.for_student("", config)
    _check_student(config, context.teacher, context.data)
    _check_objectives(other, context.teacher_source is None or other.shares_vocabulary)


def _of_student(context: RunContext) -> list[Finding]:
    vocabulary = tokenizer_findings(context) + pruning_findings(context)
    return vocabulary + evidence_findings(context) + resource_findings(context)


def _in_short(data: TaskData) -> str:
    rows = ", ".join(f"{len(examples)} {name}" for name, examples in data.splits.items())
    rows += f", {len(data.pool.rows)} unlabelled" if data.pool else ""
    more = f" and {len(data.labels) - 20} more" if len(data.labels) > 20 else ""
    labels = f"labels {', '.join(data.labels[:20])}{more}" if data.kind.has_labels else _outputs(data)
    return f"{rows} rows, {labels}"


def _outputs(data: TaskData) -> str:
    if data.kind.gives_vectors:
        return f"vectors of {len(data.labels)} numbers"
    return "scores" if len(data.labels) == 1 else f"outputs {' and '.join(data.labels[:2])}"


def _with_outputs(config: RunConfig, teacher: dict | None) -> RunConfig:
    """The run with the settings of its kind of task that follow from the teacher's configuration (None: not known)."""
    more = config.task.configured_kind.settings_for(teacher["hidden_size"]) if teacher else {}
    task = config.task.model_copy(update={"settings": {**config.task.settings, **more}})
    return config.model_copy(update={"task": task}) if more else config


def _check_engines(config: RunConfig) -> None:
    if require_engines(config.export.engines, "export.engines") and config.export.int8 is not None:
        require_installed(QDQ_PACKAGES, "export.int8", "export.engines", "bench")
    measured = config.benchmark.engines if config.benchmark else []
    require_engines([name for name in measured if name != AUTO], "benchmark.engines")


def _check_device(config: RunConfig, device: str | None) -> None:
    if device == "gpu" and config.teacher and config.teacher.engine == "inference":
        raise InputError("inference is for CPUs, the device is a GPU", "teacher.engine", "use auto, dynamic or static")
    if device == "cpu":
        _check_precision(config)


def _check_precision(config: RunConfig) -> None:
    trainings = {f"stages.{stage.stage}.training": stage.training for stage in config.stages}
    if config.quantization_aware is not None:
        trainings["export.int8.quantization_aware.training"] = config.quantization_aware.training
    if config.baseline is not None:
        trainings["baseline"] = config.baseline
    if config.teacher and config.teacher.finetune is not None:
        trainings["teacher.finetune"] = config.teacher.finetune
    if config.teacher and config.teacher.pretrain is not None:
        trainings["teacher.pretrain.training"] = config.teacher.pretrain.training
    for where, training in trainings.items():
        if training.precision != "float32":
            what = f"mixed precision ({training.precision}) needs a GPU: Paddle has none on the CPU"
            raise InputError(what, f"{where}.precision", f"set {where}.precision=float32")


def _check_student(student: RunConfig, teacher: dict | None, data: TaskData | None) -> None:
    check_start(student.student, teacher)
    folder = start_folder(student.student)
    if folder is not None:
        load_tokenizer(folder)
        _check_room(student, folder, data)


def _check_objectives(context: RunContext, shares_vocabulary: bool) -> None:
    context.planned_objectives(shares_vocabulary)
    for index in range(len(context.config.stages)):
        head_of(context, index, shares_vocabulary)


def _check_room(config: RunConfig, folder: Path, data: TaskData | None) -> None:
    lengths = {"task.max_length_tokens": config.task.max_length_tokens}
    if config.general_corpus is not None and any(STAGES[settings.stage].is_general for settings in config.stages):
        lengths["general_corpus.max_length_tokens"] = config.general_corpus.max_length_tokens
    pairs = data is not None and data.kind.may_pair and data.train[0].text_b is not None
    segments = read_tokenizer(folder).segments if pairs else 1
    check_room(read_model_config(folder), lengths, pairs, folder, segments)


def _check_teacher(config: RunConfig, folder: Path, teacher: dict, data: TaskData | None) -> None:
    tuned = config.teacher is not None and config.teacher.finetune is None
    if data is None or not tuned or data.kind.is_bare(teacher["hidden_size"]):
        check_model(folder)
    else:
        own, head = label_names(teacher, str(folder), len(data.labels)), data.kind.saved_head or data.kind.head
        named = any(head in a for a in teacher.get("architectures") or [])
        if not own or not named or not is_of_kind(teacher, data.kind):
            why = f"problem_type is {teacher.get('problem_type')}" if own and named else f"no {head}"
            what = f"teacher.finetune is null, but the model is not fine-tuned for {data.kind.name} ({why})"
            remedy = "give teacher.finetune, or the folder of a fine-tuned model"
            if data.kind.gives_vectors:
                width = teacher["hidden_size"]
                remedy += f"; an encoder alone gives vectors that are {width} wide (task.settings.width)"
            raise InputError(what, str(folder), remedy)
        if len(own) != len(data.labels) or own not in (default_labels(len(own)), data.labels):
            what = f"the teacher's labels are {own}, the task's are {data.labels}"
            raise InputError(what, "task.labels", _labels_remedy(own, data.labels))
        check_model(folder, data.kind.head, len(own), data.kind.unread)


def _check_soft_labels(config: RunConfig, data: TaskData | None) -> None:
    """Refuses the soft label's loss of logits where files give probabilities."""
    if data is None or data.soft is None:
        return
    for index, stage in enumerate(config.stages):
        term = config.stage_objective(index).term("soft_label")
        if STAGES[stage.stage].label_terms and getattr(term, "loss", None) == "mse" and data.soft.found != "logits":
            what = "the soft labels are probabilities, of which logits are known but for a constant: mse compares these"
            raise InputError(what, f"stages[{index}].objective.soft_label.loss", "use cross_entropy or kl, or logits")


def _labels_remedy(own: list[str], labels: list[str]) -> str:
    if sorted(own) == sorted(labels):
        return "list task.labels in the teacher's order"
    other = "give teacher.finetune, which trains a head for the task's labels; or look at data.columns.label"
    if len(own) != len(labels) or own == default_labels(len(own)):
        return other
    names = f"task.labels=[{', '.join(own)}] and data.label_aliases, such as {{{labels[0]}: {own[0]}}}"
    return f"the same labels under other names: {names}; other labels: {other}"


def _check_augmentation(config: RunConfig, source: Path | None) -> None:
    kind = config.task.configured_kind
    if config.augmentation is not None and not kind.augmenter:
        what = f"there is no augmentation of {kind.name} rows: other words would move the answers"
        raise InputError(what, "augmentation", "leave it out")
    if kind.augmenter != "words" or config.augmentation is None:
        return
    vectors = config.augmentation.word_vectors
    if vectors is not None and not Path(vectors).is_file():
        raise InputError(f"no such file of word vectors: {vectors}", "augmentation.word_vectors", "check the path")
    if vectors is None and source is not None and not has_masked_lm_head(source):
        what = "the teacher has no masked LM head to draw replacements from (a fine-tuned model has lost it)"
        remedy = "name the pretrained model and give teacher.finetune, or give augmentation.word_vectors"
        raise InputError(what, f"augmentation ({source})", remedy)
    if vectors is None and source is not None:
        check_model(source, MASKED_LM)


def _check_output(folder: Path) -> None:
    try:
        there = folder.exists()
    except OSError as error:  # a name that is too long
        raise explained(error) from None
    if there and not folder.is_dir():
        raise InputError("a file has the name of the run folder", str(folder), "choose another output_dir")
    held = folder.iterdir() if there and not RunFolder(folder).resolved.is_file() else ()
    strangers = sorted(path.name for path in held if not path.name.startswith("."))
    if strangers:
        # a run removes its folders when it runs again; what is in them must be its own
        what = f"the folder is not empty and was not made by a run (it holds {', '.join(strangers[:5])})"
        raise InputError(what, str(folder), "choose another output_dir, or empty the folder")
    require_folder(folder)
    free, existing = free_bytes(folder)
    if free < _FREE_BYTES:
        what = f"only {free / 2**30:.1f} GiB are free, a run needs at least {_FREE_BYTES / 2**30:.0f}"
        raise InputError(what, str(existing), "make room, or choose another output_dir")
