"""The bodies of requests, answers and refusals: read within limits, and checked by the models of /openapi.json.

Every refusal has one JSON shape: {"error": {"code", "message", "where", "remedy"}}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails, from_json
from starlette.requests import Request
from starlette.responses import Response

from ...kinds import LONG_TEXTS
from ...text_rule import PATTERN, text_fault
from ..bundle import Manifest
from .options import ServeOptions

CODES = {
    "not_json": (400, "The body is not JSON in UTF-8."),
    "unauthorized": (401, "The API key is missing or wrong."),
    "not_found": (404, "No such path."),
    "unknown_model": (404, "No model of this name."),
    "method_not_allowed": (405, "The path does not take this method."),
    "slow_request": (408, "The headers or the body did not arrive in time."),
    "body_too_large": (413, "The body is larger than the server takes."),
    "unsupported_media_type": (415, "The body is not declared as application/json, or is compressed."),
    "invalid_request": (422, "The JSON does not say what to predict; `where` names the place."),
    "busy": (429, "The queue is full; try again after `Retry-After` seconds."),
    "internal": (500, "The server failed; its log says why."),
    "draining": (503, "The server is shutting down."),
    "timeout": (503, "No answer in time."),
    "too_many_connections": (503, "Too many connections are open."),
}
_JSON_TYPES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
_LAST_PIECES_SECONDS = 0.5  # for what came before the client's end, and is on its way through the event loop
_LONG_TEXT = (
    "truncate: the end is left out; head_tail: the middle; windows: it is read in overlapping parts, and nothing is"
)
_CLOSED = ConfigDict(extra="forbid")

Shapes = dict[tuple[str, bool], type[BaseModel]]  # of a body, by (the model that is asked, is there a list of rows?)


class ErrorDetail(BaseModel):
    """What is wrong, where, and how to fix it."""

    code: str = Field(json_schema_extra={"enum": list(CODES)})
    message: str
    where: str | None = Field(None, description="place in the request, such as texts[3]")
    remedy: str | None = None


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


@dataclass(eq=False)
class Problem(Exception):
    """A request that cannot be answered: what is wrong, where in the request, and the remedy."""

    code: str
    message: str
    where: str | None = None
    remedy: str | None = None
    headers: dict[str, str] | None = None

    def response(self) -> Response:
        """The whole answer."""
        error = ErrorDetail(code=self.code, message=self.message, where=self.where, remedy=self.remedy)
        body = ErrorBody(error=error).model_dump_json(exclude_none=True)
        return Response(body, CODES[self.code][0], self.headers, "application/json")

    def as_http(self) -> bytes:
        """The whole answer as it is sent where there is no request to answer; the connection ends with it."""
        response = self.response()
        head = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}\r\nconnection: close\r\n"
        lines = b"".join(b"%b: %b\r\n" % line for line in response.raw_headers)
        return head.encode() + lines + b"\r\n" + bytes(response.body)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for these status codes."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        meanings = [meaning for of_code, meaning in CODES.values() if of_code == status]
        found[status] = {"model": ErrorBody, "description": " ".join(meanings)}
        if status == 429:
            found[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "required": True}}
    return found


@dataclass(frozen=True)
class Asked:
    """One request: rows for one model."""

    model: str
    texts: list[str]
    texts_b: list[str] | None


def request_shapes(pairs: dict[str, bool], options: ServeOptions, prefix: str = "") -> Shapes:
    """What a path takes; `pairs` says of each of its models if a row is two texts. prefix: of the shapes' names."""
    text = Annotated[str, Field(min_length=1, max_length=options.max_characters, pattern=PATTERN)]
    shapes: Shapes = {}
    for pair in sorted(set(pairs.values())):
        names = [name for name in pairs if pairs[name] == pair]
        model: Any = (Literal[tuple(names)], names[0] if len(pairs) == 1 else ...)
        one: dict[str, Any] = {"text": (text, ...), "text_b": (text, ...)} if pair else {"text": (text, ...)}
        row: Any = create_model("Pair", __config__=_CLOSED, **one) if pair else text
        many = Annotated[list[row], Field(min_length=1, max_length=options.max_texts)]
        title = "Pair" if pair else "Text"
        single = create_model(f"{prefix}One{title}", __config__=_CLOSED, model=model, **one)
        several = create_model(f"{prefix}Many{title}s", __config__=_CLOSED, model=model, texts=(many, ...))
        shapes |= {(name, False): single for name in names} | {(name, True): several for name in names}
    return shapes


async def read_body(request: Request, options: ServeOptions) -> bytes:
    """The JSON body's bytes. Raises Problem: 415 for another content type, 413 too large, 408 too slow, 400 cut off."""
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Problem("unsupported_media_type", "the body is not declared as JSON", "content-type", "application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "compressed bodies are not taken", "content-encoding", "leave it out")
    collecting = asyncio.ensure_future(_collect(request, options.max_body_bytes))
    ended = request.state.connection.ended
    try:
        await asyncio.wait({collecting, ended}, timeout=options.body_seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await asyncio.wait({collecting}, timeout=_LAST_PIECES_SECONDS)
        if collecting.done():
            return collecting.result()
    finally:
        collecting.cancel()
    close = {"Connection": "close"}
    if ended.done():
        raise Problem("not_json", "the body was cut off", "body", "send the whole body", close)
    what = f"the body did not arrive within {options.body_seconds:g} s"
    raise Problem("slow_request", what, "body", "send it at once", close)


async def _collect(request: Request, limit: int) -> bytes:
    body, declared = bytearray(), int(request.headers.get("content-length", 0))  # h11 lets only digits through
    while max(declared, len(body)) <= limit:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem("not_json", "the body was cut off", "body", "send the whole body")
        body += message.get("body", b"")
        if not message.get("more_body") and len(body) <= limit:
            return bytes(body)
    # the connection stays open so that a client that is still sending gets to read this
    raise Problem("body_too_large", f"the body is larger than {limit} bytes", "body", "send fewer texts per request")


def read_request(body: bytes, shapes: Shapes) -> Asked:
    """Checks the body of a prediction. Raises Problem (400, 404, 422) that names the place."""
    try:  # strict: UTF-8, no lone surrogates, no NaN, a bounded depth
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error).split("\n")[0]
        raise Problem("not_json", f"the body is not JSON: {reason}", "body", "send JSON in UTF-8") from None
    keys = values if isinstance(values, dict) else {}
    models = [model for model, many in shapes if many == ("texts" in keys)]
    model = next((model for model in models if model == keys.get("model")), models[0])  # refused if it is another
    try:
        shapes[model, "texts" in keys].model_validate(values)
    except ValidationError as error:
        # the model first, then an unknown key, which may be what a missing one was meant to be
        first = min(error.errors(), key=lambda e: (e["loc"] != ("model",), e["type"] != "extra_forbidden"))
        raise _problem(first, ", ".join(sorted(models))) from None
    rows = [row if isinstance(row, dict) else {"text": row} for row in values.get("texts", [values])]
    return Asked(model, [row["text"] for row in rows], [row["text_b"] for row in rows] if "text_b" in rows[0] else None)


def _problem(error: ErrorDetails, models: str) -> Problem:
    """One of pydantic's errors in the words of the API."""
    code, path, value = "invalid_request", error["loc"], error["input"]
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key[:40]}" for key in path)
    where, most = place.removeprefix(".") or "body", error.get("ctx", {}).get("max_length")
    match error["type"], path:
        case "missing", ("model",):
            what, remedy = "this server has several models", f"name one of {models}"
        case "literal_error", _ if isinstance(value, str):
            code, what, remedy = "unknown_model", "no model of this name answers here", f"known here: {models}"
        case (("missing" | "extra_forbidden"), ("text",)):
            where, what, remedy = "body", "give exactly one of text and texts", "texts takes a list"
        case ("missing", _) | ("model_type", ("texts", _)):
            what, remedy = "this model takes two texts", "give text and text_b"
        case "extra_forbidden", _:
            what, remedy = "unknown key", "known: model, text, texts, and text_b where a model takes two texts"
        case "too_short", _:
            what, remedy = "expected a list of texts, got an empty list", "give at least one text"
        case "too_long", _:
            what, remedy = f"{len(value)} texts, at most {most} are taken", "send them in several requests"
        case "string_too_long", _:
            what, remedy = f"{len(value)} characters, at most {most} are taken", "shorten the text"
        case (("string_too_short" | "string_pattern_mismatch"), _):
            what, remedy = text_fault(value) or ("the text is refused", "see /openapi.json")
        case other, _:
            expected = {"model_type": "an object", "list_type": "a list of texts"}.get(other, "a string")
            what, remedy = f"expected {expected}, got {_JSON_TYPES.get(type(value), 'a number')}", f"give {expected}"
    return Problem(code, what, where, remedy)


def answer_model(manifests: Iterable[Manifest]) -> type[BaseModel]:
    """The body of an answer by these bundles: a result has the row's texts and the fields of its kind of task."""
    rows = []
    for task_type, manifest in {manifest.task_type: manifest for manifest in manifests}.items():
        types = {"text": str, **({"text_b": str} if manifest.pair else {}), **manifest.kind.answer_fields}
        fields: dict[str, Any] = {name: (of_type, ...) for name, of_type in types.items()}
        cut = Field(False, description="a part of the text was left out; only where it is true")
        fields["truncated"] = (bool, cut)
        rows.append(create_model(task_type.title().replace("_", "") + "Row", __config__=_CLOSED, **fields))
    results: Any = (list[Union[tuple(rows)]], ...)  # type: ignore[misc]  # noqa: UP007
    latency: Any = (float, Field(description="from the request's last byte to the answer, in the server"))
    doc = "The rows of a request with their answers, in the order asked."
    return create_model("Answers", __doc__=doc, model=(str, ...), results=results, latency_ms=latency)


class ServedModel(BaseModel):
    """What a client has to know of a model."""

    name: str
    task: str
    task_type: str = Field(description="the kind of task; after pair_ if a row is two texts")
    labels: list[str]
    max_length_tokens: int = Field(description="what a forward pass takes; `long_text` says what becomes of the rest")
    long_text: Literal[LONG_TEXTS] = Field(description=_LONG_TEXT)  # type: ignore[valid-type]
    precision: str
    engine: str = Field(description="what runs it; by rows per call where several do")
    parameters: int


class Models(BaseModel):
    """The models that this server has."""

    models: list[ServedModel]


class State(BaseModel):
    """`ok`, or `ready`."""

    status: str
