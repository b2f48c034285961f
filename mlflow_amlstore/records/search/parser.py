"""Reading a filter string: comparisons joined by AND, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_amlstore.errors import FilterInvalid
from mlflow_amlstore.records.search.filter import NO_FILTER, Comparison, Entity, Filter, Value
from mlflow_amlstore.records.search.grammar import Rule, ValueRefused, Vocabulary
from mlflow_amlstore.records.search.lexer import Kind, Token, tokens

_MAX_COMPARISONS = 200  # SQLite nests at most 1 000 expressions


@dataclass(frozen=True)
class Grammar:
    """What the filters of a resource may say (`grammars`).

    It is a vocabulary with a rule for every entity, and for the attributes that differ from the entity's own rule.
    """

    vocabulary: Vocabulary
    rules: Mapping[Entity, Rule]
    attribute_rules: Mapping[str, Rule] = field(default_factory=dict)

    def rule(self, entity: Entity, name: str) -> Rule:
        """The rule for a name that the vocabulary resolved."""
        if entity is Entity.ATTRIBUTE and name in self.attribute_rules:
            return self.attribute_rules[name]
        return self.rules[entity]

    def parse(self, text: str | None) -> Filter:
        """Read a filter. None and "" are no filter. Raises FilterInvalid.

        As in MLflow, an AND too many or too few does no harm.
        """
        return Filter(text, tuple(_Parser(text, self).comparisons())) if text else NO_FILTER


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
        entity, name, is_quoted = self._grammar.vocabulary.resolve(self._text, left)
        rule = self._grammar.rule(entity, name)
        comparator = self._comparator(f"{entity.value} {name!r}", rule)
        return Comparison(entity, name, comparator, self._value(comparator, rule), is_quoted)

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
