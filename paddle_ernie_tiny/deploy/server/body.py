"""Reading a request's body within its limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from .options import ServeOptions
from .problems import Problem


async def read_body(request: Request, options: ServeOptions) -> bytes:
    """The JSON body's bytes. Raises Problem: 415 for another content type, 413 too large, 408 too slow, 400 cut off."""
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Problem("unsupported_media_type", "the body is not declared as JSON", "content-type", "application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "compressed bodies are not taken", "content-encoding", "leave it out")
    if int(request.headers.get("content-length", 0)) > options.max_body_bytes:  # h11 lets only digits through
        raise _too_large(options)
    try:
        return await asyncio.wait_for(_collect(request, options), options.body_seconds)
    except asyncio.TimeoutError:  # the builtin one only from Python 3.11 on
        what = f"the body did not arrive within {options.body_seconds:g} s"
        raise Problem("slow_request", what, "body", "send it at once", {"Connection": "close"}) from None


async def _collect(request: Request, options: ServeOptions) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem("not_json", "the body was cut off", "body", "send the whole body")
        body += message.get("body", b"")
        if len(body) > options.max_body_bytes:
            raise _too_large(options)
        if not message.get("more_body"):
            return bytes(body)


def _too_large(options: ServeOptions) -> Problem:
    what = f"the body is larger than {options.max_body_bytes} bytes"
    # the connection stays open so that a client that is still sending gets to read this
    return Problem("body_too_large", what, "body", "send fewer texts a request")
