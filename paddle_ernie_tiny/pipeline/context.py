"""What every step of a run needs: configuration, data, tokenizer, corpus and where things lie."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..config import RunConfig
from ..data.corpus import TextCorpus, corpus_files, corpus_fingerprint, prepare_corpus
from ..data.readers import Example, TableFormat, infer_labels, read_examples, read_paddlenlp
from ..data.tokenization import WordPieceTokenizer
from ..errors import InputError
from ..models.build import load_tokenizer
from ..runtime import cpu_cores
from ..training.batches import EncodedRows, encode_examples

# From here on cutting a corpus into words is shared by processes; below, starting them costs more.
_PARALLEL_BYTES = 50_000_000


@dataclass
class TaskData:
    """The labelled splits. `test` is what the report scores: the test file where there is one, else dev."""

    labels: list[str]
    train: list[Example]
    dev: list[Example]
    test: list[Example]
    test_is_dev: bool
    fingerprints: dict[str, str] = field(default_factory=dict)

    @property
    def pair(self) -> bool:
        return self.train[0].text_b is not None

    @cached_property
    def unseen(self) -> np.ndarray:
        """Which test rows [rows] do not occur, text for text, among the training rows."""
        seen = {(e.text, e.text_b) for e in self.train}
        return np.array([(e.text, e.text_b) not in seen for e in self.test], dtype=bool)


def table_format(config: RunConfig) -> TableFormat:
    """How the labelled files are laid out."""
    data = config.data
    return TableFormat(
        format=data.format,
        header=data.header,
        text=data.columns.text,
        text_b=data.columns.text_b,
        label=data.columns.label,
    )


def load_task_data(config: RunConfig) -> TaskData:
    """Reads the splits, holds out a dev part or limits train where asked, and fingerprints what results.

    Raises InputError or InputErrors that name file and line.
    """
    data = config.data
    labels = config.task.labels
    if data.source == "paddlenlp":
        columns = data.columns
        splits = {}
        for name in ("train", "dev", "test"):
            split = getattr(data, name)
            if split is not None:
                splits[name], found = read_paddlenlp(
                    data.dataset, split, columns.text, columns.text_b, columns.label, data.subset
                )
                labels = labels or found
    else:
        table = table_format(config)
        labels = labels or infer_labels(data.train, table)
        splits = {
            name: read_examples(getattr(data, name), table, labels)
            for name in ("train", "dev", "test")
            if getattr(data, name) is not None
        }
    if len(labels) < 2:
        raise InputError(f"only one label: {labels}", "data.train", "a classification task needs at least two")
    train = splits["train"]
    order = np.random.default_rng(config.seed).permutation(len(train))
    if data.dev_from_train:
        held = max(1, int(round(len(train) * data.dev_from_train)))
        splits["dev"] = [train[i] for i in sorted(order[:held])]
        order = order[held:]
    if data.train_limit:
        order = order[: data.train_limit]
    train = [train[i] for i in sorted(order)]
    present = {e.label for e in train}
    absent = [name for index, name in enumerate(labels) if index not in present]
    if absent:
        raise InputError(
            f"no training row has the label {absent[0]!r}",
            f"data.train ({data.train})",
            "add such rows, or take the label out of task.labels",
        )
    dev = splits["dev"]
    test = splits.get("test", dev)
    return TaskData(
        labels=list(labels),
        train=train,
        dev=dev,
        test=test,
        test_is_dev="test" not in splits,
        fingerprints={"train": _rows_hash(train), "dev": _rows_hash(dev), "test": _rows_hash(test)},
    )


def _rows_hash(examples: list[Example]) -> str:
    digest = hashlib.sha256()
    for e in examples:
        digest.update(repr((e.text, e.text_b, e.label)).encode("utf-8"))
    return digest.hexdigest()[:16]


class RunContext:
    """Shared by the steps of one run; everything is read once and kept."""

    def __init__(self, config: RunConfig, data: TaskData, teacher_source: Path | None):
        self.config, self.data = config, data
        self.teacher_source = teacher_source  # None: pretrained here
        self.root = Path(config.output_dir)
        self._rows: dict[str, EncodedRows] = {}

    # --- places ----------------------------------------------------------------------------------------

    @property
    def pretrained_step(self) -> Path:
        return self.root / "teacher" / "pretrained"

    @property
    def finetuned_step(self) -> Path:
        return self.root / "teacher" / "finetuned"

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
        return self.root / "vdl" / step.relative_to(self.root)

    # --- data ------------------------------------------------------------------------------------------

    @cached_property
    def tokenizer(self) -> WordPieceTokenizer:
        return load_tokenizer(self.pretrained_model)

    def rows(self, split: str) -> EncodedRows:
        """Tokenised "train", "dev" or "test" rows."""
        if split not in self._rows:
            examples = getattr(self.data, split)
            self._rows[split] = encode_examples(self.tokenizer, examples, self.config.task.max_length_tokens)
        return self._rows[split]

    @cached_property
    def corpus(self) -> TextCorpus:
        """The general corpus, tokenised once into memory-mapped files in the run folder."""
        return self.tokenised_corpus(self.tokenizer, False)

    def tokenised_corpus(self, tokenizer: WordPieceTokenizer, word_boundaries: bool) -> TextCorpus:
        settings = self.config.general_corpus
        name = "general_words" if word_boundaries else "general"
        size = sum(file.stat().st_size for file in corpus_files(settings.path))
        with tqdm(
            total=size, unit="B", unit_scale=True, desc="tokenising the general corpus", disable=None, leave=False
        ) as bar:
            corpus = prepare_corpus(
                settings.path,
                tokenizer,
                max_length=settings.max_length_tokens,
                out_dir=self.root / "data" / name,
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
