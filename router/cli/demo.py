"""`demo`: the gateway with the shipped policies and a handful of telling requests.

By default embedded stand-in models answer, on loopback, and say so in every answer. Only `--real`
talks to real ones: a key that happens to be in the environment never spends money.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import typer

from router.cli.check import loaded, refuse
from router.cli.output import FINDING, GOOD, USAGE, console, stop, table
from router.cli.telling import TELLING, Seen, Telling
from router.loading import PolicyProblems
from router.settings import LOOPBACK, Settings
from router.telemetry import configure_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.policy.document import Policy

LOCALHOST: Final = "127.0.0.1"
STAND_IN_KEY: Final = "sk-stand-in"
REQUEST_TIMEOUT_S: Final = 120.0


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Use real models; it spends real money.")
    ] = False,
    policies: Annotated[Path, typer.Option(help="The policy folder.")] = Path("policies"),
) -> None:
    """Start the gateway with stand-in models, send telling requests, and show what was decided.

    With --real it needs QWEN_OPEN_URL and DASHSCOPE_API_KEY. Exit code 1: not as expected.

    Example: `qwen-router demo --once`
    """
    if not (policies / "policy.yaml").exists():
        stop(f"{policies} holds no policy.yaml; run the demo in the checkout.", USAGE)
    missing = [name for name in ("QWEN_OPEN_URL", "DASHSCOPE_API_KEY") if not os.environ.get(name)]
    if real and missing:
        stop(f"--real needs {' and '.join(missing)} in the environment.", USAGE)
    configure_logging(logging.ERROR)
    try:
        good = asyncio.run(_demo(policies, once=once, real=real))
    except PolicyProblems as found:
        refuse(found, json=False)
    except OSError as error:
        stop(f"The demo cannot start: {error.strerror}.", USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(GOOD) from None
    raise typer.Exit(GOOD if good else FINDING)


async def _demo(policies: Path, *, once: bool, real: bool) -> bool:
    from router.app import App  # noqa: PLC0415 - the servers load only where they run

    out = console()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-router-demo-")))
        if real:
            out.print("REAL models: answers of the paid API cost real money.", style="bold red")
        else:
            await _with_stand_ins(stack, loaded(policies, json=False))
        out.print("ROUTER_AUTH=off: whoever reaches the port is served, without a key.\n")
        app = App(_settings(policies, folder, once=once, real=real))
        await app.start()
        stack.push_async_callback(app.stop)
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_TIMEOUT_S) as client:
            seen = [await _send(client, app.public_url, told) for told in TELLING]
        out.print(table(COLUMNS, [_row(one) for one in seen]))
        said = next((one for one in seen if one.status == 200), None)
        if said:
            out.print(f"\nAn answer: {_text(said)}", markup=False, soft_wrap=True)
        wrong = [one.told.name for one in seen if not one.as_expected()]
        if wrong:
            out.print(f"NOT as expected: {', '.join(wrong)}", style="bold red", markup=False)
        if not once:
            _invite(app.public_url, app.admin_url)
            asked = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
            await asked.wait()
    return not wrong


async def _with_stand_ins(stack: AsyncExitStack, policy: Policy) -> None:
    """Start a stand-in for every model of the policy and point the policy at them, key included."""
    from router.cli.standins import Model, stand_in  # noqa: PLC0415 - a server's libraries, too

    def models(upstream: str) -> dict[str, Model]:
        return {
            target.model: Model(
                context=target.can.context,
                input=target.can.input,
                thinks=target.can.thinking != "never",
            )
            for target in policy.targets.values()
            if target.upstream == upstream
        }

    own = await stack.enter_async_context(stand_in("vllm", models=models("vllm")))
    paid = await stack.enter_async_context(
        stand_in("dashscope", models=models("dashscope"), key=STAND_IN_KEY)
    )
    os.environ |= {
        "QWEN_OPEN_URL": own.url,
        "QWEN_OPEN_MOE_URL": own.url,
        "DASHSCOPE_BASE_URL": paid.url,
        "DASHSCOPE_API_KEY": STAND_IN_KEY,
    }


def _settings(policies: Path, folder: Path, *, once: bool, real: bool) -> Settings:
    """Return the demo's own settings: without keys it never listens beyond this machine."""
    inherited = Settings()
    return Settings(
        policies=policies,
        keys=None,
        records=folder / "records.jsonl",
        records_stdout=False,
        state=folder / "state",
        auth="off",
        host=LOCALHOST,
        port=0 if once else _free(inherited.port),
        admin_host=LOCALHOST,
        admin_port=0 if once else _free(inherited.admin_port),
        cluster_cidrs=inherited.cluster_cidrs if real else LOOPBACK,
    )


def _free(port: int) -> int:
    """Return the port if nobody listens on it, else 0: any free one."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex((LOCALHOST, port)) == 0 else port


async def _send(client: httpx.AsyncClient, url: str, told: Telling) -> Seen:
    body = {"model": "auto", "messages": [{"role": "user", "content": told.content}]}
    reply = await client.post(f"{url}/v1/chat/completions", json=body, headers=told.headers)
    decision_id = reply.headers.get("x-router-decision-id", "none")
    decision = await client.get(f"{url}/v1/decisions/{decision_id}")
    return Seen(told=told, status=reply.status_code, answer=reply.json(), decision=decision.json())


COLUMNS: Final = ("request", "label", "target", "list price, USD", "reason")


def _row(seen: Seen) -> Sequence[str]:
    finish = seen.decision["finish"]
    cost = finish["cost_usd"]
    return (
        seen.told.name,
        seen.label,
        seen.target or f"refused: {seen.status}",
        f"{Decimal(cost):.6f}" if cost else "-",
        _reason(seen),
    )


def _reason(seen: Seen) -> str:
    decision = seen.decision["decision"]
    because = ", ".join(source["rule"] for source in decision["label"]["because"])
    if seen.refused:
        return f"{seen.refused}; label by {because}; {_removed(decision)}"
    order = decision["order"]
    rule = f"{order['rule']} ({order['at']})" if order["rule"] else "no preference"
    return f"label by {because}; {_removed(decision)}; order by {rule}: {order['objective']}"


def _removed(decision: dict[str, Any]) -> str:
    """Return how many enabled targets each stage removed."""
    counts: dict[str, int] = {}
    for verdict in decision["targets"].values():
        reasons = verdict.get("reasons", [])
        if any(reason["code"] == "disabled" for reason in reasons):
            continue
        for stage in dict.fromkeys(reason["stage"] for reason in reasons):
            counts[stage] = counts.get(stage, 0) + 1
    told = ", ".join(f"{count} by {stage}" for stage, count in counts.items())
    return f"removed {told}" if told else "none removed"


def _text(seen: Seen) -> str:
    return str(seen.answer["choices"][0]["message"]["content"])


def _invite(public_url: str, admin_url: str) -> None:
    out = console()
    out.print("\nIt stays up; try it (Ctrl-C ends it):\n", style="bold")
    out.print(
        f"curl -i {public_url}/v1/chat/completions -H 'content-type: application/json' "
        """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'""",
        markup=False,
        soft_wrap=True,
    )
    out.print(f"\nHealth and metrics: {admin_url}/readyz, {admin_url}/metrics", markup=False)
