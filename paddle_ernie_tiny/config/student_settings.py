"""The section of the student: its size, and what its weights start from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..sections import Fraction, PathName, PositiveInt, Section, key

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")


class ModelShape(Section):
    """Size of a BERT-like encoder."""

    num_hidden_layers: Annotated[int, Field(ge=0, lt=2**31)] = key(
        4, "0: none; the student's head reads the mean of the embeddings of a text's tokens"
    )
    hidden_size: PositiveInt = 312
    num_attention_heads: PositiveInt = 12
    intermediate_size: PositiveInt = 1200
    hidden_dropout_prob: Fraction = 0.1
    attention_probs_dropout_prob: Fraction = 0.1

    @property
    def sized(self) -> bool:
        """Are all sizes known?"""
        return True

    @model_validator(mode="after")
    def _heads_fit(self):
        width, heads = self.hidden_size, self.num_attention_heads
        if self.sized and width % heads:
            raise ValueError(f"hidden_size {width} is not a multiple of num_attention_heads {heads}")
        return self


def make_way(student: dict[str, Any], init: Any, kept: Collection[str] = ()) -> None:
    """Takes sizes and another start, but for `kept`, out of a student that is about to start from a model by `init`."""
    if isinstance(init, dict) and init.get("folder") is not None:
        for size in set(SIZES).difference(kept):
            student.pop(size, None)
        before = student.get("init")
        if isinstance(before, dict) and before is not init and "init.method" not in kept:
            student["init"] = {name: value for name, value in before.items() if name != "method"}


class VocabularySettings(Section):
    """The vocabulary of a student that starts at random where there is no teacher to share one with."""

    file: PathName | None = key(None, "BERT or ERNIE vocabulary; default: built from the training text and the pool")
    size: Annotated[int, Field(ge=100, le=10_000_000)] = key(8000, "at most, when it is built here")
    lowercase: bool = key(True, "fold case, when the vocabulary is built here")


class StudentInit(Section):
    """What the student's weights start from; what is not taken from there is random, by the run's seed."""

    method: Literal["random", "teacher_layers", "teacher_narrowed", "teacher_embeddings", "folder"] = key(
        "random",
        "teacher_layers: copies of whole layers (same width); teacher_narrowed: layers at the student's width, fitted "
        "to the teacher's states on training texts; teacher_embeddings: the teacher's embeddings at the student's "
        "width, by truncated SVD; folder: another model, or a part of it (the default if folder is given)",
    )
    layers: Literal["uniform", "top", "bottom"] | list[PositiveInt] = key(
        "uniform", "for teacher_layers, teacher_narrowed and folder: which, from 1, where the student has fewer"
    )
    folder: PathName | None = key(
        None,
        "a model by PaddleNLP's name, or in a folder; sizes that are not given are its own. num_hidden_layers and "
        "intermediate_size may be smaller: of each feed-forward network the units with the largest weights stay",
    )
    vocabulary: VocabularySettings | None = key(
        None, "of a random start in a run without a teacher; default: built from the training text"
    )

    @model_validator(mode="after")
    def _folder_fits(self):
        if self.folder is not None and "method" not in self.model_fields_set:
            self.method = "folder"
        if (self.method == "folder") != (self.folder is not None):
            raise ValueError("method: folder and folder: NAME_OR_PATH belong together")
        return self


class StudentSettings(ModelShape):
    """The student: its size, and what it starts from."""

    init: StudentInit = Field(default_factory=StudentInit)

    @property
    def shape(self) -> ModelShape:
        """The size alone."""
        return ModelShape(**self.model_dump(exclude={"init"}))

    @property
    def sized(self) -> bool:
        """Are all sizes known? Of a student that starts from a model, those that are not given are the model's."""
        return self.init.folder is None or self.model_fields_set.issuperset(SIZES)
