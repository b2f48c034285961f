"""A client's connection, guarded against clients that are slow on purpose.

uvicorn closes a connection that is idle between requests; it waits for ever for the rest of a request's header, for a
body whose answer is already sent, and for a client that doesn't read. Bodies that somebody waits for have the
application's own time limit.

An answer's header and body go out in one segment: uvicorn writes them one after the other, which takes two system calls
here and wakes the client twice.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEADER_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 0.5
MAX_HEADER_BYTES = 64 * 1024
STALLED_READER_TIMEOUT_S = 60.0
_LARGE_BYTES = 64 * 1024
_INTERIM_STATUS = b"HTTP/1.1 1"  # 100 Continue, which the client waits for
_PER_HEADER_BYTES = 4  # ": " and the line's end


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with limits on what a client may leave unfinished."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_bytes = 0  # of the request's header as far as it is parsed
        self._unparsed_bytes = 0  # received since the parser last called back
        self._is_in_body = False
        self._request_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._joining = _JoiningTransport(transport)
        self.transport = cast("asyncio.Transport", self._joining)
        self._start_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_request_timer()
        self._stop_reader_timer()
        self._unset_keepalive_if_required()  # uvicorn does so only where the connection ended well

    def data_received(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("")
        elif self._request_timer is None and not self._is_in_body and self._is_answered():
            self._start_request_timer()  # a header has begun, or blank lines before one

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = self._unparsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_header(len(name) + len(value) + _PER_HEADER_BYTES)

    def on_headers_complete(self) -> None:
        self._stop_request_timer()
        self._is_in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_body = False
        self._stop_request_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._joining.end_answer()
        super().on_response_complete()
        if self._is_in_body and self._request_timer is None:
            self._start_request_timer()  # the answer didn't need the body; its rest won't be waited for much longer

    def shutdown(self) -> None:
        """Close, at once where nothing is under way. TLS waits for the client's goodbye, which an idle pool of
        connections never says."""
        super().shutdown()
        if self._is_answered() and self.transport.get_extra_info("sslcontext") is not None:
            self.loop.call_later(GOODBYE_TIMEOUT_S, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_reader_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reader_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse what isn't HTTP, or has too large a header, and close."""
        if max(self._header_bytes, self._unparsed_bytes) <= MAX_HEADER_BYTES:
            super().send_400_response(msg)
            return
        self.transport.write(
            STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n",
        )
        self.transport.close()

    def _is_answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation forgets that there may be none yet
        return cycle is None or cycle.response_complete

    def _count_header(self, count: int) -> None:
        self._unparsed_bytes = 0
        self._header_bytes += count
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("the request's header is too large")  # ends the parsing; `send_400_response` answers

    def _start_request_timer(self) -> None:
        self._request_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._close_slow_sender)

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _close_slow_sender(self) -> None:
        self._request_timer = None
        if self.transport.is_closing():
            return
        if self._is_answered() and self._header_bytes:
            self.transport.write(STATUS_LINE[408] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def _start_reader_timer(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(STALLED_READER_TIMEOUT_S, self._abort_if_unread, left)

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _abort_if_unread(self, left_before: int) -> None:
        self._reader_timer = None
        if self.transport.get_write_buffer_size() < left_before:
            self._start_reader_timer()
        else:
            self.transport.abort()


class _JoiningTransport:
    """A transport that holds an answer's header back until its body comes, and sends a small body along with it."""

    __slots__ = (
        "_header",
        "_next_is_header",
        "_transport",
        "abort",
        "get_extra_info",
        "get_write_buffer_size",
        "is_closing",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._header = b""
        self._next_is_header = True
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._next_is_header and not data.startswith(_INTERIM_STATUS):
            self._header = data
            self._next_is_header = False
        elif self._header:
            header, self._header = self._header, b""
            if len(data) <= _LARGE_BYTES:
                self._transport.write(header + data)
            else:
                self._transport.write(header)
                self._transport.write(data)
        else:
            self._transport.write(data)

    def end_answer(self) -> None:
        """Send a header that no body follows, as in the answer to HEAD."""
        if self._header:
            self._transport.write(self._header)
            self._header = b""
        self._next_is_header = True

    def close(self) -> None:
        self.end_answer()
        self._transport.close()
