"""The FastAPI application: what each path does."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import repeat
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from ... import __version__
from ..row_files import answer_row
from . import messages
from .bundle_queue import BundleQueue
from .messages import Models, Problem, ServedModel, State, documented
from .middleware import Metrics, Observed
from .options import ServeOptions

PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass
class ServerContext:
    """What the paths share."""

    queues: dict[str, BundleQueue]
    options: ServeOptions
    metrics: Metrics
    draining: bool = False


def build_app(service: ServerContext) -> FastAPI:
    """The ASGI application over loaded bundles."""
    app = FastAPI(
        title="ernie-tiny serve",
        version=__version__,
        description="Predictions of exported bundles. Every refusal has the shape of `ErrorBody`.",
        docs_url=None,  # these pages load scripts from a CDN
        redoc_url=None,
        exception_handlers=dict.fromkeys((Problem, 404, 405), _refuse),
    )
    components = _add_predictions(app, service)
    _add_states(app, service)
    _add_page(app)
    app.openapi()["components"]["schemas"] |= components  # FastAPI keeps the document and sends it from then on
    paths = {getattr(route, "path", "") for route in app.routes}
    app.add_middleware(Observed, metrics=service.metrics, paths=paths, limit=service.options.max_connections)
    return app


def _add_predictions(app: FastAPI, service: ServerContext) -> dict[str, Any]:
    """Adds the paths below /v1. Returns the components of the document that FastAPI does not see, of their bodies."""
    options, queues = service.options, service.queues
    manifests = {name: queue.predictor.manifest for name, queue in queues.items()}
    shapes = messages.request_shapes({name: manifest.pair for name, manifest in manifests.items()}, options)
    schema, components = messages.request_schemas(shapes)
    guard = [] if options.api_key is None else [Depends(_key_check(options.api_key))]
    also = (401,) if guard else ()

    @app.post(
        "/v1/predict",
        summary="Answer one text or many",
        dependencies=guard,
        response_model=messages.answer_model(manifests.values()),
        response_description="The answers, in the order of the texts.",
        responses=documented(400, 404, 405, 408, 413, 415, 422, 429, 500, 503, *also),
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    )
    async def predict(request: Request, response: Response) -> dict[str, Any]:
        """`text` is one row and `texts` many; where a model compares two texts, a row is `text` and `text_b`.

        `model` may be left out where there is one. Rows of different clients are computed together.
        """
        body = await messages.read_body(request, options)
        start = time.perf_counter()
        asked = messages.read_request(body, shapes)
        request.state.noted |= {"model": asked.model, "rows": len(asked.texts), "bytes": len(body)}
        queue = queues[asked.model]
        try:
            answers = await asyncio.wait_for(queue.answers(asked.texts, asked.texts_b), options.request_seconds)
        except asyncio.TimeoutError:  # the builtin one only from Python 3.11 on
            what = f"no answer within {options.request_seconds:g} s"
            raise Problem("timeout", what, None, "try again later", {"Retry-After": "1"}) from None
        asked_rows = zip(asked.texts, asked.texts_b or repeat(None), answers, strict=False)
        rows = [answer_row(queue.predictor, *row) for row in asked_rows]
        if service.draining:
            response.headers["Connection"] = "close"
        latency = round((time.perf_counter() - start) * 1000, 2)
        return {"model": asked.model, "results": rows, "latency_ms": latency}

    @app.get("/v1/models", summary="The models and their labels", dependencies=guard, responses=documented(405, *also))
    async def models() -> Models:
        return Models(models=[ServedModel(name=name, **vars(manifest)) for name, manifest in manifests.items()])

    return components


def _key_check(key: str) -> Callable[..., Awaitable[None]]:
    """A dependency that lets requests with the key through, and shows in the document as HTTP's bearer scheme."""
    bearer = Depends(HTTPBearer(auto_error=False))

    async def check(given: HTTPAuthorizationCredentials | None = bearer) -> None:
        if given is None or not secrets.compare_digest(given.credentials.encode(), key.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem("unauthorized", "the API key is missing or wrong", "authorization", "Bearer KEY", headers)

    return check


def _add_states(app: FastAPI, service: ServerContext) -> None:
    @app.get("/healthz", responses=documented(405, 500), summary="Is it alive?")
    async def healthz() -> State:
        dead = [name for name, queue in service.queues.items() if not queue.alive]
        if dead:
            raise Problem("internal", f"{', '.join(dead)} no longer answers", remedy="start the server again")
        return State(status="ok")

    @app.get("/readyz", responses=documented(405, 503), summary="Takes requests?")
    async def readyz() -> State:
        if service.draining:
            raise Problem("draining", "the server is shutting down")
        return State(status="ready")

    text: Any = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(405)}

    @app.get("/metrics", responses=text, summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> None:
    folder = files(__package__) / "page"
    found = {f"/{name}": ((folder / (name or "index.html")).read_bytes(), media) for name, media in PAGE.items()}

    async def page(request: Request) -> Response:
        content, media = found[request.scope["path"]]
        return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    for path in found:
        app.add_api_route(path, page, include_in_schema=False, response_model=None)


async def _refuse(request: Request, error: Exception) -> Response:
    """Answers with the problem; 404 and 405 are the router's own."""
    if isinstance(error, HTTPException):
        code = "not_found" if error.status_code == 404 else "method_not_allowed"
        error = Problem(code, error.detail, remedy="see /openapi.json", headers=dict(error.headers or {}))
    assert isinstance(error, Problem)
    request.state.noted["code"] = error.code
    return error.response()
