"""`serve`: run the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from router.cli.output import USAGE, stop
from router.loading.shelf import Shelf
from router.settings import Settings

# A variable that is wrong is told by name only, so the settings read them and not the options.
ENV = "[env var: ROUTER_{}]"


def serve(
    policies: Annotated[
        Path | None, typer.Option(help=f"The policy folder. {ENV.format('POLICIES')}")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help=f"The file of client keys. {ENV.format('KEYS')}")
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help=f"The file for decision records. {ENV.format('RECORDS')}")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help=f"The state folder. {ENV.format('STATE')}")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help=f"Address of the public port. {ENV.format('HOST')}")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help=f"Public port; 0: a free one. {ENV.format('PORT')}")
    ] = None,
    admin_host: Annotated[
        str | None, typer.Option(help=f"Address of the admin port. {ENV.format('ADMIN_HOST')}")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help=f"Admin port; 0: a free one. {ENV.format('ADMIN_PORT')}")
    ] = None,
) -> None:
    """Run the gateway. Every option is also a variable: `--policies` is `ROUTER_POLICIES`.

    `ROUTER_AUTH=off` serves callers without a key. Further settings are variables only; the README
    lists them. Exit code 1: the policy or the keys have problems. 2: a setting is wrong.

    Example: `qwen-router serve --keys keys.yaml --records records.jsonl`
    """
    given = {
        "policies": policies,
        "keys": keys,
        "records": records,
        "state": state,
        "host": host,
        "port": port,
        "admin_host": admin_host,
        "admin_port": admin_port,
    }
    settings = settings_from({name: value for name, value in given.items() if value is not None})
    if settings.auth == "on" and settings.keys is None:
        stop(
            "No keys: give --keys FILE (`qwen-router keys new` makes one), or say ROUTER_AUTH=off "
            "to serve everybody.",
            USAGE,
        )
    if settings.keys is not None and not settings.keys.is_file():
        stop(f"{settings.keys} is no file; name the keys file (--keys, or ROUTER_KEYS).", USAGE)
    if settings.records is not None and not settings.records.parent.is_dir():
        stop(f"{settings.records.parent} is no folder; records cannot be written there.", USAGE)
    if not settings.policies.is_dir() and Shelf(settings.state).last_good() is None:
        stop(
            f"{settings.policies} is no folder; name the folder that holds policy.yaml "
            "(--policies, or ROUTER_POLICIES).",
            USAGE,
        )
    from router.app import run  # noqa: PLC0415 - the servers load only where they run

    raise typer.Exit(run(settings))


def settings_from(given: dict[str, Any]) -> Settings:
    """Return the settings of options and environment; leaves with 2 where one is wrong."""
    try:
        return Settings(**given)
    except ValidationError as error:
        # The value is not repeated: it could be a secret.
        wrong = "; ".join(_told(e["loc"], e["msg"], given) for e in error.errors())
        stop(f"A setting is wrong: {wrong}", USAGE)


def _told(where: tuple[int | str, ...], message: str, given: dict[str, Any]) -> str:
    name = str(where[0]).lower().removeprefix("router_")
    shown = f"--{name.replace('_', '-')}" if name in given else f"ROUTER_{name.upper()}"
    return f"{shown}: {message.removeprefix('Value error, ')}"
