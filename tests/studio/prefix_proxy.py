"""A reverse proxy as people put before a service: a path prefix that it strips, and answers passed on as they come."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_NOT_PASSED = {"connection", "transfer-encoding", "keep-alive"}
_PIECE_BYTES = 64 * 1024


class PrefixProxy:
    """Passes `PREFIX/path` on to a service as `/path`; anything else is none of its own. A context manager.

    Host is passed on as the browser sent it. Without a prefix it is a forwarded port.
    """

    def __init__(self, service_url: str, prefix: str = "") -> None:
        parts = urlsplit(service_url)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                if not self.path.startswith(f"{prefix}/"):
                    self.send_error(404, "not of this proxy")
                    return
                length = int(self.headers.get("Content-Length", 0))
                upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
                try:
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED}
                    upstream.request(self.command, self.path[len(prefix) :], self.rfile.read(length) or None, headers)
                    answer = upstream.getresponse()
                    self.send_response(answer.status)
                    for name, value in answer.getheaders():
                        if name.lower() not in _NOT_PASSED:
                            self.send_header(name, value)
                    self.send_header("Connection", "close")  # which ends an answer without a length
                    self.end_headers()
                    while piece := answer.read1(_PIECE_BYTES):
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    pass  # the browser went away
                finally:
                    upstream.close()
                self.close_connection = True

            do_GET = do_POST = pass_on

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}{prefix}"

    def __enter__(self) -> "PrefixProxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
