"""Paging by the last row's values: a page begins after the key that the page before ended with.

Rows that are added meanwhile shift nothing, as they would with an offset, and a deep page costs what the first does.
"""

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, false, or_

from mlflow_amlstore.errors import PageTokenInvalid
from mlflow_amlstore.records.dialects import DescNullsLast

Key = tuple[str | int | float | None, ...]


@dataclass(frozen=True, eq=False)
class SortTerm:
    """An expression that rows are ordered by. Where it is nullable, NULL comes last in both directions."""

    expression: ColumnElement[Any]
    is_descending: bool = False
    is_nullable: bool = False


def fetch_page(
    connection: Connection,
    statement: Select[Any],
    terms: Sequence[SortTerm],
    *,
    max_results: int | None,
    page_token: str | None,
    query: Sequence[object],
) -> tuple[list[Row[Any]], str | None]:
    """Return a page of the statement's rows in the order of `terms`, which together are unique, and the next token.

    `query` is all that makes this search another one than the next: a token is good for no other. The rows' last
    columns are the terms' values. Raises PageTokenInvalid.
    """
    fingerprint = query_fingerprint(query)
    if page_token:
        statement = statement.where(after_key(terms, decode_token(page_token, fingerprint, len(terms))))
    statement = statement.add_columns(
        *[term.expression.label(f"sort_value_{number}") for number, term in enumerate(terms)]
    ).order_by(*sort_clauses(terms))
    if max_results is None:
        return list(connection.execute(statement)), None
    rows = list(connection.execute(statement.limit(max_results + 1)))
    if len(rows) <= max_results:
        return rows, None
    del rows[max_results:]
    return rows, encode_token(tuple(rows[-1][-len(terms) :]), fingerprint)


def sort_clauses(terms: Sequence[SortTerm]) -> list[ColumnElement[Any]]:
    """The terms for ORDER BY, NULL last."""
    clauses: list[ColumnElement[Any]] = []
    for term in terms:
        if term.is_descending:
            clauses.append(DescNullsLast(term.expression) if term.is_nullable else term.expression.desc())
        else:
            clauses += [term.expression.is_(None)] if term.is_nullable else []
            clauses.append(term.expression.asc())
    return clauses


def after_key(terms: Sequence[SortTerm], key: Key) -> ColumnElement[bool]:
    """The condition that a row comes after `key` in the order of `terms`."""
    condition: ColumnElement[bool] | None = None
    for term, value in zip(reversed(terms), reversed(key), strict=True):
        beyond = _beyond(term, value)
        if condition is None:
            condition = beyond
        else:
            is_equal = term.expression.is_(None) if value is None else term.expression == value
            condition = or_(beyond, and_(is_equal, condition))
    return false() if condition is None else condition


def _beyond(term: SortTerm, value: str | int | float | None) -> ColumnElement[bool]:
    if value is None:
        return false()  # nothing comes after NULL
    beyond = term.expression < value if term.is_descending else term.expression > value
    return or_(beyond, term.expression.is_(None)) if term.is_nullable else beyond


def query_fingerprint(query: Sequence[object]) -> str:
    """A short digest of what makes a query, such as its filter, ordering and scope."""
    digest = hashlib.sha256(json.dumps(query, default=repr).encode()).digest()
    return base64.urlsafe_b64encode(digest[:9]).decode()


def encode_token(key: Key, fingerprint: str) -> str:
    """An opaque text, safe in URLs, that means: after `key`, in the query of this fingerprint."""
    content = json.dumps([fingerprint, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def decode_token(token: str, fingerprint: str, length: int) -> Key:
    """Return the key of a token. Raises PageTokenInvalid where it is garbage or belongs to another query."""
    try:
        content = json.loads(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True))
    except (AttributeError, UnicodeError, binascii.Error, ValueError, RecursionError) as error:
        raise PageTokenInvalid(token, "is not a page token of this store") from error
    if not isinstance(content, list) or not content or not isinstance(content[0], str):
        raise PageTokenInvalid(token, "is not a page token of this store")
    if content[0] != fingerprint:
        raise PageTokenInvalid(token, "belongs to a search with another filter, ordering or scope")
    key = tuple(content[1:])
    if len(key) != length or not all(_is_key_value(value) for value in key):
        raise PageTokenInvalid(token, "is not a page token of this store")
    return key


def _is_key_value(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None
