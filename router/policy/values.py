"""What a fact can be, and the three-valued logic that rules are evaluated in.

A fact is a name, a number, a truth value or a set of names; or one of three words:

- ABSENT: known not to be there (a key without a team, a header not sent). Unequal to every literal
  and outside every order.
- OTHER: there, but not a value that the policy lists. It behaves as ABSENT does; the original text
  is never kept.
- UNKNOWN: could not be determined. Every test of it is UNKNOWN.

The words are upper case and declared names never are, so they survive JSON without an escape.

Truth is strong Kleene logic (Kleene 1938, K3) over `True`, `False` and `None` for UNKNOWN.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Word(StrEnum):
    """The three values that are not values."""

    ABSENT = "ABSENT"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


ABSENT = Word.ABSENT
OTHER = Word.OTHER
UNKNOWN = Word.UNKNOWN

Number = int | float | Decimal
Value = str | Number | bool | frozenset[str]
Truth = bool | None


def every(truths: Iterable[Truth]) -> Truth:
    """Kleene conjunction: FALSE beats UNKNOWN beats TRUE. Of nothing: TRUE."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def some(truths: Iterable[Truth]) -> Truth:
    """Kleene disjunction: TRUE beats UNKNOWN beats FALSE. Of nothing: FALSE."""
    result: Truth = False
    for truth in truths:
        if truth is True:
            return True
        if truth is None:
            result = None
    return result


def negate(truth: Truth) -> Truth:
    """Kleene negation: UNKNOWN stays UNKNOWN."""
    return None if truth is None else not truth
