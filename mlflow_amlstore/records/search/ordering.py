"""Reading order_by clauses: a name, then perhaps ASC or DESC."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.grammar import Vocabulary
from mlflow_amlstore.records.search.lexer import Kind, tokens


@dataclass(frozen=True)
class Ordering:
    """One clause: order by this name of this entity."""

    entity: Entity
    name: str
    is_descending: bool


def parse_order_by(clauses: Sequence[str], vocabulary: Vocabulary, *, allow_duplicates: bool = False) -> list[Ordering]:
    """Read the clauses of an ordering. Raises FilterInvalid; InvalidValue for a name given twice."""
    orderings: list[Ordering] = []
    seen: set[tuple[Entity, str]] = set()
    for clause in clauses:
        if not isinstance(clause, str):
            raise InvalidValue("order_by", clause, "must be text such as 'metrics.loss ASC'")
        ordering = _parse_clause(clause, vocabulary)
        subject = (ordering.entity, ordering.name)
        if subject not in seen:
            orderings.append(ordering)
        elif not allow_duplicates:
            raise InvalidValue("order_by", list(clauses), f"names {ordering.entity.value} {ordering.name!r} twice")
        seen.add(subject)
    return orderings


def _parse_clause(clause: str, vocabulary: Vocabulary) -> Ordering:
    subject, *rest = tokens(clause)
    if subject.kind not in (Kind.NAME, Kind.QUOTED):
        raise FilterInvalid(clause, subject.position, subject.text, "an order_by clause starts with a name")
    entity, name, _ = vocabulary.resolve(clause, subject)
    is_descending = rest[0].keyword == "DESC"
    if rest[0].keyword in ("ASC", "DESC"):
        rest = rest[1:]
    if rest[0].kind is not Kind.END:
        raise FilterInvalid(clause, rest[0].position, rest[0].text, "after the name only ASC or DESC may follow")
    return Ordering(entity, name, is_descending)
