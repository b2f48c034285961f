"""Taking keys, tokens and signatures out of text before anybody reads it."""

import re

# Beginnings too: an error message may have cut what it quotes.
_SECRETS = re.compile(
    r"amlk_[\w-]+"
    r"|eyJ[\w-]{5,}(?:\.[\w-]*)*"
    r"|(?P<name>\b(?:sig|signature|token|access_token)(?:=|%3D)|\b(?:bearer|basic)\s+)[^\s&\"'<>,;\\]+",
    re.IGNORECASE,
)
_SIGNS = ("amlk_", "eyJ", "sig=", "token=")


def redact(text: str) -> str:
    """Return the text with REDACTED in the place of every key, JWT, signature and Authorization value."""
    return _SECRETS.sub(_replacement, text)


def redact_path(path: str) -> str:
    """As `redact`, for the path of a request, where next to never is anything to redact."""
    for sign in _SIGNS:
        if sign in path:
            return redact(path)
    return path


def _replacement(match: "re.Match[str]") -> str:
    return f"{match['name'] or ''}REDACTED"
