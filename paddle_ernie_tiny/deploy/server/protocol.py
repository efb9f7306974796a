"""HTTP/1.1 as uvicorn speaks it, with what it leaves out: a time limit for requests that dribble in."""

from __future__ import annotations

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .problems import Problem

LINGER_SECONDS = 2.0  # after a refusal, so that a client that is still sending gets to read it


class Protocol(H11Protocol):
    """Closes connections whose request does not arrive in time, and refuses in JSON what is not HTTP.

    The limit runs from the connection's, or the next request's, first byte to the request's last one. Bodies that
    dribble while the application reads them are its own affair (it answers 408, and its limit is shorter).
    """

    header_seconds: float
    max_connections: int

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._deadline, self._refused = None, False
        if len(self.connections) > self.max_connections:
            problem = Problem("too_many_connections", f"{self.max_connections} connections are open")
            self._refuse(problem, b"503 Service Unavailable")
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unwatch()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem("bad_http", "the request is not valid HTTP/1.1"), b"400 Bad Request")

    def _watch(self) -> None:
        """Sets the limit where a request is due or under way, and lifts it where none is."""
        if self._refused:
            return
        arriving = self.conn.their_state is h11.SEND_BODY
        fresh = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not (arriving or fresh):
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.conn.our_state is h11.IDLE:
            problem = Problem("slow_request", f"no whole request within {self.header_seconds:g} s")
            self._refuse(problem, b"408 Request Timeout")
        elif self.conn.our_state in (h11.DONE, h11.MUST_CLOSE):  # answered, and still sending
            self.transport.close()
        else:  # the application is about to answer 408 itself
            self._watch()

    def _refuse(self, problem: Problem, status: bytes) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # rubbish behind a request under way
            self.transport.close()
            return
        body = problem.body()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.write_eof()  # closing now would reset the connection where bytes of the client are still unread
        self._unwatch()
        self._refused = True
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
