"""Keeping tokens, keys and signatures out of log lines and error texts."""

import logging
import re

_SECRET_PARAMETER = re.compile(r"(?i)\b((?:sig|signature|token|key|access_token)=)[^&\s\"'<>)]+")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=\-]+")


def redacted(text: str) -> str:
    """`text` with the values of signatures, tokens and keys cut out of it."""
    return _BEARER.sub(r"\1REDACTED", _SECRET_PARAMETER.sub(r"\1REDACTED", text))


class _RedactUrls(logging.Filter):
    """urllib3 logs the path and query of each request at DEBUG, and the query of a content URL is its signature.

    The signature can't travel in another way than in the query: that is the storage protocol. So the line is changed.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redacted(value) if isinstance(value, str) else value for value in record.args)
        record.msg = redacted(record.msg) if isinstance(record.msg, str) else record.msg
        return True


_filter = _RedactUrls()


def redact_log_of_urllib3() -> None:
    """Take secrets out of what urllib3 logs of requests. Calling it again does nothing."""
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_filter)  # adding one that is there does nothing
