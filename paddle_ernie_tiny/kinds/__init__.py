"""The table of the kinds of task: `KINDS` by name. To add one: write a module with a subclass of `Kind`, list it."""

from __future__ import annotations

from .classification import Classification, Prediction
from .kind import SCORE, Kind, Row
from .regression import Regression, Score
from .token_classification import Entity, TokenClassification

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Classification(), Regression(), TokenClassification())}

__all__ = ["KINDS", "SCORE", "Entity", "Kind", "Prediction", "Row", "Score"]
