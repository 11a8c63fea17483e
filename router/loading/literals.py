"""What a fact may be compared with, and whether tests of one fact can ever hold together."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from router.loading.fields import (
    Reader,
    Report,
    boolean,
    iso_date,
    listing,
    name,
    number,
    one_of,
)
from router.policy.facts import Kind, Spec
from router.policy.values import ABSENT, OTHER, Number, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.loading.nodes import Node
    from router.loading.vocabulary import Vocabulary
    from router.policy.conditions import Atom, Literal

LISTS: Final = frozenset({"in", "not_in", "has_any", "has_all"})
# Whole numbers with an end, both ends included. Every other number is 0 or more.
RANGES: Final = {"time.hour": (0, 23), "request.bucket": (0, 99)}


def literal(fact: str, spec: Spec, op: str, words: Vocabulary) -> Reader[Literal]:
    """Return the reader of what `fact` may be compared with by `op`."""
    one = _reader(fact, spec, words)
    if op not in LISTS:
        return one

    def read(node: Node, report: Report) -> Literal:
        # In sorted order: the digest does not see the order of a set, so nothing else may.
        return tuple(sorted(listing(one)(node, report), key=str))

    return read


def _reader(fact: str, spec: Spec, words: Vocabulary) -> Reader[Value]:
    match spec.kind:
        case Kind.BOOL:
            return boolean
        case Kind.NUMBER:
            return _bounded(*RANGES[fact]) if fact in RANGES else number
        case Kind.DATE:
            return iso_date
        case Kind.LABEL | Kind.TIER:
            scale = words.scale(spec.kind)
            noun = "label" if spec.kind is Kind.LABEL else "tier"
            return one_of(noun, scale.order if scale else None)
        case _:
            return _named(fact, spec, words)


def _named(fact: str, spec: Spec, words: Vocabulary) -> Reader[Value]:
    noun = fact.rpartition(".")[2]
    if spec.choices:
        return one_of(noun, spec.choices)
    if fact == "request.model":
        return one_of("model", words.models)
    if fact == "target.name":
        return one_of("target", words.targets)
    if words.names is not None and fact in words.names:
        return one_of(noun, words.names[fact])
    return name


def _bounded(low: int, high: int) -> Reader[Value]:
    def read(node: Node, report: Report) -> Value:
        value = number(node, report)
        if not isinstance(value, int) or not low <= value <= high:
            report.refuse(node, f"must be a whole number from {low} to {high}")
        return value

    return read


def possible(spec: Spec, atoms: Sequence[Atom], words: Vocabulary) -> bool:
    """Tell whether some value of the one fact that the atoms test makes them all TRUE.

    Strategy: the evaluator itself is asked, over one value from every region that the literals cut
    the fact's domain into.
    """
    if spec.kind in {Kind.LABEL, Kind.TIER} and words.scale(spec.kind) is None:
        return True
    fact = atoms[0].fact
    values: list[Value] = list(_domain(fact, spec, atoms, words))
    # A fact that `decide` derives is always there; one that comes with the request need not be.
    values += [ABSENT, OTHER] if spec.given else []
    return any(all(atom.truth({fact: value}) is True for atom in atoms) for value in values)


def _domain(fact: str, spec: Spec, atoms: Sequence[Atom], words: Vocabulary) -> Iterable[Value]:
    """Return at least one value from every region of the fact's domain."""
    written = [a.literal if isinstance(a.literal, tuple) else (a.literal,) for a in atoms]
    literals = [value for values in written for value in values]
    domain: Iterable[Value]
    match spec.kind:
        case Kind.BOOL:
            domain = (True, False)
        case Kind.LABEL | Kind.TIER:
            scale = words.scale(spec.kind)
            domain = scale.order if scale else ()
        case Kind.NUMBER if fact in RANGES:
            low, high = RANGES[fact]
            domain = range(low, high + 1)
        case Kind.NUMBER:
            domain = _around([Decimal(v) for v in literals if isinstance(v, Number)])
        case Kind.DATE:
            domain = _days([date.fromisoformat(str(v)) for v in literals])
        case Kind.SET:
            domain = (frozenset(map(str, literals)),)
        case Kind.NAME:
            known = words.targets if fact == "target.name" else spec.choices
            domain = [*(known or ("?",)), *map(str, literals)]
    return domain


def _days(literals: list[date]) -> Iterable[str]:
    """Return the days, and the day before and after each."""
    days = {day.toordinal() + step for day in literals for step in (-1, 0, 1)}
    first, last = date.min.toordinal(), date.max.toordinal()
    return [date.fromordinal(day).isoformat() for day in days if first <= day <= last]


def _around(literals: list[Decimal]) -> Iterable[Decimal]:
    """Return 0, the literals, a number between each two neighbours, and one above them all."""
    ends = sorted({Decimal(0), *literals})
    between = [(low + high) / 2 for low, high in pairwise(ends)]
    return (*ends, *between, ends[-1] * 2 + 1)
