"""A YAML document as plain values that know where they stand, and its canonical text.

Numbers are `int` or `Decimal`, never float; dates are text. `canonical` is what the digest is made
of: the meaning without places, comments and key order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys whose lists are in an order that means something. Every other list is a set.
ORDERED: Final = frozenset({"order", "then", "per_million", "prefer", "shape"})


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `written` is its text before `${}` was resolved: what messages may show."""

    at: Place
    value: str | int | Decimal | bool | None
    written: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    at: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `keys` says where each key stands."""

    at: Place
    entries: Mapping[str, Node]
    keys: Mapping[str, Place]


@dataclass(frozen=True, slots=True)
class Hole:
    """A value whose problem has been reported already."""

    at: Place


Node = Scalar | Listing | Table | Hole


def canonical(node: Node, key: str = "") -> str:
    """Return the node as JSON with sorted keys, sorted sets and numbers in their shortest form."""
    match node:
        case Table(entries=entries):
            pairs = (f"{json.dumps(k)}:{canonical(entries[k], k)}" for k in sorted(entries))
            return "{" + ",".join(pairs) + "}"
        case Listing(items=items):
            texts = [canonical(item) for item in items]
            return "[" + ",".join(texts if key in ORDERED else sorted(texts)) + "]"
        case Scalar(value=value):
            if isinstance(value, bool | str) or value is None:
                return json.dumps(value)
            return format(Decimal(value).normalize(), "f")
        case Hole():
            return "null"
