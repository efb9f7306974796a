"""The shapes of answers, for /openapi.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    text_b: str | None = Field(None, description="of a pair")


class Classified(_Row):
    """A row and its label."""

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float] = Field(description="of every label, in the model's order")


class Scored(_Row):
    """A row and its score."""

    score: float = Field(description="in the units of the training data")


class EntityShape(BaseModel):
    """A named entity, `text[start:end]`."""

    label: str
    start: int
    end: int
    text: str
    probability: float


class Tagged(_Row):
    """A row and its named entities."""

    entities: list[EntityShape]


class Answers(BaseModel):
    """The rows of a request with their answers, in the order asked."""

    model: str
    results: list[Classified | Scored | Tagged]
    latency_ms: float = Field(description="from the request's last byte to the answer, in the server")


class ModelShape(BaseModel):
    """What a client has to know of a model."""

    name: str
    task: str
    task_type: str = Field(description="[pair_]classification, [pair_]regression or token_classification")
    labels: list[str]
    max_length_tokens: int = Field(description="what is longer is cut off at the end")
    precision: str
    parameters: int


class Models(BaseModel):
    """The models that this server has."""

    models: list[ModelShape]


class State(BaseModel):
    """`ok`, or `ready`."""

    status: str
