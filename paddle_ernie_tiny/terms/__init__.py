"""The table of the objective's terms: `TERMS` by name, in the order of the printed equation.

To add one: write a subclass of `Term`, list it here, or register it from another package (see `extensions.py`).
"""

from __future__ import annotations

from .builtin import Attention, Embedding, HardLabel, Hidden, SoftLabel
from .logit_terms import DecoupledSoftLabel, Dist
from .similarity import Similarity
from .term import Captured, Needs, Pair, Term, TermSettings

_TERMS = (Attention, Hidden, Embedding, SoftLabel, Dist, DecoupledSoftLabel, Similarity, HardLabel)
TERMS: dict[str, type[Term]] = {term.name: term for term in _TERMS}

__all__ = ["TERMS", "Captured", "Needs", "Pair", "Term", "TermSettings"]
