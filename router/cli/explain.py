"""`explain`: what would be decided for a request or for facts, and why; nothing is sent."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from router.cli.account import show
from router.cli.check import loaded, refuse
from router.cli.options import Json, Keys, Policies, State, secret_in
from router.cli.output import FINDING, GOOD, USAGE, console, print_json, stop
from router.errors import ApiError
from router.loading import PolicyProblems, load_keys
from router.loading.problems import hint, quoted
from router.policy import state as snapshot
from router.policy.keys import ANONYMOUS, Key
from router.workbench.explanation import Question, check_name
from router.workbench.explanation import explain as explained

if TYPE_CHECKING:
    from router.policy.document import Policy

STDIN = Path("-")
HEADER_START = "x-router-"


def explain(
    file: Annotated[
        Path, typer.Argument(help="A request body or facts, as JSON; - for standard input.")
    ] = STDIN,
    policies: Policies = Path("policies"),
    keys: Keys = None,
    key: Annotated[str | None, typer.Option("--key", help="Id of the key that asks.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", help='"x-router-NAME: VALUE"; repeatable.'),
    ] = None,
    suspended: Annotated[
        list[str] | None, typer.Option("--suspended", help="As if this target were suspended.")
    ] = None,
    switch: Annotated[
        list[str] | None, typer.Option("--switch", help="As if this switch were on.")
    ] = None,
    why_not: Annotated[
        str | None, typer.Option("--why-not", help="The smallest change that lets TARGET in.")
    ] = None,
    state: State = Path(".qwen-router"),
    json: Json = False,
) -> None:
    """Print what would be decided for a request body, or for facts, and why. Nothing is sent.

    A file with `messages` is a request body; any other JSON object is facts by name, `label` and
    `request.tier` standing for the headers that ask for them. A caller's place among the buckets 0
    to 99 comes from the gateway's secret, where its state folder or ROUTER_SECRET is at hand.

    Exit code 1: it would be refused. 2: the question is wrong, or the gateway would not decide it.

    Example: `echo '{"key.product": "hr"}' | qwen-router explain`
    """
    policy = loaded(policies, json=json)
    stopped = snapshot.State(suspended=frozenset(suspended or ()), switches=frozenset(switch or ()))
    try:
        for name in stopped.suspended:
            check_name("target", name, policy.targets)
        for name in stopped.switches:
            check_name("switch", name, policy.switches)
        question = Question(
            asked=_asked(file, json=json),
            key=_key(key, keys, policy, json=json),
            headers=_headers(header or [], json=json),
            received_at=time.time(),
            state=stopped,
            secret=secret_in(state) or b"explain",
            why_not=why_not,
        )
        answer = explained(question, policy)
    except ApiError as error:
        _undecided(error, policy, json=json)
    if json:
        print_json(answer.account())
    else:
        show(answer.account())
    raise typer.Exit(FINDING if answer.decision.refusal else GOOD)


def _undecided(error: ApiError, policy: Policy, *, json: bool) -> NoReturn:
    """Say what the gateway would answer before there is a decision, and leave with 2."""
    if json:
        refusal = {"code": error.code, "http_status": error.status, "message": error.message}
        print_json(
            {
                "label": None,
                "plan": [],
                "targets": {},
                "policy": policy.digest,
                "refusal": refusal,
                **error.body(),
            }
        )
    about = f"{error.status} {error.code}"
    console(error=True).print(
        f"No decision, {about}: {error.message}", markup=False, style="red", soft_wrap=True
    )
    raise typer.Exit(USAGE)


def _asked(file: Path, *, json: bool) -> bytes:
    if file != STDIN:
        try:
            return file.read_bytes()
        except OSError as error:
            stop(f"{file} cannot be read: {error.strerror}.", USAGE, json=json)
    if sys.stdin.isatty():
        console(error=True).print("Reading a request body or facts; Ctrl-D ends it.", style="dim")
    return sys.stdin.buffer.read()


def _key(name: str | None, keys: Path | None, policy: Policy, *, json: bool) -> Key:
    if name is None:
        return ANONYMOUS
    if keys is None:
        stop("--key needs --keys FILE (or ROUTER_KEYS).", USAGE, json=json)
    if not keys.is_file():
        stop(f"{keys} is no file; name the keys file with --keys.", USAGE, json=json)
    try:
        keyring = load_keys(keys, policy)
    except PolicyProblems as found:
        refuse(found, json=json)
    found_key = keyring.by_id(name)
    if found_key is None:
        ids = [known.id for known in keyring.by_hash.values()]
        stop(f"{keys} has no key {quoted(name)}{hint(name, ids)}", USAGE, json=json)
    return found_key


def _headers(given: list[str], *, json: bool) -> dict[str, str]:
    """Return headers as the gateway would read them: one that is sent twice counts as both."""
    headers: dict[str, str] = {}
    for item in given:
        at = min((i for i in (item.find(":"), item.find("=")) if i > 0), default=0)
        name, value = item[:at].strip().lower(), item[at + 1 :].strip()
        if not name.startswith(HEADER_START):
            stop(f'--header takes "{HEADER_START}NAME: VALUE".', USAGE, json=json)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers
