"""Reading a filter string: comparisons joined by AND, nothing else."""

from dataclasses import dataclass

from mlflow_amlstore.errors import FilterInvalid
from mlflow_amlstore.records.search.grammar import Entity, Grammar, Rule, Value, ValueRefused
from mlflow_amlstore.records.search.lexer import Kind, Token, tokens


@dataclass(frozen=True)
class Comparison:
    """`metrics.loss < 0.5`: `comparator` is in upper case, `value` a tuple after IN and None after IS (NOT) NULL."""

    entity: Entity
    name: str
    comparator: str
    value: Value
    position: int


_MAX_COMPARISONS = 200  # SQLite nests at most 1 000 expressions


def parse_filter(text: str | None, grammar: Grammar) -> list[Comparison]:
    """Read a filter; all its comparisons must hold. None and "" are no filter. Raises FilterInvalid.

    As in MLflow, an AND too many or too few does no harm.
    """
    return _Parser(text, grammar).comparisons() if text else []


class _Parser:
    def __init__(self, text: str, grammar: Grammar) -> None:
        self._text = text
        self._grammar = grammar
        self._tokens = tokens(text)
        self._next = 0

    def comparisons(self) -> list[Comparison]:
        if self._peek().kind is Kind.END:
            raise self._refused(self._peek(), "there is nothing but blanks")
        found: list[Comparison] = []
        while self._peek().kind is not Kind.END:
            if self._peek().keyword == "AND":
                self._take()
            else:
                if len(found) == _MAX_COMPARISONS:
                    raise self._refused(self._peek(), f"a filter may have {_MAX_COMPARISONS} comparisons at most")
                found.append(self._comparison())
        return found

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _refused(self, token: Token, problem: str) -> FilterInvalid:
        return FilterInvalid(self._text, token.position, token.text, problem)

    def _comparison(self) -> Comparison:
        left = self._take()
        if left.kind not in (Kind.NAME, Kind.QUOTED):
            raise self._refused(left, "a comparison starts with a name, such as metrics.loss or tags.`my tag`")
        if left.keyword in ("OR", "NOT"):
            raise self._refused(left, "only AND may join comparisons")
        entity, name = self._grammar.vocabulary.resolve(self._text, left)
        rule = self._grammar.rule(entity, name)
        comparator = self._comparator(f"{entity.value} {name!r}", rule)
        return Comparison(entity, name, comparator, self._value(comparator, rule), left.position)

    def _comparator(self, subject: str, rule: Rule) -> str:
        first = self._take()
        words = [first.keyword or first.text]
        if first.keyword in ("IS", "NOT"):
            words.append(self._take().keyword)
        if words == ["IS", "NOT"]:
            words.append(self._take().keyword)
        comparator = " ".join(words)
        if comparator not in rule.comparators:
            allowed = ", ".join(rule.comparators)
            raise self._refused(first, f"{subject} can be compared by {allowed}, not by {comparator or 'nothing'}")
        return comparator

    def _value(self, comparator: str, rule: Rule) -> Value:
        if comparator in ("IS NULL", "IS NOT NULL"):
            return None
        if comparator in ("IN", "NOT IN"):
            return self._list(rule)
        return self._one(rule)

    def _one(self, rule: Rule) -> str | int | float:
        token = self._take()
        try:
            return rule.read(token)
        except ValueRefused as refused:
            raise self._refused(token, str(refused)) from None

    def _list(self, rule: Rule) -> tuple[str | int | float, ...]:
        opening = self._take()
        if opening.kind is not Kind.OPEN:
            raise self._refused(opening, "IN takes a list in parentheses, ('a', 'b')")
        values = []
        while True:
            values.append(self._one(rule))
            separator = self._take()
            if separator.kind is Kind.COMMA and self._peek().kind is Kind.CLOSE:
                separator = self._take()
            if separator.kind is Kind.CLOSE:
                return tuple(values)
            if separator.kind is not Kind.COMMA:
                raise self._refused(separator, "values of a list are separated by commas")
