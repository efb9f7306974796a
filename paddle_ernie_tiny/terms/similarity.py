"""Similarities of sentence vectors inside a batch: the term that compares both models', and the loss on documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from ..errors import InputError
from ..sections import key
from .term import Needs, Term, TermSettings

if TYPE_CHECKING:
    import numpy as np
    from paddle import Tensor

_LEFT_OUT = -1e9  # far below any similarity, and finite in float32


class SimilaritySettings(TermSettings):
    """How alike the texts of a batch are to one another, for the teacher and for the student."""

    temperature: Annotated[float, Field(gt=0, le=1e6)] = key(0.05, "of the cosines in both distributions")


class Similarity(Term):
    """KL of the distributions, for each text of a batch, of its cosines to the others (as of MoCo-style queues in
    SEED, arXiv 2101.04731, eq. 4-6, here among the texts of the batch). The widths of the vectors may differ."""

    name = "similarity"
    latent = False
    unit = "rows"
    Settings = SimilaritySettings

    @property
    def symbol(self):
        return f"KL(cos_T || cos_S; T={self.settings.temperature:g}) in the batch"

    def check(self):
        if not self.pair.kind.gives_vectors:
            what = f"similarities are of vectors, and a {self.pair.kind.name} model gives none"
            raise InputError(what, "objective.similarity", "set its weight: 0")

    def needs(self, side):
        return Needs(logits=True)

    def value(self, student, teacher, mask, labels):
        return similarity_kl(student.logits, teacher.logits, self.settings.temperature)


def similarity_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of each text's distribution over the other texts, mean over texts; a scalar.

    student, teacher: vectors [texts, width], whose widths may differ. A text's distribution is the softmax of its
    cosines over the temperature. 0 for a single text.
    """
    import paddle
    import paddle.nn.functional as F

    from .losses import soft_kl

    def logits(vectors: Tensor) -> Any:
        unit = F.normalize(vectors.astype("float32"), axis=-1)
        return unit @ unit.T / temperature + paddle.eye(len(unit)) * _LEFT_OUT

    return soft_kl(logits(student), logits(teacher))


def document_cross_entropy(queries: Tensor, documents: Tensor, left_out: np.ndarray, temperature: float) -> Tensor:
    """Of each query, the cross-entropy of its document among all of a batch (DPR, arXiv 2004.04906, eq. 2): [queries].

    queries [queries, width], documents [documents, width]: of length 1, the document of query i at i. left_out: bool
    [queries, documents], of documents that are no wrong ones. The logits are cosines over the temperature.
    """
    import paddle
    import paddle.nn.functional as F

    logits = queries @ documents.T / temperature + paddle.to_tensor(left_out.astype("float32")) * _LEFT_OUT
    return F.cross_entropy(logits, paddle.arange(len(queries)), reduction="none").reshape([-1])
