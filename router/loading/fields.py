"""Reading nodes: a reader takes a node and a report, and returns a value or refuses.

Strategy: a refusal is noted once, in the report, and then travels as the empty exception `Refused`
to the nearest place that can go on with the next key or item. So every problem of a folder is found
in one pass, and a value that is there has been checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar, cast

from router.loading.nodes import Hole, Listing, Node, Place, Scalar, Table, canonical
from router.loading.problems import Problem, hint, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

T = TypeVar("T")
D = TypeVar("D")

# What everything that a policy declares is named like: labels, tiers, products, switches, targets,
# aliases, tags, rules, keys. Lower case, so no name is ever ABSENT, OTHER or UNKNOWN.
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE: Final = "1 to 64 of a-z 0-9 . _ - that start with a letter or digit"
# Records write these words for what they do not name, so nothing may be called so.
RESERVED: Final = frozenset({"absent", "other", "unknown", "labels.default"})


class Refused(Exception):
    """What was wrong has been noted."""


@dataclass(frozen=True, slots=True)
class Report:
    """Where problems go, and what is being read: `rule "x"`, then the path of keys inside it."""

    problems: list[Problem]
    subject: str = ""
    path: str = ""

    def about(self, subject: str) -> Report:
        """Return the report for another subject."""
        return replace(self, subject=subject, path="")

    def key(self, key: str) -> Report:
        """Return the report for the value of one key."""
        return replace(self, path=f"{self.path}.{key}" if self.path else key)

    def item(self, index: int) -> Report:
        """Return the report for one item of a list."""
        return replace(self, path=f"{self.path}[{index}]")

    def note(self, at: Place, message: str) -> None:
        """Add a problem and go on."""
        text = ": ".join(part for part in (self.subject, self.path, message) if part)
        self.problems.append(Problem(at.file, at.line, text))

    def refuse(self, node: Node, message: str) -> NoReturn:
        """Add a problem, unless the node has one already, and give the value up."""
        if not isinstance(node, Hole):
            self.note(node.at, message)
        raise Refused


Reader = Callable[[Node, Report], T]


class Fields:
    """The keys of one mapping, taken by name; what is left over at `done` is unknown.

    `partial` says that some keys may be missing for a good reason.

    INVARIANT: what `need` returned is used only after `done`, which refuses if anything was wrong.
    """

    def __init__(self, node: Node, report: Report, *, partial: bool = False) -> None:
        self.node = mapping(node, report)
        self.report = report
        self.partial = partial
        self._taken: set[str] = set()
        self._broken = False

    def __contains__(self, key: str) -> bool:
        """Tell whether the key is there."""
        return key in self.node.entries

    def need(self, key: str, read: Reader[T]) -> T:
        """Read a key that must be there."""
        self._taken.add(key)
        if key not in self.node.entries:
            self.wrong(self.node.at, f"{key} is required")
            return cast("T", None)
        return self._read(key, read)

    def expect(self, key: str, read: Reader[T], otherwise: T) -> T:
        """Read a key that must be there, unless the mapping is `partial`: then `otherwise`."""
        return self.take(key, read, otherwise) if self.partial else self.need(key, read)

    def take(self, key: str, read: Reader[T], default: D) -> T | D:
        """Read a key that may be there."""
        self._taken.add(key)
        return self._read(key, read) if key in self.node.entries else default

    def offer(self, *keys: str) -> None:
        """Make keys that are not there known as valid, for the hints."""
        self._taken.update(keys)

    def wrong(self, at: Place, message: str) -> None:
        """Note something else that is wrong with the mapping."""
        self._broken = True
        self.report.note(at, message)

    def place(self, key: str) -> Place:
        """Return where a key stands; the whole mapping's place where it is not there."""
        return self.node.keys.get(key, self.node.at)

    def done(self, later: Collection[str] = ()) -> None:
        """Refuse unknown keys, and those that only a later version knows; then what was wrong."""
        for key in self.node.entries.keys() - self._taken:
            self._broken = True
            if key in later:
                self.report.note(
                    self.place(key), f"{key} is not supported by this version; take it out"
                )
            else:
                nearest = hint(key, self._taken)
                self.report.note(self.place(key), f"unknown key {quoted(key)}{nearest}")
        if self._broken:
            raise Refused

    def _read(self, key: str, read: Reader[T]) -> T:
        try:
            return read(self.node.entries[key], self.report.key(key))
        except Refused:
            self._broken = True
            return cast("T", None)


def mapping(node: Node, report: Report) -> Table:
    """Return the node as a mapping."""
    if not isinstance(node, Table):
        report.refuse(node, "must be a mapping (key: value)")
    return node


def each(nodes: Iterable[tuple[Node, Report]], read: Reader[T]) -> tuple[T, ...]:
    """Read every node, noting all that is wrong; refuse at the end if any was wrong."""
    values: list[T] = []
    broken = False
    for node, report in nodes:
        try:
            values.append(read(node, report))
        except Refused:
            broken = True
    if broken:
        raise Refused
    return tuple(values)


def listing(read: Reader[T], *, empty: bool = False) -> Reader[tuple[T, ...]]:
    """Return a reader of lists without repetitions; an empty one only where it is asked for."""

    def read_list(node: Node, report: Report) -> tuple[T, ...]:
        if not isinstance(node, Listing):
            report.refuse(node, "must be a list ([a, b])")
        if not (node.items or empty):
            report.refuse(node, "the list is empty")
        seen: set[str] = set()
        for index, item in enumerate(node.items):
            meaning = canonical(item)
            if meaning in seen and not isinstance(item, Hole):
                report.item(index).refuse(item, "is in the list twice")
            seen.add(meaning)
        return each(((item, report.item(i)) for i, item in enumerate(node.items)), read)

    return read_list


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of one value or a list of them."""

    def read_some(node: Node, report: Report) -> tuple[T, ...]:
        if isinstance(node, Scalar):
            return (read(node, report),)
        return listing(read)(node, report)

    return read_some


def entries(read: Callable[[str, Place, Node, Report], T]) -> Reader[dict[str, T]]:
    """Return a reader of mappings whose keys are names; `read` gets name, its place and value."""

    def read_entries(node: Node, report: Report) -> dict[str, T]:
        table = mapping(node, report)
        if not table.entries:
            report.refuse(node, "the mapping is empty")
        found: dict[str, T] = {}
        broken = False
        for key, value in table.entries.items():
            try:
                check_name(key, table.keys[key], report)
                found[key] = read(key, table.keys[key], value, report.key(key))
            except Refused:
                broken = True
        if broken:
            raise Refused
        return found

    return read_entries


def check_name(text: str, at: Place, report: Report) -> None:
    """Refuse what is no well-formed name."""
    if not NAME.fullmatch(text):
        report.note(at, f"{quoted(text)} is no name ({NAME_RULE})")
        raise Refused


def check_free(text: str, at: Place, report: Report) -> None:
    """Refuse a name that records use for something else."""
    if text in RESERVED:
        report.note(at, f"{quoted(text)} is a reserved word; take another name")
        raise Refused


def text(node: Node, report: Report) -> str:
    """Read text on one line that is not empty."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        quote = " (quote it)" if isinstance(node, Scalar) and node.value is not None else ""
        report.refuse(node, f"must be text{quote}")
    if not node.value.strip() or not node.value.isprintable():
        report.refuse(node, "must be text on one line, not empty and without control characters")
    return node.value


def name(node: Node, report: Report) -> str:
    """Read a well-formed name."""
    value = text(node, report)
    if not NAME.fullmatch(value):
        report.refuse(node, f"{shown(node)} is no name ({NAME_RULE})")
    return value


def one_of(noun: str, valid: Collection[str] | None) -> Reader[str]:
    """Return a reader of one of the valid names; of any name where they could not be read."""

    def read_one(node: Node, report: Report) -> str:
        value = text(node, report)
        if valid is not None and value not in valid:
            # A target's name says itself what is meant; the key in front would only hide it.
            here = replace(report, path="") if noun == "target" else report
            here.refuse(node, f"unknown {noun} {shown(node)}{hint(value, valid)}")
        return value

    return read_one


def shown(node: Node) -> str:
    """Return a scalar as it is written, for a message: never what a `${}` resolved to."""
    return quoted(node.written) if isinstance(node, Scalar) else ""


def boolean(node: Node, report: Report) -> bool:
    """Read `true` or `false`."""
    if not isinstance(node, Scalar) or not isinstance(node.value, bool):
        report.refuse(node, "must be true or false")
    return node.value


def number(node: Node, report: Report) -> int | Decimal:
    """Read a number that is not negative."""
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        report.refuse(node, "must be a number")
    if value < 0:
        report.refuse(node, "must not be negative")
    return value


def amount(node: Node, report: Report) -> Decimal:
    """Read a number that is not negative, exactly as it is written."""
    return Decimal(number(node, report))


def positive(node: Node, report: Report) -> Decimal:
    """Read a number above 0, exactly as it is written."""
    if not (value := amount(node, report)):
        report.refuse(node, "must be above 0")
    return value


def count(node: Node, report: Report) -> int:
    """Read a whole number above 0."""
    value = number(node, report)
    if not isinstance(value, int) or not value:
        report.refuse(node, "must be a whole number above 0, in plain digits")
    return value


def iso_date(node: Node, report: Report) -> str:
    """Read a date, `2026-05-25`, as text."""
    value = text(node, report)
    if not _is_date(value):
        report.refuse(node, "must be a date like 2026-05-25")
    return value


def _is_date(value: str) -> bool:
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
