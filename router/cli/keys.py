"""`keys`: make client keys. The secret is printed once and kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from router.cli.check import loaded, refuse
from router.cli.options import Json
from router.cli.output import USAGE, console, print_json, stop
from router.loading import KEY_ID, PolicyProblems, new_key
from router.loading.keyring import VERSION, keyring

app = typer.Typer(help="Make client keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make client keys."""


@app.command("new")
def new(
    key_id: Annotated[str, typer.Option("--id", help="Name of the key, in records and rules.")],
    product: Annotated[str | None, typer.Option(help="key.product")] = None,
    team: Annotated[str | None, typer.Option(help="key.team")] = None,
    group: Annotated[str | None, typer.Option(help="key.group")] = None,
    min_label: Annotated[str | None, typer.Option(help="Lowest label of its requests.")] = None,
    media_label: Annotated[str | None, typer.Option(help="Label of its images and files.")] = None,
    tier: Annotated[str | None, typer.Option(help="Tier where its client asks none.")] = None,
    max_tier: Annotated[str | None, typer.Option(help="Highest tier it gets.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may ask for; repeatable.")
    ] = None,
    may_assert_user: Annotated[
        bool, typer.Option("--may-assert-user", help="Its `user` field is to be trusted.")
    ] = False,
    owner: Annotated[str | None, typer.Option(help="Whom to ask about it.")] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="2026-12-31, or a time with its zone.")
    ] = None,
    policies: Annotated[
        Path | None,
        typer.Option(envvar="ROUTER_POLICIES", help="Check the names against this policy."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key: print its secret once, and the line to add to the keys file.

    Example: `qwen-router keys new --id shop-prod --product shop`
    """
    if not KEY_ID.fullmatch(key_id):
        stop(f"--id must match {KEY_ID.pattern}.", USAGE, json=json)
    given = {
        "product": product,
        "team": team,
        "group": group,
        "min_label": min_label,
        "media_label": media_label,
        "tier": tier,
        "max_tier": max_tier,
        "models": model or None,
        "may_assert_user": may_assert_user or None,
        "owner": owner,
        "expires_at": expires_at,
    }
    secret, entry = new_key(key_id, {name: v for name, v in given.items() if v is not None})
    if policies is not None:
        _check(entry, policies, json=json)
    if json:
        print_json({"key": secret, "entry": entry})
        return
    out = console()
    out.print("The key, shown once; give it to its owner:", style="bold")
    out.print(secret, markup=False, soft_wrap=True)
    out.print("\nAdd this line to the keys file, under keys:", style="bold")
    out.print(f"  {entry}", markup=False, soft_wrap=True)
    out.print(f"\nA new keys file begins with `apiVersion: {VERSION}` and `keys:`.", style="dim")


def _check(entry: str, policies: Path, *, json: bool) -> None:
    """Leave with 1 where the policy does not know a name of the new key."""
    policy = loaded(policies, json=json)
    try:
        keyring(f"apiVersion: {VERSION}\nkeys:\n  {entry}\n", "the new key", policy)
    except PolicyProblems as found:
        refuse(found, json=json)
