"""Every refusal in one JSON shape: {"error": {"code", "message", "where", "remedy"}}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

CODES = {
    "not_json": (400, "The body is not JSON in UTF-8."),
    "unauthorized": (401, "The API key is missing or wrong."),
    "not_found": (404, "No such path."),
    "unknown_model": (404, "No model of this name."),
    "method_not_allowed": (405, "The path does not take this method."),
    "slow_request": (408, "The body did not arrive in time."),
    "body_too_large": (413, "The body is larger than the server takes."),
    "unsupported_media_type": (415, "The body is not declared as application/json, or is compressed."),
    "invalid_request": (422, "The JSON does not say what to predict; `where` names the place."),
    "busy": (429, "The queue is full; try again after `Retry-After` seconds."),
    "internal": (500, "The server failed; its log says why."),
    "draining": (503, "The server is shutting down."),
    "timeout": (503, "No answer in time."),
    "too_many_connections": (503, "Too many connections have a request under way."),
}


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


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for these status codes."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        meanings = [meaning for of_code, meaning in CODES.values() if of_code == status]
        found[status] = {"model": ErrorBody, "description": " ".join(meanings)}
        if status == 429:
            found[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "required": True}}
    return found
