"""One HTTP request, as every part of the client sends it: connections kept alive, certificates checked, no redirect
followed (a token must not travel to another host), and nothing secret in what is raised.

Requests go straight to urllib3, on which `requests` stands: `requests.Session` adds 0.8 ms to each call, which is more
than a service takes to record a metric. What users tell `requests` by environment variables (certificates, proxies)
holds here too. Both are imported when the first request is made: an embedded workspace needs none.
"""

import logging
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

from mlflow_amlstore import __version__
from mlflow_amlstore.workspace.redaction import redact, redact_log_of_urllib3, redact_path

if TYPE_CHECKING:
    import urllib3

_logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
_DEFAULT_TIMEOUT_S = 120.0  # MLflow's
_RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
_LARGEST_NUMBER = 1e6
_KEPT_CONNECTIONS = 32
_CA_VARIABLES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_CLIENT_CERTIFICATE_VARIABLE = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
_INSECURE_VARIABLE = "MLFLOW_TRACKING_INSECURE_TLS"
_TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
_VARIABLES_OF_A_POOL = (
    *_CA_VARIABLES,
    _CLIENT_CERTIFICATE_VARIABLE,
    _INSECURE_VARIABLE,
    _TIMEOUT_VARIABLE,
    *_PROXY_VARIABLES,
)
USER_AGENT = f"mlflow-amlstore/{__version__}"

Headers = dict[str, str]


class Answer(NamedTuple):
    """An answer that came whole."""

    status: int
    headers: "urllib3.HTTPHeaderDict"
    body: bytes


class NoAnswer(Exception):
    """No whole answer came. `is_lasting` where asking again can't help, such as a certificate that isn't trusted."""

    def __init__(self, problem: str, *, is_lasting: bool = False) -> None:
        self.problem, self.is_lasting = problem, is_lasting
        super().__init__(problem)


def send(method: str, origin: str, target: str, headers: Headers, body: bytes | memoryview | None = None) -> Answer:
    """Send one request to `origin` (scheme://host[:port]) for `target` (path and query). Raises NoAnswer."""
    response = _send(method, origin, target, headers, body, decode_content=True)
    return Answer(response.status, response.headers, response.data)


def open_stream(method: str, origin: str, target: str, headers: Headers) -> "urllib3.HTTPResponse":
    """Send one request and return the answer with its body unread, as it was sent. Raises NoAnswer.

    Reading it raises urllib3's HTTPError or OSError, which `no_answer` turns into NoAnswer.
    """
    return _send(method, origin, target, headers, None, preload_content=False, decode_content=False)


def _send(
    method: str, origin: str, target: str, headers: Headers, body: bytes | memoryview | None, **how_read: bool
) -> "urllib3.HTTPResponse":
    from urllib3.exceptions import HTTPError

    interrupted = _here.is_sending  # by a signal's handler that sends, too
    began_s = time.perf_counter()
    outcome = "was interrupted"
    try:
        _here.is_sending = True
        response: Any = _pool_of(origin).urlopen(
            method,
            target,
            cast("bytes | None", body),  # urllib3 takes any bytes, and says less
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            **how_read,
        )
        outcome = f"answered {response.status}"
        return cast("urllib3.HTTPResponse", response)
    except (HTTPError, OSError) as error:
        failure = no_answer(error)
        outcome = f"gave no answer: {failure.problem}"
        if failure.is_lasting:
            _pools.pop(origin, None)  # the file of authorities may be another by the next request
        raise failure from None
    finally:
        _here.is_sending = interrupted
        if _logger.isEnabledFor(logging.DEBUG):
            place = origin + redact_path(target.partition("?")[0])  # a query may be a signature
            _logger.debug("%s %s %s after %.1f ms", method, place, outcome, (time.perf_counter() - began_s) * 1000)


def is_sending_here() -> bool:
    """Whether this thread is in the midst of a request: another's may wait for a lock of urllib3 that it holds."""
    return _here.is_sending


def no_answer(error: Exception) -> NoAnswer:
    """What became of a request, in a few words without an address."""
    from urllib3.exceptions import LocationValueError, ProxyError, SSLError
    from urllib3.exceptions import TimeoutError as TimedOut
    from urllib3.util.ssl_match_hostname import CertificateError

    if isinstance(error, LocationValueError):
        return NoAnswer("the address of its proxy (HTTPS_PROXY) can't be used", is_lasting=True)
    if isinstance(error, ProxyError):
        return NoAnswer("the proxy that HTTPS_PROXY names didn't answer, or didn't let it through")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError | CertificateError):
            return NoAnswer(
                f"its certificate is not trusted ({getattr(cause, 'verify_message', cause)}); to trust its CA, set "
                "MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE to the CA's file",
                is_lasting=True,
            )
        if isinstance(cause, socket.gaierror):
            known = "that of a private link is known in its own network alone"
            return NoAnswer(f"its name can't be resolved ({cause.strerror}); {known}")
        if isinstance(cause, ConnectionRefusedError):
            return NoAnswer("connection refused")
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return NoAnswer(redact(cause.strerror))
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimedOut | TimeoutError):
        return NoAnswer("no answer in time")
    if isinstance(error, SSLError | ssl.SSLError):
        return NoAnswer("no TLS connection could be made; the address may need http:// or https:// instead")
    return NoAnswer("the connection broke off")


def timeout_s() -> float:
    """How long one request may take to be answered: MLflow's MLFLOW_HTTP_REQUEST_TIMEOUT."""
    return _number_in(_TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT_S, least=0.001)


def max_retries() -> int | None:
    """How often a request is sent again, where MLFLOW_HTTP_REQUEST_MAX_RETRIES says so."""
    return None if _RETRIES_VARIABLE not in os.environ else int(_number_in(_RETRIES_VARIABLE, 7, least=0))


def _number_in(variable: str, default: float, least: float) -> float:
    """A number that the environment gives, from `least` to what every library takes; the default where it is none."""
    try:
        number = float(os.environ[variable])
    except (KeyError, ValueError):
        return default
    return default if math.isnan(number) or number < least else min(number, _LARGEST_NUMBER)


_Settings = dict[str, str]
"""What the environment says of connections, by the variables' names."""


class _Pool(NamedTuple):
    settings: "_Settings"
    connections: "urllib3.HTTPConnectionPool"


class _Here(threading.local):
    is_sending = False


_here = _Here()
_lock = threading.RLock()  # a signal's handler sends requests, too
_pools: dict[str, _Pool] = {}


def _pool_of(origin: str) -> "urllib3.HTTPConnectionPool":
    """The connections to an origin. They are made anew when the environment's settings have changed.

    In a notebook, a user who is told that a certificate isn't trusted sets a variable and tries again.
    """
    settings = {name: os.environ[name] for name in _VARIABLES_OF_A_POOL if name in os.environ}
    pool = _pools.get(origin)
    if pool is None or pool.settings != settings:
        with _lock:
            pool = _pools.get(origin)
            if pool is None or pool.settings != settings:
                pool = _pools[origin] = _Pool(settings, _new_pool(origin, settings))
    return pool.connections


def _new_pool(origin: str, settings: _Settings) -> "urllib3.HTTPConnectionPool":
    import requests.utils
    import urllib3

    redact_log_of_urllib3()
    parts = urlsplit(origin)
    host = parts.hostname or ""
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s())
    if parts.scheme == "http":  # this machine, which no proxy can reach
        return urllib3.HTTPConnectionPool(host, parts.port or 80, timeout=timeout, maxsize=_KEPT_CONNECTIONS)
    proxies = requests.utils.get_environ_proxies(origin)
    proxy = requests.utils.select_proxy(origin, proxies)
    context = _tls_context(settings)
    if proxy:
        manager = urllib3.ProxyManager(
            requests.utils.prepend_scheme_if_needed(proxy, "http"),
            ssl_context=context,
            timeout=timeout,
            maxsize=_KEPT_CONNECTIONS,
        )
        return manager.connection_from_host(host, parts.port or 443, "https")
    return urllib3.HTTPSConnectionPool(
        host, parts.port or 443, timeout=timeout, maxsize=_KEPT_CONNECTIONS, ssl_context=context
    )


def _tls_context(settings: _Settings) -> ssl.SSLContext:
    """One context for all connections of a pool: reading the certificate authorities takes longer than a request."""
    import requests.utils
    from urllib3.util.ssl_ import create_urllib3_context

    if settings.get(_INSECURE_VARIABLE, "").lower() in ("true", "1"):
        context = create_urllib3_context(cert_reqs=ssl.CERT_NONE)
    else:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
        variable = next((name for name in _CA_VARIABLES if settings.get(name)), "")
        given = settings.get(variable) or requests.utils.DEFAULT_CA_BUNDLE_PATH
        is_folder = Path(given).is_dir()
        with _readable(variable, given):
            context.load_verify_locations(cafile=None if is_folder else given, capath=given if is_folder else None)
    client_certificate = settings.get(_CLIENT_CERTIFICATE_VARIABLE)
    if client_certificate:
        with _readable(_CLIENT_CERTIFICATE_VARIABLE, client_certificate):
            context.load_cert_chain(client_certificate, password="")  # nobody is asked for one
    return context


@contextmanager
def _readable(variable: str, path: str) -> Iterator[None]:
    """Say which variable names a file that can't be used; asking again can't help then."""
    try:
        yield
    except OSError as error:
        is_content = isinstance(error, ssl.SSLError) or error.strerror is None
        why = "it has no certificate, or not the key to it" if is_content else error.strerror
        raise NoAnswer(f"{path!r}, which {variable} names, can't be used: {why}", is_lasting=True) from None


def _new_pools_in_child() -> None:
    global _lock, _pools  # another thread of the parent may have held the lock; its sockets are the parent's
    _lock = threading.RLock()
    _pools = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_pools_in_child)
