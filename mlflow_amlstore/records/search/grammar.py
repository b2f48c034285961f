"""What grammars are made of: names, and rules for the values that names are compared with."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlflow_amlstore.errors import FilterInvalid
from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.lexer import Kind, Token, unquoted

_WHOLE = re.compile(r"[+-]?\d+")
_LONGEST_INTEGER = 20  # characters, of a 64-bit number with its sign


class ValueRefused(Exception):
    """A value reader's complaint; the parser turns it into FilterInvalid, which says where."""


@dataclass(frozen=True)
class Rule:
    """Which comparators a name takes, and how the value after them is read."""

    comparators: tuple[str, ...]
    read: Callable[[Token], str | int | float]


@dataclass(frozen=True)
class Vocabulary:
    """The names a clause may have: `words` are what may stand before the dot, `fixed` the entities with set names.

    `fixed` maps every spelling of a name to the name; entities that aren't in it take any name.
    """

    words: Mapping[str, Entity]
    fixed: Mapping[Entity, Mapping[str, str]]

    def resolve(self, text: str, token: Token) -> tuple[Entity, str, bool]:
        """Return what `token` names, and whether the name is in quotes or backticks. Raises FilterInvalid."""
        word, dot, rest = token.text.partition(".")
        entity = Entity.ATTRIBUTE if not dot else self.words.get(word.strip("`"))
        if entity is None:
            raise FilterInvalid(
                text, token.position, token.text, f"the word before the dot must be one of {', '.join(self.words)}"
            )
        written = rest if dot else token.text
        name = unquoted(written)
        is_quoted = name != written
        names = self.fixed.get(entity)
        if names is None:
            return entity, name, is_quoted
        if name not in names:
            known = ", ".join(sorted(names))
            raise FilterInvalid(text, token.position, token.text, f"no such {entity.value}; there is {known}")
        return entity, names[name], is_quoted


def read_text(token: Token) -> str:
    """A value in single or double quotes."""
    if token.kind not in (Kind.TEXT, Kind.QUOTED):
        raise ValueRefused("the value must be in quotes, 'so' or \"so\"")
    return token.text[1:-1]


def read_number(token: Token) -> int | float:
    """A number without quotes."""
    if token.kind is not Kind.NUMBER:
        raise ValueRefused("the value must be a number, without quotes")
    return _number(token.text)


def read_integer(token: Token) -> int | float:
    """A whole number without quotes."""
    number = read_number(token)
    if not _WHOLE.fullmatch(token.text):
        raise ValueRefused("the value must be a whole number")
    return number


def read_version(token: Token) -> int | float:
    """A whole number, with or without quotes."""
    if token.kind is Kind.NUMBER:
        return read_integer(token)
    return read_id(token)


def read_id(token: Token) -> int | float:
    """A whole number in quotes."""
    text = read_text(token).strip()
    if not _WHOLE.fullmatch(text):
        raise ValueRefused("the value must be a whole number in quotes")
    return _number(text)


def _number(text: str) -> int | float:
    if not _WHOLE.fullmatch(text) or len(text) > _LONGEST_INTEGER:
        return float(text)  # the database has no longer integers, and Python won't read far longer ones
    number = int(text)
    return number if -(2**63) <= number < 2**63 else float(number)


EQUAL = ("=", "!=")
LIKE = (*EQUAL, "LIKE", "ILIKE")
IN = ("IN", "NOT IN")
NULL = ("IS NULL", "IS NOT NULL")

NUMBER_RULE = Rule((*EQUAL, "<", "<=", ">", ">="), read_number)
INTEGER_RULE = Rule(NUMBER_RULE.comparators, read_integer)
TEXT_RULE = Rule(LIKE, read_text)
TEXT_OR_LIST_RULE = Rule((*LIKE, *IN), read_text)
TEXT_OR_NULL_RULE = Rule((*LIKE, *NULL), read_text)


def same(*names: str) -> dict[str, str]:
    """Names that have no other spelling."""
    return {name: name for name in names}
