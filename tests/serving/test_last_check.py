"""The last check: what was removed since the decision is not contacted (P1).

In each test the first target of a plan holds its answer back; meanwhile something changes; then the
first target fails, and the second one of the plan must not be contacted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import pytest_asyncio

from tests.gateways import RULES, TARGETS, completion, gateway, user, write_policy
from tests.scripted import Answer, scripted
from tests.serving.clients import Gate, assert_error, finished, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from tests.gateways import Running
    from tests.scripted import Scripted

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "qr-a-key"


def write_keys(file: Path, **attributes: Any) -> None:
    """Write a keys file with one key, or with another one where `id` is."""
    sha256 = hashlib.sha256(SECRET.encode()).hexdigest()
    entry = {"id": "shop", "product": "shop", "sha256": sha256} | attributes
    file.write_text(json.dumps({"apiVersion": "qwen-router/v1", "keys": [entry]}))


async def suspend(running: Running, _: Scripted) -> None:
    """Suspend the second target."""
    reply = await running.admin("POST", "/admin/suspend/paid")
    assert reply.json()["suspended"] == ["paid"]


async def switch(running: Running, _: Scripted) -> None:
    """Turn on the switch that keeps everything home."""
    reply = await running.admin("POST", "/admin/switch/all_home/on")
    assert reply.json()["switches_on"] == ["all_home"]


async def forbid(running: Running, _: Scripted) -> None:
    """Load a policy that forbids external targets."""
    rule = "forbid:\n  - {id: never, targets: {location: external}}\n"
    await edit(running, "rules", RULES.replace("forbid:\n", rule))


async def lower_clearance(running: Running, _: Scripted) -> None:
    """Load a policy under which the second target may see less."""
    await edit(running, "targets", TARGETS.replace("clearance: internal", "clearance: public"))


async def raise_label(running: Running, _: Scripted) -> None:
    """Load a policy that labels the very request higher."""
    rule = "raise:\n  - {id: all, to: confidential}\n"
    await edit(running, "rules", RULES.replace("raise:\n", rule))


async def disable(running: Running, _: Scripted) -> None:
    """Load a policy in which the second target is disabled."""
    disabled = "\n  paid:\n    enabled: false\n    disabled_reason: too dear\n"
    await edit(running, "targets", TARGETS.replace("\n  paid:\n", disabled))


async def move(running: Running, elsewhere: Scripted) -> None:
    """Load a policy in which the second target has another address."""
    await edit(running, "targets", TARGETS.replace("${PAID}", elsewhere.url))


async def remove(running: Running, _: Scripted) -> None:
    """Load a policy without the second target."""
    await edit(running, "targets", TARGETS.replace("\n  paid:\n", "\n  dear:\n"))


async def revoke(running: Running, _: Scripted) -> None:
    """Revoke the caller's key."""
    write_keys(running.folder / "own-keys.yaml", id="another")
    await running.app._live.refresh()


async def revoke_beside_a_bad_edit(running: Running, _: Scripted) -> None:
    """Revoke the caller's key while the policy folder holds a bad edit."""
    write_keys(running.folder / "own-keys.yaml", id="another")
    (running.policies / "rules.yaml").write_text("nonsense: [")
    await running.app._live.refresh()


async def expire(running: Running, _: Scripted) -> None:
    """Let the caller's key end, by an edit."""
    write_keys(running.folder / "own-keys.yaml", expires_at="2026-01-01")
    await running.app._live.refresh()


async def regroup(running: Running, _: Scripted) -> None:
    """Move the caller's key to the group that never pays."""
    write_keys(running.folder / "own-keys.yaml", group="ci")
    await running.app._live.refresh()


async def restrict(running: Running, _: Scripted) -> None:
    """Raise the least label of the caller's key."""
    write_keys(running.folder / "own-keys.yaml", min_label="confidential")
    await running.app._live.refresh()


async def edit(running: Running, name: str, text: str) -> None:
    """Change a policy file and have it looked at."""
    before = running.app._live.current.policy.digest
    (running.policies / f"{name}.yaml").write_text(text, encoding="utf-8")
    await running.app._live.refresh()
    assert running.app._live.current.policy.digest != before


CHANGES = [
    suspend,
    switch,
    forbid,
    lower_clearance,
    raise_label,
    disable,
    move,
    remove,
    revoke,
    revoke_beside_a_bad_edit,
    expire,
    regroup,
    restrict,
]


class Served(NamedTuple):
    """The gateway of this module, its two upstreams, and an address that no plan knows."""

    gateway: Running
    own: Scripted
    paid: Scripted
    elsewhere: Scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Run one gateway for all tests of this module."""
    folder = tmp_path_factory.mktemp("last-check")
    keys = folder / "own-keys.yaml"
    write_keys(keys)
    answer = Answer.json(completion())
    async with (
        scripted(answer) as own,
        scripted(answer) as paid,
        scripted(answer) as elsewhere,
        gateway(folder, own=own.url, paid=paid.url, auth="on", keys=keys) as running,
    ):
        yield Served(running, own, paid, elsewhere)


@pytest_asyncio.fixture(loop_scope="module")
async def served(everything: Served) -> Served:
    """Put back what the test before has changed."""
    running = everything.gateway
    write_policy(running.policies)
    write_keys(running.folder / "own-keys.yaml")
    await running.app._live.refresh()
    for path in ("resume/paid", "resume/own", "switch/all_home/off"):
        assert (await running.admin("POST", f"/admin/{path}")).status_code == 200
    return everything


async def walked(
    served: Served, change: Callable[[Running, Scripted], Awaitable[None]], *, stream: bool = False
) -> tuple[httpx.Response, list[Any]]:
    """Ask, change while the first target is called, let it fail; return the answer and attempts.

    The second target has been called before, so a kept connection to it is at hand.
    """
    running, own, paid, elsewhere = served
    gate = Gate()
    own.script = [gate.before(Answer.error(503, {}))]
    before = await running.post(user("hi", model="paid"), key=SECRET)
    assert before.status_code == 200
    paid.requests.clear()
    asked = asyncio.create_task(running.post(user("hi", stream=stream), key=SECRET))
    await until(lambda: gate.waiting)
    await change(running, elsewhere)
    gate.open()
    reply = await asked
    end = await finished(running, reply.headers["x-router-decision-id"])
    assert elsewhere.connections == 0
    assert len(paid.requests) == (reply.status_code == 200)
    return reply, end["attempts"]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_removed_since_the_decision_is_not_contacted(
    served: Served, change: Callable[[Running, Scripted], Awaitable[None]]
) -> None:
    """A change that acts against the second target of a plan under way keeps it from being called.

    The caller is told to try again, and the record says that the target was removed.
    """
    reply, attempts = await walked(served, change)

    assert_error(reply, 503, "server_error", "no_capacity")
    assert 0 < int(reply.headers["retry-after"]) <= 60
    assert [(a["target"], a["fault"], a["contacted"]) for a in attempts] == [
        ("own", "full", True),
        ("paid", "removed", False),
    ]


async def test_a_stream_is_checked_as_well(served: Served) -> None:
    """The last check stands before a stream, too."""
    reply, attempts = await walked(served, suspend, stream=True)

    assert_error(reply, 503, "server_error", "no_capacity")
    assert [attempt["fault"] for attempt in attempts] == ["full", "removed"]


async def test_a_key_that_ends_under_way_is_checked_as_well(served: Served) -> None:
    """A key that expires between the decision and the next connect sends nothing any more."""
    ends_at = time.time() + 2
    ends = datetime.fromtimestamp(ends_at, UTC).isoformat()
    write_keys(served.gateway.folder / "own-keys.yaml", expires_at=ends)
    await served.gateway.app._live.refresh()

    async def wait(_: Running, __: Scripted) -> None:
        await asyncio.sleep(max(ends_at - time.time(), 0) + 0.01)

    reply, attempts = await walked(served, wait)

    assert reply.status_code == 503
    assert [attempt["fault"] for attempt in attempts] == ["full", "removed"]


async def change_something_else(running: Running, _: Scripted) -> None:
    """Change controls and policy in ways that do not concern the request."""
    await running.admin("POST", "/admin/suspend/own")
    await running.admin("POST", "/admin/resume/own")
    await edit(running, "rules", RULES.replace("id: ci-never-pays", "id: ci-pays-never"))


async def test_a_change_that_does_not_concern_a_request_does_not_stop_it(served: Served) -> None:
    """A plan goes on where the newest policy, keys and switches still allow its next target."""
    reply, attempts = await walked(served, change_something_else)

    assert reply.headers["x-router-target"] == "paid"
    assert [attempt["fault"] for attempt in attempts] == ["full", None]


async def test_a_reload_never_lengthens_a_plan(served: Served) -> None:
    """A target that becomes eligible under way is not added to a plan that was made without it."""
    running, own, paid, _ = served
    gate = Gate()
    own.script = [gate.before(Answer.error(503, {}))]
    paid.requests.clear()
    await running.admin("POST", "/admin/suspend/paid")
    asked = asyncio.create_task(running.post(user("hi"), key=SECRET))
    await until(lambda: gate.waiting)
    await running.admin("POST", "/admin/resume/paid")
    gate.open()
    reply = await asked

    assert reply.status_code == 503
    assert paid.requests == []
