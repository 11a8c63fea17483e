"""YAML text → nodes with their lines. What YAML leaves open is refused instead of guessed.

Refused: duplicate keys, merge keys, anchors and aliases (a few lines of them expand to gigabytes),
tags, several documents, YAML 1.1 booleans (`no` is Norway), octal, hexadecimal and underscored
numbers, NaN and infinity. Only `true` and `false` are truth values. Unlike YAML 1.1, `4e-07` is a
number and `22:30` is text (it would be 1350).

It builds on libyaml's events, not on a loader: no object is ever constructed, and the depth is
bounded here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import yaml

from router.loading.nodes import Hole, Listing, Node, Place, Scalar, Table
from router.loading.problems import Problem, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST: Final = 32
MOST_DIGITS: Final = 28  # what decimal arithmetic keeps exactly
LARGEST_EXPONENT: Final = 30

VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]{1,4})?")
# YAML 1.1 and 1.2 read these as numbers, each in its own way; people read them as something else.
SURPRISING = re.compile(
    r"[-+]?(0[0-9_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*_[0-9_]*)(\.[0-9_]*)?"
)
NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
YAML_1_1_BOOLEAN = re.compile(r"y|yes|n|no|on|off|true|false", re.IGNORECASE)
NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Path = tuple[str | int, ...]  # keys and indices down from the root

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Misread(Exception):
    """A scalar that is refused, with the message."""


@dataclass(slots=True)
class Variables:
    """What `${NAME}` resolves to, and which names were used."""

    env: Mapping[str, str]
    used: dict[str, str] = field(default_factory=dict)

    def resolve(self, text: str) -> str:
        """Replace `${NAME}` and `${NAME:-default}`; `$${` is a literal `${`.

        As in a shell, the default also stands in for an empty value.
        """
        return VARIABLE.sub(self._value, text)

    def _value(self, match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        if name is None:
            return "${"
        value = self.env.get(name)
        if value is not None:
            self.used[name] = value
        if value or (value is not None and default is None):
            return value
        if default is None:
            raise _Misread(f"the variable {name} is not set and has no default")
        return default


def parse(
    text: str, file: str, problems: list[Problem], variables: Variables | None = None
) -> Node | None:
    """Return the document; add what is wrong to `problems`. None: it could not be read at all.

    Without `variables`, `${` is text like any other.
    """
    if found := UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        problems.append(Problem(file, line, "a character that YAML does not allow"))
        return None
    composer = _Composer(file, problems, variables)
    try:
        return composer.document(yaml.parse(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it cannot be read"
        # The end of the text counts as its last line, not as the one behind it.
        line = min(mark.line + 1, len(text.splitlines())) if mark else 0
        problems.append(Problem(file, line, f"bad YAML: {what}"))
        return None
    except _TooDeep as error:
        problems.append(Problem(file, error.line, f"nested deeper than {DEEPEST} levels"))
        return None


class _TooDeep(Exception):
    """The document is nested too deep."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Composer:
    """Builds nodes from events, noting what is wrong and going on."""

    def __init__(self, file: str, problems: list[Problem], variables: Variables | None) -> None:
        self.file = file
        self.problems = problems
        self.variables = variables
        self.path: Path = ()

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        """Return the one document; None for none or several."""
        root: Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._note(self._place(event), "several documents in one file")
                    return None
                root = self._node(next(events), events, ())
        if root is None or (isinstance(root, Scalar) and root.value is None):
            self.problems.append(Problem(self.file, 0, "is empty"))
            return None
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Node:
        at = self._place(event)
        self.path = path
        if len(path) > DEEPEST:
            raise _TooDeep(at.line)
        if isinstance(event, yaml.AliasEvent):
            return self._hole(at, "aliases (*name) are not taken; write it out")
        if getattr(event, "anchor", None) is not None:
            self._note(at, "anchors (&name) are not taken; write it out")
        if getattr(event, "tag", None) is not None:
            self._note(at, "tags (!name) are not taken")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, at)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                items.append(self._node(event, events, (*path, len(items))))
            return Listing(at, tuple(items))
        return self._table(at, events, path)

    def _table(self, at: Place, events: Iterator[yaml.Event], path: Path) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            place = self._place(event)
            self.path = path
            key = self._key(event, events, path)
            value = self._node(next(events), events, (*path, key or "?"))
            self.path = path
            if key is None:
                continue
            if key in keys:
                self._note(
                    place, f"duplicate key {quoted(key)}; the first is in line {keys[key].line}"
                )
                continue
            entries[key], keys[key] = value, place
        return Table(at, entries, keys)

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> str | None:
        """Return the text of a key; None where it is refused."""
        at = self._place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._note(at, "a key must be text")
            self._node(event, events, (*path, "?"))
            return None
        key = event.value
        plain = not event.style
        if event.anchor is not None or event.tag is not None:
            self._note(at, "anchors and tags are not taken")
        elif plain and key == "<<":
            self._note(at, "merge keys (<<) are not taken; write it out")
        elif plain and YAML_1_1_BOOLEAN.fullmatch(key):
            self._note(at, f"{key} is a truth value in YAML; quote it to use it as a key")
        elif plain and key in NULL:
            self._note(at, "a key is empty")
        elif not _encodable(key):
            self._note(at, "a key holds half a surrogate pair")
        else:
            return key
        return None

    def _scalar(self, event: yaml.ScalarEvent, at: Place) -> Node:
        try:
            value = self._text(event.value) if event.style else self._plain(event.value)
        except _Misread as misread:
            return self._hole(at, str(misread))
        return Scalar(at, value, event.value)

    def _plain(self, text: str) -> str | int | Decimal | bool | None:
        if text in NULL:
            return None
        if text in {"true", "false"}:
            return text == "true"
        if YAML_1_1_BOOLEAN.fullmatch(text):
            word = "true" if text.lower() in {"y", "yes", "on", "true"} else "false"
            raise _Misread(f"{text} is not taken for a truth value; write {word}, or quote it")
        if NOT_FINITE.fullmatch(text):
            raise _Misread("NaN and infinity are not taken")
        if SURPRISING.fullmatch(text):
            raise _Misread(f"write {quoted(text)} in plain decimal digits, or quote it")
        if WHOLE.fullmatch(text) or DECIMAL.fullmatch(text):
            return _number(text)
        return self._text(text)

    def _text(self, text: str) -> str:
        text = self.variables.resolve(text) if self.variables else text
        if not _encodable(text):
            raise _Misread("holds half a surrogate pair")
        return text

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(self.file, mark.line + 1 if mark else 0)

    def _note(self, at: Place, message: str) -> None:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)
        text = f"{path.removeprefix('.')}: {message}" if path else message
        self.problems.append(Problem(at.file, at.line, text))

    def _hole(self, at: Place, message: str) -> Hole:
        self._note(at, message)
        return Hole(at)


def _number(text: str) -> int | Decimal:
    mantissa = re.split("[eE]", text)[0]
    if sum(c.isdigit() for c in mantissa) > MOST_DIGITS:
        raise _Misread(f"a number has more than {MOST_DIGITS} digits; quote it if it is text")
    if WHOLE.fullmatch(text):
        return int(text)
    value = Decimal(text)
    if value and abs(value.adjusted()) > LARGEST_EXPONENT:
        raise _Misread("a number is out of range; quote it if it is text")
    return value or Decimal(0)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)
