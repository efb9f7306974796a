"""The FastAPI application: what each path does."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from importlib.resources import files

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from ... import __version__
from ..answers import answer_row
from .body import read_body
from .engine import Engine
from .metrics import Metrics
from .middleware import Observed
from .options import ServeOptions
from .problems import Problem, documented
from .requests import read_request, request_schema
from .shapes import Answers, Models, State

PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass
class Service:
    """What the paths share."""

    engines: dict[str, Engine]
    options: ServeOptions
    metrics: Metrics
    draining: bool = False


def build_app(service: Service) -> Observed:
    """The ASGI application over loaded engines."""
    app = FastAPI(
        title="ernie-tiny serve",
        version=__version__,
        description="Predictions of exported bundles. Every refusal has the shape of `ErrorBody`.",
        docs_url=None,  # these pages load scripts from a CDN
        redoc_url=None,
    )
    app.exception_handler(Problem)(_answer_problem)
    app.exception_handler(HTTPException)(_answer_http_exception)
    _add_predictions(app, service)
    _add_states(app, service)
    _add_page(app)
    paths = {route.path for route in app.routes}
    app.add_middleware(Observed, metrics=service.metrics, paths=paths)
    return app


def _add_predictions(app: FastAPI, service: Service) -> None:
    options, engines = service.options, service.engines
    pairs = {name: engine.pair for name, engine in engines.items()}
    locked = options.api_key is not None
    guard = [Depends(HTTPBearer(auto_error=False))] if locked else []  # for the document; `_check_key` checks
    also = (401,) if locked else ()
    schema = request_schema(pairs, options)

    @app.post(
        "/v1/predict",
        summary="Answer one text or many",
        dependencies=guard,
        response_class=Response,
        responses={
            200: {"model": Answers, "description": "The answers, in the order of the texts."},
            **documented(400, 404, 405, 408, 413, 415, 422, 429, 500, 503, *also),
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    )
    async def predict(request: Request) -> Response:
        """`text` is one row and `texts` many; where a model compares two texts, a row is `text` and `text_b`.

        `model` may be left out where there is one. Rows of different clients are computed together.
        """
        _check_key(request, options)
        body = await read_body(request, options)
        start = time.perf_counter()
        asked = read_request(body, pairs, options)
        noted = request.scope["state"]["noted"]
        noted |= {"model": asked.model, "rows": len(asked.texts), "bytes": len(body)}
        future = engines[asked.model].submit(asked.texts, asked.texts_b)
        try:
            answers = await asyncio.wait_for(future, options.request_seconds)
        except asyncio.TimeoutError:
            what = f"no answer within {options.request_seconds:g} s"
            raise Problem("timeout", what, None, "try again later", {"Retry-After": "1"}) from None
        texts_b = asked.texts_b or [None] * len(asked.texts)
        rows = [answer_row(*row) for row in zip(asked.texts, texts_b, answers, strict=True)]
        latency = round((time.perf_counter() - start) * 1000, 2)
        return _json({"model": asked.model, "results": rows, "latency_ms": latency}, draining=service.draining)

    @app.get(
        "/v1/models",
        summary="The models and their labels",
        dependencies=guard,
        response_class=Response,
        responses={200: {"model": Models, "description": "All of them."}, **documented(405, *also)},
    )
    async def models(request: Request) -> Response:
        _check_key(request, options)
        return _json({"models": [_model(engine) for engine in engines.values()]})


def _add_states(app: FastAPI, service: Service) -> None:
    shape = {"response_class": Response}

    @app.get("/healthz", responses={200: {"model": State}, **documented(405, 500)}, summary="Is it alive?", **shape)
    async def healthz() -> Response:
        dead = [name for name, engine in service.engines.items() if not engine.alive]
        if dead:
            raise Problem("internal", f"the engine of {', '.join(dead)} has ended", remedy="start the server again")
        return _json({"status": "ok"})

    @app.get("/readyz", responses={200: {"model": State}, **documented(405, 503)}, summary="Takes requests?", **shape)
    async def readyz() -> Response:
        if service.draining:
            raise Problem("draining", "the server is shutting down")
        return _json({"status": "ready"})

    @app.get(
        "/metrics",
        summary="For Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented(405)},
    )
    async def metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(app: FastAPI) -> None:
    folder = files(__package__) / "page"
    for name, media in PAGE.items():
        content = (folder / (name or "index.html")).read_bytes()

        async def page(content=content, media=media) -> Response:
            return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

        app.add_api_route(f"/{name}", page, include_in_schema=False, response_class=Response, response_model=None)


def _model(engine: Engine) -> dict:
    manifest = engine.predictor.manifest
    keys = ("task", "task_type", "labels", "max_length_tokens", "precision", "parameters")
    return {"name": engine.name, **{key: getattr(manifest, key) for key in keys}}


def _check_key(request: Request, options: ServeOptions) -> None:
    if options.api_key is None:
        return
    given = request.headers.get("authorization", "")
    if not secrets.compare_digest(given.encode("latin-1"), f"Bearer {options.api_key}".encode()):
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem("unauthorized", "the API key is missing or wrong", "authorization", "Bearer KEY", headers)


def _json(values: dict, draining: bool = False) -> Response:
    headers = {"Connection": "close"} if draining else None
    body = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, media_type="application/json", headers=headers)


async def _answer_problem(request: Request, problem: Problem) -> Response:
    request.scope["state"]["noted"]["code"] = problem.code
    return Response(problem.body(), problem.status, problem.headers, "application/json")


async def _answer_http_exception(request: Request, error: HTTPException) -> Response:
    """What the router itself refuses: 404 and 405."""
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_http")
    problem = Problem(code, str(error.detail), remedy="see /openapi.json", headers=dict(error.headers or {}))
    problem.status = error.status_code
    return await _answer_problem(request, problem)
