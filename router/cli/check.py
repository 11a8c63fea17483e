"""`check`: look a policy folder over, every problem at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from router.cli.options import Json, Keys
from router.cli.output import FINDING, USAGE, console, print_json, stop
from router.loading import PolicyProblems, load_keys, load_policy

if TYPE_CHECKING:
    from router.policy.document import Policy


def check(
    folder: Annotated[
        Path, typer.Argument(help="The policy folder.", envvar="ROUTER_POLICIES")
    ] = Path("policies"),
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Check a policy folder, and a keys file against it; print every problem with file and line.

    Example: `qwen-router check policies/ --keys keys.yaml`
    """
    policy = loaded(folder, json=json)
    if keys is not None:
        if not keys.is_file():
            stop(f"{keys} is no file; name the keys file with --keys.", USAGE, json=json)
        try:
            load_keys(keys, policy)
        except PolicyProblems as found:
            refuse(found, json=json)
    if json:
        print_json({"ok": True, "problems": [], **_summary(policy)})
    else:
        told = ", ".join(f"{count} {noun}" for noun, count in _summary(policy)["counts"].items())
        console().print(f"{folder}: good. {told}", markup=False, soft_wrap=True)
        console().print(policy.digest, markup=False, style="dim", soft_wrap=True)


def loaded(folder: Path, *, json: bool) -> Policy:
    """Load a folder for a command; prints every problem and leaves with 1 where it is bad."""
    if not folder.is_dir():
        stop(f"{folder} is no folder; name the folder that holds policy.yaml.", USAGE, json=json)
    try:
        return load_policy(folder, os.environ).policy
    except PolicyProblems as found:
        refuse(found, json=json)


def refuse(found: PolicyProblems, *, json: bool) -> NoReturn:
    """Print problems and leave with 1."""
    if json:
        problems = [
            {"file": str(p.file), "line": p.line, "message": p.message} for p in found.problems
        ]
        print_json({"ok": False, "problems": problems})
    else:
        for problem in found.problems:
            console(error=True).print(str(problem), markup=False, soft_wrap=True)
        console(error=True).print(f"{len(found.problems)} to mend", style="red")
    raise typer.Exit(FINDING)


def _summary(policy: Policy) -> dict[str, Any]:
    counts = {
        "targets": len(policy.targets),
        "aliases": len(policy.aliases),
        "raise": len(policy.raises),
        "forbid": len(policy.forbids),
        "shape": len(policy.shapes),
        "prefer": len(policy.prefers),
        "invariants": len(policy.invariants),
    }
    return {"digest": policy.digest, "counts": counts}
