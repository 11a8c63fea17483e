"""The command line in a test: `cli("check", folder)` gives its exit code and what it printed."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from router.cli import app
from tests.gateways import write_keys, write_policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROGRAM = (sys.executable, "-m", "router")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return standard output as the one JSON document that it must be."""
        return json.loads(self.out)


def cli(*arguments: object, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    """Run a command in this process, without the machine's ROUTER_* variables."""
    inherited: dict[str, str | None] = {n: None for n in os.environ if n.startswith("ROUTER_")}
    done = CliRunner().invoke(
        app,
        [str(argument) for argument in arguments],
        input=stdin,
        env={**inherited, "COLUMNS": "80", **(env or {})},
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(code=done.exit_code, out=done.stdout, err=done.stderr)


class World:
    """A folder with the policy and the keys of `tests.gateways`, and the commands over it."""

    def __init__(self, folder: Path) -> None:
        """Write the files."""
        self.folder = folder
        self.policies = folder / "policies"
        self.keys = folder / "keys.yaml"
        write_policy(self.policies)
        write_keys(self.keys)
        nowhere = "http://127.0.0.1:9/v1"
        self.env = {
            "OWN": nowhere,
            "PAID": nowhere,
            "KEY_FILE": str(folder / "paid-key"),
            "ROUTER_POLICIES": str(self.policies),
            "ROUTER_STATE": str(folder / "state"),
        }

    def cli(self, *arguments: object, stdin: str | bytes = b"", **variables: str) -> Ran:
        """Run a command over this folder."""
        return cli(*arguments, stdin=stdin, env=self.env | variables)

    def explain(self, asked: Any, *arguments: object) -> Ran:
        """Explain a body or facts, given as a tree or as its very bytes."""
        raw = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        return self.cli("explain", *arguments, stdin=raw)
