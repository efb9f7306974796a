"""An answer as JSON: the same for `predict` and for the HTTP server."""

from __future__ import annotations

from dataclasses import asdict

from .predictor import Answer, Score


def answer_row(text: str, text_b: str | None, answer: Answer) -> dict:
    """The row and its answer, ready for JSON; probabilities and scores have six decimals."""
    values = {"text": text}
    if text_b is not None:
        values["text_b"] = text_b
    if isinstance(answer, Score):
        return {**values, "score": round(answer.score, 6)}
    if isinstance(answer, list):
        return {**values, "entities": [{**asdict(e), "probability": round(e.probability, 6)} for e in answer]}
    rounded = {label: round(p, 6) for label, p in answer.probabilities.items()}
    return {
        **values,
        "label": answer.label,
        "probability": round(answer.probability, 6),
        "probabilities": rounded,
    }
