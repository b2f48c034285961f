"""Cutting a filter string or order_by clause into tokens, each with its position for error messages."""

import re
from enum import Enum
from typing import NamedTuple

from mlflow_amlstore.errors import FilterInvalid


class Kind(str, Enum):
    """What a token is. `QUOTED` is text in double quotes, which may be a name or a value."""

    NUMBER = "number"
    NAME = "name"
    QUOTED = "quoted"
    TEXT = "text"
    COMPARATOR = "comparator"
    OPEN = "open"
    CLOSE = "close"
    COMMA = "comma"
    END = "end"


class Token(NamedTuple):
    """A piece of `text` as it was written, quotes included, and where it begins."""

    kind: Kind
    text: str
    position: int

    @property
    def keyword(self) -> str:
        """The token in upper case where it is a bare word, else ""."""
        return self.text.upper() if self.kind is Kind.NAME else ""


# Quotes don't escape anything: MLflow keeps 'it''s' and 'it\'s' as they are written, without the outer quotes.
_SINGLE_QUOTED = r"'(?:''|\\'|[^'])*'"
_DOUBLE_QUOTED = r'"(?:""|\\"|[^"])*"'
_BACKTICKED = r"`(?:``|[^`])*`"
_WORD = r"\w[\w$\#]*"
_NAME = rf"(?:{_WORD}|{_BACKTICKED}|{_DOUBLE_QUOTED})(?:\.(?:{_WORD}|{_BACKTICKED}|{_DOUBLE_QUOTED}|{_SINGLE_QUOTED}))+"

_TOKEN = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<name>{_NAME}|{_WORD}|{_BACKTICKED})
    | (?P<quoted>{_DOUBLE_QUOTED})
    | (?P<text>{_SINGLE_QUOTED})
    | (?P<comparator>[<>=~!]+)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<comma>,)
    """,
    re.VERBOSE,
)


def check_characters(text: str) -> None:
    """Text that no database takes is no filter. Raises FilterInvalid."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        readable = text.encode(errors="replace").decode()
        raise FilterInvalid(readable, error.start, readable[error.start], "half a surrogate pair") from error


def tokens(text: str) -> list[Token]:
    """Cut `text` into tokens, the last of which is an END. Raises FilterInvalid at what is none."""
    check_characters(text)
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _no_token(text, position)
        if match.lastgroup != "space":
            found.append(Token(Kind(match.lastgroup), match.group(), position))
        position = match.end()
    found.append(Token(Kind.END, "", len(text)))
    return found


def _no_token(text: str, position: int) -> FilterInvalid:
    character = text[position]
    if character in "'\"`":
        return FilterInvalid(text, position, character, "this quote is never closed")
    return FilterInvalid(
        text,
        position,
        character,
        "names with such characters must be in backticks, values in quotes; only AND may join",
    )


def unquoted(text: str) -> str:
    """`text` without the quotes, double or single, and then the backticks, that are round all of it."""
    for quote in ("'\"", "`"):
        if len(text) >= 2 and text[0] in quote and text[-1] == text[0]:
            text = text[1:-1]
    return text
