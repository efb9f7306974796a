"""Every refusal in one JSON shape: {"error": {"code", "message", "where", "remedy"}}."""

from __future__ import annotations

import json

from pydantic import BaseModel, Field

STATUS_OF = {
    "not_json": 400,
    "bad_http": 400,
    "unauthorized": 401,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "slow_request": 408,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "busy": 429,
    "internal": 500,
    "draining": 503,
    "timeout": 503,
    "too_many_connections": 503,
}
MEANING = {
    400: "The body is not JSON in UTF-8, or the request is not HTTP.",
    401: "The API key is missing or wrong.",
    404: "No such path, or no such model.",
    405: "The path does not take this method.",
    408: "The request did not arrive in time.",
    413: "The body is larger than the server takes.",
    415: "The body is not declared as application/json, or is compressed.",
    422: "The JSON does not say what to predict; `where` names the place.",
    429: "The queue is full; try again after `Retry-After` seconds.",
    500: "The server failed; its log says why.",
    503: "The server is shutting down, has too many connections, or could not answer in time.",
}


class Problem(Exception):
    """A request that cannot be answered: what is wrong, where in the request, and the remedy."""

    def __init__(
        self,
        code: str,
        message: str,
        where: str | None = None,
        remedy: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.code, self.message, self.where, self.remedy = code, message, where, remedy
        self.status = STATUS_OF[code]
        self.headers = headers or {}

    def body(self) -> bytes:
        """The JSON body, in ASCII."""
        error = {"code": self.code, "message": self.message, "where": self.where, "remedy": self.remedy}
        return json.dumps({"error": {key: value for key, value in error.items() if value is not None}}).encode()


class ErrorDetail(BaseModel):
    """What is wrong, where, and how to mend it."""

    code: str = Field(json_schema_extra={"enum": list(STATUS_OF)})
    message: str
    where: str | None = Field(None, description="place in the request, such as texts[3]")
    remedy: str | None = None


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorDetail


def documented(*statuses: int) -> dict[int, dict]:
    """OpenAPI `responses` for these status codes."""
    found = {status: {"model": ErrorBody, "description": MEANING[status]} for status in statuses}
    if 429 in found:
        seconds = {"schema": {"type": "integer"}, "description": "seconds", "required": True}
        found[429]["headers"] = {"Retry-After": seconds}
    return found
