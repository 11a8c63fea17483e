"""`suspend`, `resume`, `switch`, `status`: calls to a running gateway's admin port."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
import typer

from router.cli.options import Json, State, token_in
from router.cli.output import FINDING, USAGE, console, print_json, stop, table

AdminUrl = Annotated[
    str | None,
    typer.Option(
        "--admin-url",
        envvar="ROUTER_ADMIN_URL",
        help="Address of the admin port; else by ROUTER_ADMIN_HOST and ROUTER_ADMIN_PORT.",
    ),
]
DEFAULT_STATE = Path(".qwen-router")
TIMEOUT_S = 10.0


def suspend(
    target: Annotated[str, typer.Argument(help="The target to stop.")],
    admin_url: AdminUrl = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Stop a target within the second, for queued requests too, until `resume`.

    Example: `qwen-router suspend qwen3.7-max`
    """
    _do("POST", f"/admin/suspend/{quote(target, safe='')}", admin_url, state, json=json)


def resume(
    target: Annotated[str, typer.Argument(help="The target to give back.")],
    admin_url: AdminUrl = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Give a suspended target back to the policy.

    Example: `qwen-router resume qwen3.7-max`
    """
    _do("POST", f"/admin/resume/{quote(target, safe='')}", admin_url, state, json=json)


def switch(
    name: Annotated[str, typer.Argument(help="A switch that the policy declares.")],
    to: Annotated[Literal["on", "off"], typer.Argument(help="on narrows, off gives back.")],
    admin_url: AdminUrl = None,
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Flip a switch of the policy within the second.

    Example: `qwen-router switch all_home on`
    """
    _do("POST", f"/admin/switch/{quote(name, safe='')}/{to}", admin_url, state, json=json)


def status(admin_url: AdminUrl = None, state: State = DEFAULT_STATE, json: Json = False) -> None:
    """Show what a running gateway serves by, and what is stopped.

    Example: `qwen-router status`
    """
    _do("GET", "/admin/status", admin_url, state, json=json)


def _do(method: str, path: str, admin_url: str | None, state: Path, *, json: bool) -> None:
    """Call the gateway and print its status.

    Leaves with 1 where it cannot do it, with 2 where it is asked wrongly or does not answer.
    """
    url = admin_url or _address()
    token = token_in(state)
    if not token:
        stop(
            "No admin token: set ROUTER_ADMIN_TOKEN, or --state to the folder of the gateway "
            f"({state / 'admin-token'} does not exist).",
            USAGE,
            json=json,
        )
    headers = {b"authorization": b"Bearer " + token.strip()}
    try:
        # No proxies of the environment: the admin token is for one address only.
        with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            reply = client.request(method, path, headers=headers)
        answer = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        stop(
            f"No gateway answers at {url} ({type(error).__name__}): start one, or give its admin "
            "port's address with --admin-url or ROUTER_ADMIN_URL.",
            USAGE,
            json=json,
        )
    if reply.is_error or not isinstance(answer, dict):
        code = FINDING if reply.is_server_error else USAGE
        stop(_message(answer, reply.status_code), code, json=json)
    if json:
        print_json(answer)
        return
    rows = [(name, _text(value)) for name, value in answer.items()]
    console().print(table(("", ""), rows))


def _address() -> str:
    """Return where the gateway of the same variables has its admin port."""
    host = os.environ.get("ROUTER_ADMIN_HOST") or "127.0.0.1"
    # A gateway that listens everywhere is asked here.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{host}:{os.environ.get('ROUTER_ADMIN_PORT') or 8081}"


def _message(answer: Any, status: int) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or f"That is no gateway's admin port: it answered with HTTP {status}.")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
