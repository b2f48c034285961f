"""Reading order_by clauses: a name, then perhaps ASC or DESC."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mlflow_amlstore.errors import FilterInvalid, InvalidValue
from mlflow_amlstore.records.search.filter import Entity
from mlflow_amlstore.records.search.grammar import Vocabulary
from mlflow_amlstore.records.search.lexer import Kind, tokens


class Of(str, Enum):
    """Which of a metric's values: the latest, which is MLflow's, the lowest or the highest."""

    LAST = "last"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Ordering:
    """One clause: order by this name of this entity, a metric by its value `of`."""

    entity: Entity
    name: str
    is_descending: bool = False
    of: Of = Of.LAST


def parse_order_by(
    clauses: Sequence[str | Ordering], vocabulary: Vocabulary, *, allow_duplicates: bool = False
) -> list[Ordering]:
    """Read the clauses of an ordering; those that are read stay. Raises FilterInvalid; InvalidValue for a name given
    twice."""
    orderings: list[Ordering] = []
    seen: set[tuple[Entity, str, Of]] = set()
    for clause in clauses:
        if not isinstance(clause, str | Ordering):
            raise InvalidValue("order_by", clause, "must be text such as 'metrics.loss ASC'")
        ordering = clause if isinstance(clause, Ordering) else _parse_clause(clause, vocabulary)
        subject = (ordering.entity, ordering.name, ordering.of)
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
