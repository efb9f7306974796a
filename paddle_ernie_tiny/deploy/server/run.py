"""Starting, running and stopping the server process."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from pathlib import Path

import uvicorn

from ...errors import InputError
from .app import Service, build_app
from .engine import Engine
from .logs import log_as_json
from .metrics import Metrics
from .options import ServeOptions
from .protocol import Protocol

log = logging.getLogger(__name__)


def serve(bundles: dict[str, Path], options: ServeOptions) -> None:
    """Loads the bundles, then answers HTTP until SIGTERM or SIGINT; returns when every request is answered.

    On the signal /readyz turns 503; `drain_seconds` later no more connections are taken, and the server ends as soon
    as the last request has its answer. A second signal ends it at once.

    Raises InputError when a bundle is no good or the address cannot be had.
    """
    start = time.perf_counter()
    log_as_json()
    listener = _listen(options)
    try:
        metrics = Metrics()
        engines = {name: Engine(name, folder, options, metrics) for name, folder in bundles.items()}
        if options.api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
            log.warning("reachable_without_api_key", extra={"host": options.host})
        server = _Server(Service(engines, options, metrics), start)
        server.run(sockets=[listener])
    finally:
        listener.close()
    for engine in engines.values():
        engine.stop()
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on listening for `drain_seconds` after the signal, and then exits 0."""

    def __init__(self, service: Service, start: float):
        super().__init__(_config(service))
        self._service, self._start = service, start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        seconds = round(time.perf_counter() - self._start, 2)
        models = list(self._service.engines)
        log.info("listening", extra={"url": _url(sockets[0]), "models": models, "seconds": seconds})

    def handle_exit(self, sig, frame) -> None:
        loop = asyncio.get_running_loop()  # signal handlers run in the main thread, inside the loop
        if self._service.draining:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        log.info("draining", extra={"signal": sig})
        loop.call_later(self._service.options.drain_seconds, setattr, self, "should_exit", True)


def _config(service: Service) -> uvicorn.Config:
    options = service.options
    # the application's own limit for bodies comes first
    limits = {"header_seconds": options.body_seconds + 1, "max_connections": options.max_connections}
    return uvicorn.Config(
        build_app(service),
        http=type("LimitedProtocol", (Protocol,), limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(options.body_seconds + options.request_seconds) + 1,
    )


def _listen(options: ServeOptions) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        where = f"{options.host}:{options.port}"
        raise InputError(f"cannot listen there: {error.strerror}", where, "choose another --port or --host") from None
    listener.set_inheritable(True)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
