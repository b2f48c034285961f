"""OData filters of run history, as Azure ML's SDK makes them: `((RootRunId eq x and (Status eq y)) and RunId ne x)`.

They are a small part of OData, terms that `and` joins, and no other is read. Nothing in them is escaped: a term ends
where the next one's first word stands after an `and`, outside of quotes, so a name or value may be any other text.
"""

from collections.abc import Iterator
from dataclasses import replace

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.records.search.filter import Comparison, Entity, Filter
from mlflow_amlstore.records.status import status_from_azure
from mlflow_amlstore.records.types import RunFilter

MAX_LENGTH = 10_000
_AND = " and "
_TAGS, _PROPERTIES = "Tags/", "Properties/"
_FIELDS = (_TAGS, _PROPERTIES, "ParentRunId ", "RootRunId ", "RunId ", "Status ", "RunType ", "name ")
_QUOTED, _EQUALS, _EXISTS = ' eq "', " eq ", " ne null or "
_NULL = "null"
_RUN, _NAMED = "RunId eq ", " and name eq "

_Values = dict[str, str | None]


def read_run_filter(text: str | None, parent_run_id: str | None = None) -> RunFilter:
    """Read a filter of runs, or of the children of `parent_run_id`. Raises InvalidValue."""
    tags: _Values = {}
    properties: _Values = {}
    found = RunFilter(parent_run_id, include_children=True, tags=tags, properties=properties)
    left_out = None
    for term in _terms(text or ""):
        field, _, value = term.partition(_EQUALS)
        if term.startswith(_TAGS):
            _read_pair(term, _TAGS, tags)
        elif term.startswith(_PROPERTIES):
            _read_pair(term, _PROPERTIES, properties)
        elif field == "ParentRunId":
            above = None if value == _NULL else _unquoted(value)
            found = replace(found, include_children=False) if above is None else replace(found, parent_run_id=above)
        elif field == "RootRunId":
            found = replace(found, parent_run_id=_unquoted(value), recursive=True, with_itself=True)
        elif field == "Status":
            found = replace(found, status=status_from_azure(_unquoted(value)))
        elif field == "RunType":
            found = replace(found, run_type=_unquoted(value.partition(" or Properties/")[0]))
        elif term.startswith("RunId ne "):
            left_out = _unquoted(term.removeprefix("RunId ne "))
        else:
            raise _unknown(term)
    if left_out is None:
        return found
    if not found.recursive or left_out != found.parent_run_id:
        raise InvalidValue(
            "filter", text, "a run is left out of those below itself only: RootRunId eq X and RunId ne X"
        )
    return replace(found, with_itself=False)


def read_experiment_filter(text: str | None) -> Filter:
    """Read a filter of experiments, by name and tags. Raises InvalidValue."""
    comparisons = []
    tags: _Values = {}
    for term in _terms(text or ""):
        if term.startswith(_TAGS):
            _read_pair(term, _TAGS, tags)
        elif term.startswith("name eq "):
            comparisons.append(Comparison(Entity.ATTRIBUTE, "name", "=", _unquoted(term.removeprefix("name eq "))))
        else:
            raise _unknown(term)
    comparisons += [
        Comparison(Entity.TAG, name, "IS NOT NULL" if value is None else "=", value) for name, value in tags.items()
    ]
    return Filter(text or "", tuple(comparisons))


def read_metric_filter(text: str) -> tuple[list[str], str | None]:
    """The runs, and the metric's name where only those are meant: `(RunId eq A or RunId eq B and name eq N)`.

    Raises InvalidValue.
    """
    inner = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    runs, is_named, name = inner.partition(_NAMED)
    terms = runs.split(" or ")
    if not all(term.startswith(_RUN) for term in terms):
        raise InvalidValue("filter", text, "must be RunId eq ID or RunId eq ID …, perhaps with `and name eq NAME`")
    return [term.removeprefix(_RUN) for term in terms], name if is_named else None


def _terms(text: str) -> Iterator[str]:
    """The terms without the parentheses round them."""
    if len(text) > MAX_LENGTH:
        raise InvalidValue("filter", f"{text[:50]}…", f"may have at most {MAX_LENGTH} characters, not {len(text)}")
    pieces: list[str] = []
    is_open = False  # whether a quote has begun and not ended
    for piece in text.split(_AND) if text.strip() else ():
        begun = piece.lstrip("( ")
        if not pieces or (not is_open and begun.startswith(_FIELDS)):
            if pieces:
                yield _joined(pieces)
            pieces = [begun]
            _, quote, quoted = begun.partition(_QUOTED)
            is_open = bool(quote) and not _ends_quote(quoted)
        else:
            pieces.append(piece)
            is_open = is_open and not _ends_quote(piece)
    if pieces:
        yield _joined(pieces)


def _ends_quote(text: str) -> bool:
    return text.rstrip(") ").endswith('"')


def _joined(pieces: list[str]) -> str:
    """One term of pieces that had an `and` between them; parentheses at its end are those of the filter."""
    return _AND.join(pieces).rstrip(") ")


def _read_pair(term: str, kind: str, values: _Values) -> None:
    """`Tags/NAME eq "VALUE"`, or `Tags/NAME ne null or Tags/NAME eq null`: that there is one."""
    said = term.removeprefix(kind)
    name, is_equal, value = said.partition(_QUOTED)
    if is_equal:
        values[name] = value.removesuffix('"')
        return
    name, is_there, again = said.partition(_EXISTS)
    if is_there and again == f"{kind}{name}{_EQUALS}{_NULL}":
        values[name] = None
        return
    name, is_equal, value = said.partition(_EQUALS)
    if is_there or not is_equal:
        raise _unknown(term)
    values[name] = None if value == _NULL else value


def _unquoted(value: str) -> str:
    return value.removeprefix('"').removesuffix('"')


def _unknown(term: str) -> InvalidValue:
    return InvalidValue("filter", f"{term[:100]}", "is no term that this service knows")
