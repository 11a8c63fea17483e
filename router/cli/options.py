"""Options that several commands share, with the variable that each can come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from router.cli.output import USAGE, stop

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Policies = Annotated[
    Path,
    typer.Option("--policies", envvar="ROUTER_POLICIES", help="The policy folder."),
]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", envvar="ROUTER_KEYS", help="The file of client keys."),
]
Records = Annotated[
    Path,
    typer.Option("--records", envvar="ROUTER_RECORDS", help="The file of decision records."),
]
State = Annotated[
    Path,
    typer.Option("--state", envvar="ROUTER_STATE", help="The gateway's state folder."),
]


def secret_in(state: Path) -> bytes | None:
    """Return the gateway's secret: ROUTER_SECRET, or what its state folder keeps, or None."""
    given = os.environ.get("ROUTER_SECRET")
    return given.encode() if given else _kept(state / "secret")


def token_in(state: Path) -> bytes | None:
    """Return the admin token: ROUTER_ADMIN_TOKEN, or what the state folder keeps, or None."""
    given = os.environ.get("ROUTER_ADMIN_TOKEN")
    return given.encode() if given else _kept(state / "admin-token")


def _kept(file: Path) -> bytes | None:
    try:
        return file.read_bytes().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        stop(f"{file} cannot be read: {error.strerror}.", USAGE)
