"""What every step of a run needs: configuration, data, tokenizer, corpus and where things lie."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..augmentation import Augmented, augment, cache_inputs, cached, swap_entities
from ..config import DataSettings, RunConfig
from ..data.corpus import TextCorpus, corpus_files, corpus_fingerprint, prepare_corpus
from ..data.readers import Example, TableFormat, infer_labels, read_examples, read_paddlenlp
from ..data.tags import Unit, unit_of
from ..data.token_files import TokenExample, infer_tags, read_paddlenlp_tokens, read_token_examples
from ..data.tokenization import WordPieceTokenizer
from ..distributed import main_first
from ..errors import InputError
from ..models.build import load_masked_lm, load_tokenizer
from ..models.weights import has_masked_lm_head, model_fingerprint
from ..runtime import cpu_cores
from ..training.batches import EncodedRows, encode_examples, encode_tagged

# From here on cutting a corpus into words is shared by processes; below, starting them costs more.
_PARALLEL_BYTES = 50_000_000


# The one "label" of a regression task: the name of its output.
SCORE = "score"


@dataclass
class TaskData:
    """The labelled splits. `test` is what the report scores: the test file where there is one, else dev."""

    kind: str
    labels: list[str]
    train: list[Example] | list[TokenExample]
    dev: list[Example] | list[TokenExample]
    test: list[Example] | list[TokenExample]
    test_is_dev: bool
    more_tests: dict[str, list] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def tagged(self) -> bool:
        return self.kind == "token_classification"

    @property
    def pair(self) -> bool:
        return not self.tagged and self.train[0].text_b is not None

    @cached_property
    def unit(self) -> Unit | None:
        """What a tagger labels in raw text: characters or words, as in the training rows; else None."""
        return unit_of(e.words for e in self.train) if self.tagged else None

    @cached_property
    def unseen(self) -> np.ndarray:
        """Which test rows [rows] do not occur, text for text, among the training rows."""
        seen = {content(e) for e in self.train}
        return np.array([content(e) not in seen for e in self.test], dtype=bool)


def content(example: Example | TokenExample) -> tuple:
    """What a row says, without its label."""
    return example.words if isinstance(example, TokenExample) else (example.text, example.text_b)


def table_format(config: RunConfig) -> TableFormat:
    """How the labelled files are laid out."""
    data = config.data
    return TableFormat(
        format=data.format,
        header=data.header,
        text=data.columns.text,
        text_b=data.columns.text_b,
        label=data.columns.label,
        label_aliases=data.label_aliases,
    )


def load_task_data(config: RunConfig) -> TaskData:
    """Reads the splits, holds out a dev part or limits train where asked, and fingerprints what results.

    Raises InputError or InputErrors that name file and line.
    """
    data, kind = config.data, config.task.kind
    splits, labels = _read_paddlenlp(config) if data.source == "paddlenlp" else _read_files(config)
    if kind != "regression" and len(labels) < 2:
        raise InputError(f"only one label: {labels}", "data.train", f"a {kind} task needs at least two")
    train = splits["train"]
    order = np.random.default_rng(config.seed).permutation(len(train))
    if data.dev_from_train:
        held = max(1, int(round(len(train) * data.dev_from_train)))
        splits["dev"] = [train[i] for i in sorted(order[:held])]
        order = order[held:]
    if data.train_limit:
        order = order[: data.train_limit]
    train = [train[i] for i in sorted(order)]
    if not train:
        raise InputError("no training row is left", f"data.train ({data.train})", "give more rows, or hold out fewer")
    if kind == "classification":
        _require_every_label(train, labels, f"data.train ({data.train})")
    dev = splits["dev"]
    test = splits.get("test", dev)
    _require_labels(dev, f"data.dev ({data.dev})")
    _require_labels(test, f"data.test ({data.test})")
    more = {name: splits[name] for name in data.more_tests}
    for name, rows in more.items():
        _require_labels(rows, f"data.more_tests.{name} ({data.more_tests[name]})")
    return TaskData(
        kind=kind,
        labels=list(labels),
        train=train,
        dev=dev,
        test=test,
        test_is_dev="test" not in splits,
        more_tests=more,
        fingerprints={
            name: _rows_hash(rows) for name, rows in {"train": train, "dev": dev, "test": test, **more}.items()
        },
    )


def _named_splits(data: DataSettings) -> dict[str, str]:
    own = {name: getattr(data, name) for name in ("train", "dev", "test") if getattr(data, name) is not None}
    return {**own, **data.more_tests}


def _read_files(config: RunConfig) -> tuple[dict[str, list], list[str]]:
    data, kind, labels = config.data, config.task.kind, config.task.labels
    table = table_format(config)
    paths = _named_splits(data)
    if kind == "token_classification":
        labels = labels or infer_tags(data.train, table)
        return {name: read_token_examples(path, table, labels) for name, path in paths.items()}, labels
    if kind == "regression":
        return {name: read_examples(path, table, None) for name, path in paths.items()}, [SCORE]
    labels = labels or infer_labels(data.train, table)
    return {name: read_examples(path, table, labels) for name, path in paths.items()}, labels


def _read_paddlenlp(config: RunConfig) -> tuple[dict[str, list], list[str]]:
    data, kind, labels = config.data, config.task.kind, config.task.labels
    columns, splits = data.columns, {}
    for name, split in _named_splits(data).items():
        if kind == "token_classification":
            splits[name], found = read_paddlenlp_tokens(
                data.dataset, split, columns.text, columns.label, subset=data.subset
            )
        else:
            splits[name], found = read_paddlenlp(
                data.dataset, split, columns.text, columns.text_b, columns.label, data.subset, kind == "regression"
            )
        labels = labels or found
    return splits, [SCORE] if kind == "regression" else labels


def _require_every_label(train: list[Example], labels: list[str], where: str) -> None:
    present = {e.label for e in train}
    absent = [name for index, name in enumerate(labels) if index not in present]
    if absent:
        remedy = "add such rows, or take the label out of task.labels"
        raise InputError(f"no training row has the label {absent[0]!r}", where, remedy)


def _require_labels(examples: list, where: str) -> None:
    bare = sum((e.tags if isinstance(e, TokenExample) else e.label) is None for e in examples)
    if bare:
        raise InputError(
            f"{bare} of {len(examples)} rows have no label, so the split cannot be scored",
            where,
            "name a labelled split, or leave data.test out and the dev split is scored",
        )


def _rows_hash(examples: list) -> str:
    digest = hashlib.sha256()
    for e in examples:
        digest.update(repr((*content(e), e.tags if isinstance(e, TokenExample) else e.label)).encode("utf-8"))
    return digest.hexdigest()[:16]


class RunContext:
    """Shared by the steps of one student's run; everything is read once and kept.

    `root` holds what is the student's; teacher and prepared data lie in `shared`, which is the same folder unless
    the run has several students.
    """

    def __init__(self, config: RunConfig, data: TaskData, teacher_source: Path | None, shared: Path | None = None):
        self.config, self.data = config, data
        self.teacher_source = teacher_source  # None: pretrained here
        self.root = Path(config.output_dir)
        self.shared = shared or self.root
        self.findings: list = []  # of preflight, for the report
        self._rows: dict[str, EncodedRows] = {}

    def for_student(self, config: RunConfig) -> RunContext:
        """The same data and teacher for another student of the run."""
        other = copy(self)
        other.config, other.root = config, Path(config.output_dir)
        return other

    # --- places ----------------------------------------------------------------------------------------

    @property
    def pretrained_step(self) -> Path:
        return self.shared / "teacher" / "pretrained"

    @property
    def finetuned_step(self) -> Path:
        return self.shared / "teacher" / "finetuned"

    @property
    def baseline_step(self) -> Path:
        return self.root / "baseline"

    def stage_step(self, index: int) -> Path:
        return self.root / "stages" / f"{index + 1}-{self.config.stages[index].stage}"

    @property
    def pretrained_model(self) -> Path:
        """Folder of the teacher before fine-tuning."""
        return self.teacher_source or self.pretrained_step / "final"

    @property
    def finetuned_model(self) -> Path:
        """Folder of the fine-tuned teacher; the given model itself where it is fine-tuned already."""
        if self.config.teacher.finetune is None:
            return self.teacher_source
        return self.finetuned_step / "final"

    def teacher_model(self, kind: str) -> Path:
        """Folder of the "pretrained" or "finetuned" teacher."""
        return self.pretrained_model if kind == "pretrained" else self.finetuned_model

    def vdl_dir(self, step: Path) -> Path:
        root = self.root if step.is_relative_to(self.root) else self.shared
        return root / "vdl" / step.relative_to(root)

    # --- data ------------------------------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> WordPieceTokenizer:
        return load_tokenizer(self.pretrained_model)

    def rows(self, split: str) -> EncodedRows:
        """Tokenised "train", "dev" or "test" rows, or those of a further test by its name."""
        if split not in self._rows:
            examples = self.data.more_tests.get(split) or getattr(self.data, split)
            self._rows[split] = self._encode(examples)
        return self._rows[split]

    def _encode(self, examples: list) -> EncodedRows:
        length = self.config.task.max_length_tokens
        if self.data.tagged:
            return encode_tagged(self.tokenizer, examples, length)
        return encode_examples(self.tokenizer, examples, self.data.kind, length)

    @cached_property
    def stage_rows(self) -> EncodedRows:
        """What stages on task data train on: the training rows and, where asked for, their augmented copies."""
        if self.config.augmentation is None:
            return self.rows("train")
        return self._encode([*self.data.train, *self._labelled_as_asked(self.augmented.examples)])

    @cached_property
    def augmented(self) -> Augmented:
        """Copies of the training rows with other words or entities; made once and kept in the run folder."""
        settings, seed, train = self.config.augmentation, self.config.seed, self.data.train
        folder = self.shared / "data" / "augmented"
        if self.data.tagged:
            inputs = {**cache_inputs(train, settings, seed), "labels": self.data.labels}
            with main_first():
                return cached(
                    folder, inputs, lambda: swap_entities(train, self.data.labels, settings, seed), TokenExample
                )
        inputs = cache_inputs(
            train, settings, seed, model_fingerprint(self.pretrained_model), self.tokenizer.fingerprint
        )

        def make() -> Augmented:
            folder = self.pretrained_model
            masked_lm = load_masked_lm(folder) if has_masked_lm_head(folder) else None
            return augment(train, settings, masked_lm, self.tokenizer, seed)

        with main_first():
            return cached(folder, inputs, make)

    def _labelled_as_asked(self, examples: list) -> list:
        if self.config.augmentation.labels == "original":
            return examples
        return [replace(e, label=None) for e in examples]  # the teacher's soft labels alone

    @cached_property
    def corpus(self) -> TextCorpus:
        """The general corpus, tokenised once into memory-mapped files in the run folder."""
        return self.tokenised_corpus(self.tokenizer, False)

    def tokenised_corpus(self, tokenizer: WordPieceTokenizer, word_boundaries: bool) -> TextCorpus:
        settings = self.config.general_corpus
        name = "general_words" if word_boundaries else "general"
        size = sum(file.stat().st_size for file in corpus_files(settings.path))
        with (
            main_first(),
            tqdm(
                total=size, unit="B", unit_scale=True, desc="tokenising the general corpus", disable=None, leave=False
            ) as bar,
        ):
            corpus = prepare_corpus(
                settings.path,
                tokenizer,
                max_length=settings.max_length_tokens,
                out_dir=self.shared / "data" / name,
                held_out=settings.held_out_rows,
                seed=self.config.seed,
                word_boundaries=word_boundaries,
                num_proc=cpu_cores() if size >= _PARALLEL_BYTES else None,
                progress=bar.update,
            )
        if not len(corpus.held_out):
            raise InputError(
                f"the corpus has only {corpus.sequences} rows; one in 20 is held out to measure on",
                f"general_corpus.path ({settings.path})",
                "give at least 20 lines; general stages want millions",
            )
        return corpus

    @cached_property
    def corpus_fingerprint(self) -> str:
        return corpus_fingerprint(self.config.general_corpus.path)
