"""`when`: a closed language of atoms joined by `all`, `any` and `not`, evaluated over facts.

No embedded expression language and no user code: every fact is an enum, a truth value, a bounded
number or a set, so what a rule can do can be decided and not only tried.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from router.policy.values import ABSENT, UNKNOWN, Number, Truth, Value, Word, every, negate, some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from router.policy.scale import Scale

Literal = Value | tuple[Value, ...]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
EQUALITY = ("eq", "ne", "in", "not_in")
ORDER = tuple(COMPARISONS)
MEMBERSHIP = ("has", "has_any", "has_all")
OPERATORS = EQUALITY + ORDER + MEMBERSHIP


class Condition(Protocol):
    """A test of facts. Facts that are not in the mapping are ABSENT."""

    def truth(self, known: Mapping[str, Value]) -> Truth:
        """Evaluate over the known facts: True, False, or None for UNKNOWN."""

    def atoms(self) -> Iterator[Atom]:
        """Yield every atom inside, left to right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """One fact compared with one literal.

    For a fact on a scale (a label, a tier) `scale` orders the names; numbers order themselves.
    """

    fact: str
    op: str
    literal: Literal
    scale: Scale | None = None
    _test: Callable[[Value], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_test", _compiled(self.op, self.literal, self.scale))

    def truth(self, known: Mapping[str, Value]) -> Truth:
        """Compare; UNKNOWN compares to UNKNOWN."""
        value = known.get(self.fact, ABSENT)
        if value == UNKNOWN:
            return None
        return self._test(value)

    def atoms(self) -> Iterator[Atom]:
        """Yield itself."""
        yield self


@dataclass(frozen=True, slots=True)
class All:
    """True when every part is."""

    parts: tuple[Condition, ...]

    def truth(self, known: Mapping[str, Value]) -> Truth:
        """Kleene conjunction of the parts."""
        return every(part.truth(known) for part in self.parts)

    def atoms(self) -> Iterator[Atom]:
        """Yield the parts' atoms."""
        for part in self.parts:
            yield from part.atoms()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True when at least one part is."""

    parts: tuple[Condition, ...]

    def truth(self, known: Mapping[str, Value]) -> Truth:
        """Kleene disjunction of the parts."""
        return some(part.truth(known) for part in self.parts)

    def atoms(self) -> Iterator[Atom]:
        """Yield the parts' atoms."""
        for part in self.parts:
            yield from part.atoms()


@dataclass(frozen=True, slots=True)
class Not:
    """True when the part is false."""

    part: Condition

    def truth(self, known: Mapping[str, Value]) -> Truth:
        """Kleene negation of the part."""
        return negate(self.part.truth(known))

    def atoms(self) -> Iterator[Atom]:
        """Yield the part's atoms."""
        yield from self.part.atoms()


ALWAYS = All(())


def _compiled(op: str, literal: Literal, scale: Scale | None) -> Callable[[Value], bool]:
    if op in EQUALITY:
        return _equality(op, literal)
    if op in ORDER:
        return _ranked(op, literal, scale) if scale else _numeric(op, literal)
    return _membership(op, literal)


def _equality(op: str, literal: Literal) -> Callable[[Value], bool]:
    if op in {"eq", "ne"}:
        # bool is an int in Python; True == 1 must not make `n: {eq: 1}` match a truth value.
        def same(value: Value) -> bool:
            return value == literal and isinstance(value, bool) == isinstance(literal, bool)

        return same if op == "eq" else lambda value: not same(value)
    choices = frozenset(literal) if isinstance(literal, tuple) else frozenset((literal,))
    if op == "in":
        return lambda value: value in choices
    return lambda value: value not in choices


def _ranked(op: str, literal: Literal, scale: Scale) -> Callable[[Value], bool]:
    bound = scale.rank(str(literal))
    above = {"lt": range(bound), "lte": range(bound + 1)}
    high = len(scale.order)
    above |= {"gt": range(bound + 1, high), "gte": range(bound, high)}
    names = frozenset(scale.order[rank] for rank in above[op])
    return lambda value: value in names


def _numeric(op: str, literal: Literal) -> Callable[[Value], bool]:
    compare = COMPARISONS[op]
    if isinstance(literal, str):  # a date, ISO 8601: text order is date order
        return lambda value: _is_text(value) and compare(value, literal)
    return lambda value: isinstance(value, Number) and compare(value, literal)


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and not isinstance(value, Word)


def _membership(op: str, literal: Literal) -> Callable[[Value], bool]:
    names = literal if isinstance(literal, tuple) else (literal,)
    wanted = frozenset(str(name) for name in names)
    if op == "has_any":
        return lambda value: isinstance(value, frozenset) and not wanted.isdisjoint(value)
    return lambda value: isinstance(value, frozenset) and wanted <= value
