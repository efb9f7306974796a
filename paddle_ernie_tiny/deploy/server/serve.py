"""The server: what each path does, and how its process starts, runs and stops."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import secrets
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from ... import __version__
from ...errors import InputError
from ...machine import thread_count
from ..row_files import answer_rows
from . import messages
from .bundle_queue import BundleQueue
from .connections import BACKLOG, BURST, Connections, connections_possible
from .messages import Models, Problem, ServedModel, State, documented
from .middleware import Metrics, Observed
from .options import ServeOptions

log = logging.getLogger(__name__)
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def serve(bundles: dict[str, Path], options: ServeOptions) -> None:
    """Loads the bundles, then answers HTTP until SIGTERM or SIGINT; returns when every request is answered.

    Bundles compute at the same time, so that with `threads` "auto" each gets its share of the cores.
    On the signal /readyz turns 503; `drain_seconds` later no more connections are taken, and the server ends as soon
    as the last request has its answer. A second signal ends it at once.

    Raises InputError when a bundle cannot be served or the address cannot be used.
    """
    start = time.perf_counter()
    options = replace(options, threads=thread_count(options.threads, len(bundles)))
    handler = logging.StreamHandler(sys.stdout)  # for all logging of this process
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("paddle_ernie_tiny").setLevel(logging.INFO)
    with _bound_socket(options) as listener:
        metrics = Metrics()
        queues = {name: BundleQueue(name, folder, options, metrics) for name, folder in bundles.items()}
        if options.api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
            log.warning("reachable_without_api_key", extra={"host": options.host})
        connections = Connections(options, connections_possible(options.max_connections), metrics)
        _Server(ServerContext(queues, options, metrics), connections, start).run(sockets=[listener])
    for queue in queues.values():
        queue.stop()
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on listening for `drain_seconds` after the signal, and then exits 0."""

    def __init__(self, service: ServerContext, connections: Connections, start: float):
        self._service, self._start = service, start
        options, http = service.options, cast(Any, connections.protocol)  # any callable will do
        config = uvicorn.Config(
            build_app(service),
            http=http,
            loop="asyncio",
            backlog=BURST,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(options.idle_seconds) + 1,
            timeout_graceful_shutdown=int(options.body_seconds + options.request_seconds) + 1,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer and to listen, and logs where."""
        for queue in self._service.queues.values():
            queue.start()
        await super().startup(sockets)
        seconds = round(time.perf_counter() - self._start, 2)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # uvicorn's `backlog` is also how many it accepts at once
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            engines = {name: queue.predictor.engine for name, queue in self._service.queues.items()}
            served = {"models": list(engines), "engines": engines, "threads": self._service.options.threads}
            log.info("listening", extra={"url": url, **served, "seconds": seconds})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On the first signal begins to drain, on a second one ends."""
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        log.info("draining", extra={"signal": sig})
        # signal handlers run in the main thread, inside the loop
        asyncio.get_running_loop().call_later(self._service.options.drain_seconds, setattr, self, "should_exit", True)


def _bound_socket(options: ServeOptions) -> socket.socket:
    """A socket that has the address, so that a port in use shows before bundles are loaded; nothing listens yet."""
    try:
        family, style, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, style, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise InputError(f"cannot listen there: {error.strerror}", where, "choose another --port or --host") from None
    return listener


class JsonFormatter(logging.Formatter):
    """time (UTC), level, event, then what the call gave as `extra`, and a traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, in ASCII."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        values = {"time": stamp, "level": record.levelname.lower(), "event": record.getMessage()}
        values |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=True, default=str)


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
        redirect_slashes=False,  # to a place that the Host header names
        exception_handlers=dict.fromkeys((Problem, 404, 405), _refuse),
    )
    components = _add_predictions(app, service)
    _add_states(app, service)
    folder = files(__package__) / "page"
    found = {f"/{name}": ((folder / (name or "index.html")).read_bytes(), media) for name, media in PAGE.items()}

    async def page(request: Request) -> Response:
        content, media = found[request.scope["path"]]
        return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    for path in found:
        app.add_api_route(path, page, include_in_schema=False, response_model=None)
    app.openapi()["components"]["schemas"] |= components  # FastAPI keeps the document and sends it from then on
    paths = {getattr(route, "path", "") for route in app.routes}
    app.add_middleware(Observed, metrics=service.metrics, paths=paths)
    return app


def _add_predictions(app: FastAPI, service: ServerContext) -> dict[str, Any]:
    """Adds the paths below /v1. Returns the components of the document that FastAPI does not see, of their bodies."""
    options = service.options
    manifests = {name: queue.predictor.manifest for name, queue in service.queues.items()}
    shapes = messages.request_shapes({name: manifest.pair for name, manifest in manifests.items()}, options)
    embed = {name: False for name, manifest in manifests.items() if manifest.kind.gives_vectors}
    vector_shapes = messages.request_shapes(embed, options, "Embed")
    distinct: Any = [(shape, "validation") for shape in dict.fromkeys([*shapes.values(), *vector_shapes.values()])]
    references, found = models_json_schema(distinct, ref_template="#/components/schemas/{model}")
    guard = [] if options.api_key is None else [Depends(_key_check(options.api_key))]
    also = (401,) if guard else ()

    def documented_body(shapes: messages.Shapes) -> dict[str, Any]:
        schema = {"oneOf": [references[shape, "validation"] for shape in dict.fromkeys(shapes.values())]}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        refusals = documented(400, 404, 405, 408, 413, 415, 422, 429, 500, 503, *also)
        return {"openapi_extra": {"requestBody": body}, "responses": refusals, "dependencies": guard}

    @app.post(
        "/v1/predict",
        summary="Answer one text or many",
        response_model=messages.answer_model(manifests.values()),
        response_model_exclude_unset=True,  # `truncated` is said where it is true
        response_description="The answers, in the order of the texts.",
        **documented_body(shapes),
    )
    async def predict(request: Request, response: Response) -> dict[str, Any]:
        """`text` is one row and `texts` many; where a model takes two texts, a row is `text` and `text_b`.

        `model` may be left out where there is one. Rows of different clients are computed together.
        """
        asked, answers, latency = await _asked(service, request, response, shapes)
        rows = answer_rows(service.queues[asked.model].predictor, asked.texts, asked.texts_b, answers)
        return {"model": asked.model, "results": rows, "latency_ms": latency()}

    if embed:
        _add_vectors(app, service, vector_shapes, documented_body(vector_shapes))

    @app.get("/v1/models", summary="The models and their labels", dependencies=guard, responses=documented(405, *also))
    async def models() -> Models:
        return Models(
            models=[
                ServedModel(**{**vars(queue.predictor.manifest), **_served(name, queue)})
                for name, queue in service.queues.items()
            ]
        )

    return found["$defs"]


def _served(name: str, queue: BundleQueue) -> dict[str, str]:
    """What a manifest does not say of a model."""
    predictor = queue.predictor
    return {"name": name, "long_text": predictor.manifest.reading, "engine": predictor.engine}


class Embeddings(BaseModel):
    """The vectors of a request's texts, in the order asked."""

    model: str
    embeddings: list[list[float]]
    dimensions: int
    truncated: list[int] = Field([], description="places of texts of which a part was left out; only if there are some")
    latency_ms: float = Field(description="from the request's last byte to the answer, in the server")


def _add_vectors(app: FastAPI, service: ServerContext, shapes: messages.Shapes, how: dict[str, Any]) -> None:
    """Adds /v1/embed, which a server has that serves sentence vectors."""

    @app.post(
        "/v1/embed",
        summary="Vectors of one text or many",
        response_model=Embeddings,
        response_model_exclude_unset=True,
        response_description="The vectors, in the order of the texts.",
        **how,
    )
    async def embed(request: Request, response: Response) -> dict[str, Any]:
        """`texts` are many, `text` is one. The similarity of two texts is the cosine of their vectors."""
        asked, answers, latency = await _asked(service, request, response, shapes)
        kind = service.queues[asked.model].predictor.kind
        vectors = [kind.as_json(answer)["embedding"] for answer in answers]
        cut = [place for place, answer in enumerate(answers) if answer.truncated]
        said = {"model": asked.model, "embeddings": vectors, "dimensions": len(vectors[0])}
        return {**said, **({"truncated": cut} if cut else {}), "latency_ms": latency()}


async def _asked(
    service: ServerContext, request: Request, response: Response, shapes: messages.Shapes
) -> tuple[messages.Asked, list[Any], Callable[[], float]]:
    """What a request asks, the answers of its model, and a clock of the milliseconds since it was read."""
    options = service.options
    body = await messages.read_body(request, options)
    start = time.perf_counter()
    asked = messages.read_request(body, shapes)
    request.state.noted |= {"model": asked.model, "rows": len(asked.texts), "bytes": len(body)}
    try:
        waiting = service.queues[asked.model].answers(asked.texts, asked.texts_b)
        answers = await asyncio.wait_for(waiting, options.request_seconds)
    except asyncio.TimeoutError:  # the builtin one only from Python 3.11 on
        what = f"no answer within {options.request_seconds:g} s"
        raise Problem("timeout", what, None, "try again later", {"Retry-After": "1"}) from None
    if service.draining:
        response.headers["Connection"] = "close"
    return asked, answers, lambda: round((time.perf_counter() - start) * 1000, 2)


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


async def _refuse(request: Request, error: Exception) -> Response:
    """Answers with the problem; 404 and 405 are the router's own."""
    if isinstance(error, HTTPException):
        code = "not_found" if error.status_code == 404 else "method_not_allowed"
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        error = Problem(code, error.detail, remedy="see /openapi.json", headers=headers)
    assert isinstance(error, Problem)
    request.state.noted["code"] = error.code
    return error.response()
