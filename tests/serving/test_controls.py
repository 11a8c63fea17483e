"""The stop buttons of a running gateway: they act at once, are recorded, and only ever narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
import pytest_asyncio

from tests.gateways import completion, gateway, user
from tests.scripted import Answer, scripted
from tests.serving.clients import assert_error, last, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Running
    from tests.scripted import Scripted

FULL = Path("/dev/full")
CALLS = [
    ("GET", "/admin/status"),
    ("POST", "/admin/explain"),
    ("POST", "/admin/suspend/paid"),
    ("POST", "/admin/resume/paid"),
    ("POST", "/admin/switch/all_home/on"),
    ("POST", "/admin/switch/all_home/off"),
]


class Served(NamedTuple):
    """The gateway that most tests share, and its two upstreams."""

    gateway: Running
    own: Scripted
    paid: Scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Run one gateway for all tests that leave it as it was."""
    async with (
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path_factory.mktemp("controls"), own=own.url, paid=paid.url) as running,
    ):
        yield Served(running, own, paid)


@pytest_asyncio.fixture(loop_scope="module")
async def served(everything: Served) -> Served:
    """Give back what the test before has stopped."""
    for path in ("resume/own", "resume/paid", "switch/all_home/off"):
        await press(everything.gateway, path)
    for server in (everything.own, everything.paid):
        server.requests.clear()
    return everything


async def press(running: Running, path: str) -> Any:
    """Press a button; return the status that it answers."""
    reply = await running.admin("POST", f"/admin/{path}")
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_suspension_holds_until_it_is_taken_back(served: Served) -> None:
    """A suspended target is not contacted, not even by name; after a resume it is."""
    running, _own, paid = served
    await press(running, "suspend/paid")
    by_name = await running.post(user("hi", model="paid"))
    by_tier = await running.post(user("hi", model="best"))
    assert paid.requests == []
    await press(running, "resume/paid")
    again = await running.post(user("hi", model="paid"))

    assert_error(by_name, 503, "server_error", "no_capacity")
    assert 0 < int(by_name.headers["retry-after"]) <= 60
    assert by_tier.headers["x-router-target"] == "own"
    assert again.headers["x-router-target"] == "paid"
    changes = await until(lambda: [r for r in running.records() if r["event"] == "control.changed"])
    assert [(r["action"], r["name"]) for r in changes[-2:]] == [
        ("suspend", "paid"),
        ("resume", "paid"),
    ]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_switch_forbids_while_it_is_on(served: Served) -> None:
    """A switch that is on makes its rule fire, in the decision's account too."""
    running, _own, paid = served
    on = await press(running, "switch/all_home/on")
    refused = await running.post(user("hi", model="paid"))
    assert paid.requests == []
    off = await press(running, "switch/all_home/off")
    again = await running.post(user("hi", model="paid"))

    assert (on["switches_on"], off["switches_on"]) == (["all_home"], [])
    assert_error(refused, 403, "permission_error", "policy_refused")
    assert again.status_code == 200


async def test_what_is_stopped_stays_stopped_over_a_restart(tmp_path: Path) -> None:
    """Suspensions and switches are there again before a restarted gateway serves."""
    async with gateway(tmp_path) as running:
        await press(running, "suspend/paid")
        await press(running, "suspend/own")
        await press(running, "switch/all_home/on")
        await press(running, "resume/own")
    async with (
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, paid=paid.url) as running,
    ):
        status = (await running.admin("GET", "/admin/status")).json()
        reply = await running.post(user("hi", model="paid"))
        metrics = (await running.client.get(f"{running.app.admin_url}/metrics")).text

        assert (status["suspended"], status["switches_on"]) == (["paid"], ["all_home"])
        assert reply.status_code == 403
        assert paid.connections == 0
        assert 'router_controls{kind="suspended",name="paid"} 1.0' in metrics
        assert 'router_controls{kind="switch",name="all_home"} 1.0' in metrics


async def test_what_gives_back_is_recorded_first(tmp_path: Path) -> None:
    """While nothing can be recorded a stop acts, and what it stopped stays stopped."""
    records = tmp_path / "records.jsonl"
    records.symlink_to(FULL)
    async with gateway(tmp_path) as running:
        for path in ("suspend/own", "switch/all_home/on"):
            await press(running, path)
        resumed = await running.admin("POST", "/admin/resume/own")
        switched = await running.admin("POST", "/admin/switch/all_home/off")
        status = (await running.admin("GET", "/admin/status")).json()

        assert_error(resumed, 503, "server_error", "no_capacity")
        assert_error(switched, 503, "server_error", "no_capacity")
        assert (status["suspended"], status["switches_on"]) == (["own"], ["all_home"])
        records.unlink()
        await until(lambda: running.app._writer.can_write)
        assert (await press(running, "resume/own"))["suspended"] == []
        told = last(running, "control.changed")
        assert told is not None
        assert (told["action"], told["name"]) == ("resume", "own")


async def test_what_cannot_be_kept_acts_and_is_not_given_back(tmp_path: Path) -> None:
    """With a state folder that takes no file a stop still acts; giving back is refused."""
    async with gateway(tmp_path) as running:
        (tmp_path / "state" / "controls.new").mkdir()
        await press(running, "suspend/paid")
        resumed = await running.admin("POST", "/admin/resume/paid")
        reply = await running.post(user("hi", model="paid"))

        assert_error(resumed, 503, "server_error", "no_capacity")
        assert reply.status_code == 503


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"suspended":[],"switches":[],"x":1}'])
async def test_a_gateway_that_forgot_what_is_stopped_does_not_start(
    tmp_path: Path, content: bytes
) -> None:
    """A damaged file of controls stops the start: a forgotten suspension would not be safe."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "controls.json").write_bytes(content)

    with pytest.raises(msgspec.DecodeError):
        async with gateway(tmp_path):
            pass


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "path", ["suspend/nobody", "resume/nobody", "switch/nothing/on", "switch/nothing/off"]
)
async def test_an_unknown_name_is_not_there(served: Served, path: str) -> None:
    """A name that the policy does not have is a 404 and changes nothing."""
    running, _own, _paid = served
    reply = await running.admin("POST", f"/admin/{path}")
    odd = await running.admin("POST", "/admin/switch/all_home/maybe")

    assert_error(reply, 404, "invalid_request_error", "not_found")
    assert_error(odd, 400, "invalid_request_error", "invalid_request")
    status = (await running.admin("GET", "/admin/status")).json()
    assert (status["suspended"], status["switches_on"]) == ([], [])


async def test_a_suspended_target_that_left_the_policy_can_be_resumed(tmp_path: Path) -> None:
    """What is held by name can be given back although the policy no longer knows the name."""
    (tmp_path / "state").mkdir()
    held = b'{"suspended":["gone"],"switches":["gone_too"]}'
    (tmp_path / "state" / "controls.json").write_bytes(held)
    async with gateway(tmp_path) as running:
        await press(running, "resume/gone")
        status = await press(running, "switch/gone_too/off")

        assert (status["suspended"], status["switches_on"]) == ([], [])


@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_changes_without_the_admin_token(served: Served) -> None:
    """Every admin call needs the token, whole and as a bearer; health and metrics do not."""
    wrong: list[list[tuple[bytes, bytes]]] = [
        [],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Bearer admin-token-of-a-tes")],
        [(b"authorization", b"admin-token-of-a-test")],
        [(b"authorization", b"Bearer qr-shop-secret")],
        [(b"authorization", b"Bearer \xe9")],
    ]
    running, _own, _paid = served
    for method, path in CALLS:
        for headers in wrong:
            reply = await running.client.request(
                method, f"{running.app.admin_url}{path}", headers=headers, json={}
            )
            assert_error(reply, 403, "permission_error", "admin_forbidden")
    status = (await running.admin("GET", "/admin/status")).json()
    assert (status["suspended"], status["switches_on"]) == ([], [])
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        assert (await running.client.get(f"{running.app.admin_url}{path}")).status_code == 200


@pytest.mark.asyncio(loop_scope="module")
async def test_the_admin_port_answers_no_chat(served: Served) -> None:
    """The two ports share nothing."""
    running, _own, _paid = served
    reply = await running.admin("POST", "/v1/chat/completions", json=user("hi"))

    assert_error(reply, 404, "invalid_request_error", "not_found")


@pytest.mark.asyncio(loop_scope="module")
async def test_explain_on_the_admin_port_sees_what_is_stopped(served: Served) -> None:
    """Explaining uses the live policy and the live controls, and sends nothing."""
    running, own, _paid = served
    before = _decisions(running)
    await press(running, "suspend/paid")
    reply = await running.admin("POST", "/admin/explain?why_not=paid", json=user("hi"))

    told = reply.json()
    assert told["plan"] == ["own"]
    assert told["targets"]["paid"]["reasons"][0]["code"] == "suspended"
    assert told["why_not"]["changes"]
    assert own.requests == []
    await press(running, "resume/paid")  # which returns when it, and all before it, is written
    assert _decisions(running) == before


def _decisions(running: Running) -> int:
    return sum(record["event"] == "decision.made" for record in running.records())
