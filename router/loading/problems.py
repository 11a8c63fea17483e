"""What is wrong with a policy or a keys file: every problem, each with file, line and key."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_SHOWN = 64
MOST_LISTED = 12


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, as `policies/cost.yaml:14: rule "x": …`. Line 0: the whole file."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"


class PolicyProblems(Exception):
    """Why a policy or a keys file was refused: `problems` by file and line, each once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def quoted(text: str) -> str:
    """Return `text` in double quotes, on one line and not too long to read."""
    shown = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    return '"' + "".join(c if c.isprintable() else "?" for c in shown) + '"'


def hint(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean "…"?` with the nearest valid name, else what there is to choose."""
    names = sorted(set(valid))
    if not names:
        return ""
    if close := difflib.get_close_matches(name[:LONGEST_SHOWN], names, n=1):
        return f'; did you mean "{close[0]}"?'
    more = ", …" if len(names) > MOST_LISTED else ""
    return f"; valid: {', '.join(names[:MOST_LISTED])}{more}"
