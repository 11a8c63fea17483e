"""What people read: tables with colour on a terminal, plain text when piped, JSON on demand."""

from __future__ import annotations

import json as encoding
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GOOD: Final = 0
FINDING: Final = 1
USAGE: Final = 2
# Where there is no terminal nothing is wrapped: what is searched for stands on one line.
PIPED_WIDTH: Final = 100_000


def console(*, error: bool = False) -> Console:
    """Return a console on standard output, or on standard error; colour on a terminal only."""
    stream = sys.stderr if error else sys.stdout
    terminal = stream.isatty()
    plain = not terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Console(
        file=stream,
        width=None if terminal else PIPED_WIDTH,
        force_terminal=terminal,
        color_system=None if plain else "auto",
        highlight=False,
        soft_wrap=False,
    )


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(encoding.dumps(value, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table; cells are plain text, never markup. Without titles it has no head."""
    made = Table(*columns, show_header=any(columns), header_style="bold")
    for row in rows:
        # A word that is too long for its column is folded, never cut off.
        made.add_row(*(Text(cell, overflow="fold") for cell in row))
    return made


def stop(message: str, code: int, *, json: bool = False) -> NoReturn:
    """Print an error on standard error, with `json` on standard output too, and leave."""
    if json:
        print_json({"error": {"message": message}})
    console(error=True).print(message, markup=False, style="red", soft_wrap=True)
    raise typer.Exit(code)
