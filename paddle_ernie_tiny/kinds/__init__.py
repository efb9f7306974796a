"""The table of the kinds of task: `KINDS` by name. To add one: write a module with a subclass of `Kind`, list it."""

from __future__ import annotations

from .classification import Classification, Prediction
from .embedding import SentenceEmbedding, Vector
from .kind import LONG_TEXTS, Kind, Row, Window
from .learning import SCORE
from .metrics import METRICS
from .multi_label import Labels, MultiLabel
from .reading import Answer, Reading, ReadingAnswer
from .regression import Regression, Score
from .token_classification import Entities, Entity, TokenClassification

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (Classification(), Regression(), TokenClassification(), MultiLabel(), Reading(), SentenceEmbedding())
}
METRICS.update({metric.name: metric for kind in KINDS.values() for metric in kind.own_metrics})

__all__ = [
    *("KINDS", "LONG_TEXTS", "SCORE", "Answer", "Entities", "Entity", "Kind", "Labels", "Prediction", "ReadingAnswer"),
    *("Row", "Score", "Vector", "Window"),
]
