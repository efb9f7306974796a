"""Starting, running and stopping the server process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import uvicorn

from ...errors import InputError
from .app import ServerContext, build_app
from .bundle_queue import BundleQueue
from .middleware import Metrics
from .options import ServeOptions

log = logging.getLogger(__name__)
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def serve(bundles: dict[str, Path], options: ServeOptions) -> None:
    """Loads the bundles, then answers HTTP until SIGTERM or SIGINT; returns when every request is answered.

    On the signal /readyz turns 503; `drain_seconds` later no more connections are taken, and the server ends as soon
    as the last request has its answer. A second signal ends it at once.

    Raises InputError when a bundle is no good or the address cannot be had.
    """
    start = time.perf_counter()
    log_as_json()
    with _bound_socket(options) as listener:
        metrics = Metrics()
        queues = {name: BundleQueue(name, folder, options, metrics) for name, folder in bundles.items()}
        if options.api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
            log.warning("reachable_without_api_key", extra={"host": options.host})
        _Server(ServerContext(queues, options, metrics), start).run(sockets=[listener])
    for queue in queues.values():
        queue.stop()
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on listening for `drain_seconds` after the signal, and then exits 0."""

    def __init__(self, service: ServerContext, start: float):
        self._service, self._start = service, start
        options = service.options
        super().__init__(
            uvicorn.Config(
                build_app(service),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=int(options.body_seconds + options.request_seconds) + 1,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer and to listen, and logs where."""
        for queue in self._service.queues.values():
            queue.start()
        await super().startup(sockets)
        seconds = round(time.perf_counter() - self._start, 2)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            log.info("listening", extra={"url": url, "models": list(self._service.queues), "seconds": seconds})

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


def log_as_json() -> None:
    """All logging of this process goes to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("paddle_ernie_tiny").setLevel(logging.INFO)
