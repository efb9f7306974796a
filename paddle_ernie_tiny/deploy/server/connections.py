"""Connections: how many may be open, and how long each may keep the server waiting.

HTTP itself is uvicorn's. A `Connection` stands between the socket and uvicorn's protocol: it counts, sets the time for
everything that the server waits for a client to do, and says when a client has ended its side.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from typing import Any

import psutil
from h11 import LocalProtocolError
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import InputError
from .messages import Problem
from .middleware import Metrics
from .options import ServeOptions

log = logging.getLogger(__name__)
SPARE = 32  # connections above the limit that are told so; what comes beyond them is closed without an answer
BURST = 16  # connections that asyncio accepts at once, before any of them is counted
BACKLOG = 1024  # connections that wait in the system until they are accepted
_SPARE_SECONDS = 5.0  # time of a connection above the limit
_MORE_FILES = SPARE + 4 * BURST + 16  # bursts that are on their way through the event loop, and files opened later


def connections_possible(wanted: int) -> int:
    """How many connections can be open, at most `wanted`; raises the soft limit of open files as far as needed.

    A listener that runs out of descriptors logs an error for each try. Logs a warning if it is fewer than wanted, and
    raises InputError if it is none.
    """
    open_now = psutil.Process().num_fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = open_now + _MORE_FILES + wanted
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft - open_now - _MORE_FILES)
    remedy = f"raise the hard limit to {needed} (ulimit -n, or LimitNOFILE= of systemd)"
    if possible < 1:
        what = f"{soft} files may be open, too few for one connection beside the server's own files"
        raise InputError(what, "ulimit -n", remedy)
    if possible < wanted:
        more = {"asked": wanted, "possible": possible, "open_files": soft, "remedy": remedy}
        log.warning("fewer_connections", extra=more)
    return possible


class Connections:
    """The open connections of a server: at most `limit` are served."""

    def __init__(self, options: ServeOptions, limit: int, metrics: Metrics):
        self.options, self.limit, self.metrics, self.open = options, limit, metrics, 0
        metrics.connections.set_function(lambda: self.open)

    def protocol(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> Connection:
        """A new connection's protocol, with the arguments that uvicorn gives."""

        def http(connection: Connection) -> H11Protocol:
            return H11Protocol(config, server_state, {**app_state, "connection": connection}, _loop)

        return Connection(self, http)


class Connection(asyncio.Protocol):
    """One connection. Requests find it as `scope["state"]["connection"]`.

    refused: it is above the limit, so that its request is to be answered with 503. ended: done when the client will
    send no more. lost: done when it is closed.
    """

    refused = False

    def __init__(self, group: Connections, http: Callable[[Connection], H11Protocol]):
        self._group, self._make_http = group, http
        self._http: H11Protocol | None = None
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0  # requests that the application is at
        self._heard = False  # was anything sent since the last request began?

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection, or closes it at once if there are far too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, group = transport, self._group
        group.open += 1
        if group.open > group.limit + SPARE:
            group.metrics.dropped.inc()
            transport.abort()
            return
        self.refused = group.open > group.limit
        self._http = self._make_http(self)
        self._http.connection_made(transport)
        self._wait(min(group.options.idle_seconds, _SPARE_SECONDS) if self.refused else group.options.idle_seconds)

    def data_received(self, data: bytes) -> None:
        """Passes bytes on."""
        self._heard = True
        if self._http is not None:
            try:
                self._http.data_received(data)
            except LocalProtocolError:  # uvicorn would answer again where a request has its answer already
                self._transport.close()

    def eof_received(self) -> bool:
        """The client sends no more; true while it may still read an answer."""
        if not self.ended.done():
            self.ended.set_result(None)
        return self._under_way > 0

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is made."""
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._http is not None:
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._group.open -= 1
        self._wait(None)
        if self._http is not None:
            self._http.connection_lost(exc)
            self._http = None
        self.lost.set_result(None)

    @property
    def closing(self) -> bool:
        """Is it being closed, such as after uvicorn's own answer to what is no HTTP?"""
        return self._transport.is_closing()

    def request_begins(self) -> None:
        """A request's headers are there: its body, its answer and the taking of the answer have their time."""
        options = self._group.options
        self._under_way, self._heard = self._under_way + 1, False
        self._wait(options.body_seconds + options.request_seconds + options.idle_seconds)

    def request_ends(self) -> None:
        """Its answer was handed over: the client has time to take it, and to begin another request."""
        self._under_way -= 1
        self._wait(self._group.options.idle_seconds)
        if self.ended.done():
            self._loop.call_soon(self._close_if_idle)  # a request that came with this one begins before that

    def _close_if_idle(self) -> None:
        if not self._under_way:
            self._transport.close()

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None and self._http is not None:
            self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._under_way or self._transport.get_write_buffer_size():  # its answer is not taken
            self._transport.abort()
            return
        if self._heard:
            seconds = self._group.options.idle_seconds
            what = f"the request's headers did not arrive within {seconds:g} s"
            self._transport.write(Problem("slow_request", what, "headers", "send them at once").as_http())
        self._transport.close()
        self._wait(_SPARE_SECONDS)  # should that not be taken either
