"""Editing the policy and the keys of a gateway that is serving (P4)."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from router.loading import PolicyProblems
from tests.gateways import RULES, chunk, completion, gateway, user, write_policy
from tests.scripted import DONE, Answer, scripted
from tests.serving.clients import Gate, asking, last, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateways import Running

NEVER = RULES.replace("forbid:\n", "forbid:\n  - {id: never, targets: {location: external}}\n")
BAD = RULES.replace("location: external", "location: nowhere", 1)


def loaded(running: Running, **expected: str) -> dict[str, Any] | None:
    """Return the last record of a load if it says what is expected, once it is written."""
    told = last(running, "policy.loaded")
    wanted = {"from" if name == "origin" else name: value for name, value in expected.items()}
    return told if told and wanted.items() <= told.items() else None


def digest(running: Running) -> str:
    """Return the digest in force."""
    return running.app._live.current.policy.digest


async def metrics(running: Running) -> str:
    """Return the metrics' text."""
    return (await running.client.get(f"{running.app.admin_url}/metrics")).text


async def test_an_edit_takes_effect_by_itself(tmp_path: Path) -> None:
    """The folder is watched: a saved edit decides the next requests, and is on record."""
    async with (
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, paid=paid.url) as running,
    ):
        before = await running.post(user("hi", model="paid"))
        old = digest(running)
        (running.policies / "rules.yaml").write_text(NEVER)
        await until(lambda: digest(running) != old)
        after = await running.post(user("hi", model="paid"))

        assert (before.status_code, after.status_code) == (200, 403)
        short = digest(running).removeprefix("sha256:")[:12]
        assert after.headers["x-router-policy"] == short != before.headers["x-router-policy"]
        assert 'router_policy_loads_total{result="loaded"} 2.0' in await metrics(running)
        assert f'router_policy_info{{digest="{digest(running)}"}} 1.0' in await metrics(running)
        told = await until(lambda: loaded(running, previous=old))
        assert (told["digest"], told["from"]) == (digest(running), "folder")


async def test_a_stream_under_way_is_not_touched_by_an_edit(tmp_path: Path) -> None:
    """A reload that forbids a target ends no stream that has begun."""
    gate = Gate()
    begun = Answer.stream(chunk({"content": "Hel"}), steps=())
    rest = b"data: " + json.dumps(chunk({"content": "lo"}, finish="stop")).encode() + b"\n\n"
    rest += b"data: [DONE]\n\n"
    ending = Answer.packets(rest)
    answer = gate.after(begun, then=Answer(ending.steps[1:]))
    async with (
        scripted(answer) as paid,
        gateway(tmp_path, paid=paid.url) as running,
        asking(running.url, user("hi", model="paid", stream=True)) as client,
    ):
        await until(lambda: gate.waiting)
        await client.reader.readuntil(b"Hel")
        (running.policies / "rules.yaml").write_text(NEVER)
        await running.app._live.refresh()
        assert (await running.post(user("hi", model="paid"))).status_code == 403
        gate.open()
        told = await client.reader.readuntil(b"0\r\n\r\n")

        assert b'"lo"' in told
        assert DONE.encode() in told


async def test_a_bad_edit_changes_nothing(tmp_path: Path) -> None:
    """A bad edit is refused with file:line, counted and recorded; the last good one serves on."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        good = digest(running)
        (running.policies / "rules.yaml").write_text(BAD)
        await running.app._live.refresh()
        await running.app._live.refresh()
        served = await running.post(user("hi"))

        assert served.headers["x-router-policy"] == good.removeprefix("sha256:")[:12]
        assert 'router_policy_loads_total{result="rejected"} 1.0' in await metrics(running)
        told = await until(lambda: last(running, "policy.rejected"))
        line = BAD[: BAD.index("nowhere")].count("\n") + 1
        assert told["places"] == [f"{running.policies}/rules.yaml:{line}"]
        assert told["problems"] == 1

        (running.policies / "rules.yaml").write_text(RULES)
        await running.app._live.refresh()

        assert digest(running) == good
        assert 'router_policy_loads_total{result="loaded"} 2.0' in await metrics(running)


async def test_a_file_that_is_gone_is_a_bad_edit(tmp_path: Path) -> None:
    """A policy without one of its listed files is refused, and so is no folder at all."""
    async with gateway(tmp_path) as running:
        good = digest(running)
        (running.policies / "rules.yaml").unlink()
        await running.app._live.refresh()
        shutil.rmtree(running.policies)
        await running.app._live.refresh()
        write_policy(running.policies, rules=NEVER)
        await running.app._live.refresh()
        assert digest(running) != good
        records = await running.settled()

        events = [r["event"] for r in records if r["event"].startswith("policy.")]
        assert events == ["policy.loaded", "policy.rejected", "policy.rejected", "policy.loaded"]


async def test_a_kubernetes_swap_is_an_edit(tmp_path: Path) -> None:
    """A folder whose `..data` link is swapped, as the kubelet does it, is loaded anew."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for name, rules in (("..one", RULES), ("..two", NEVER)):
        write_policy(folder / name, rules=rules)
    (folder / "..data").symlink_to("..one")
    for name in ("policy", "targets", "rules"):
        (folder / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    async with (
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, paid=paid.url) as running,
    ):
        before = await running.post(user("hi", model="paid"))
        old = digest(running)
        (folder / "..data_tmp").symlink_to("..two")
        (folder / "..data_tmp").rename(folder / "..data")
        await until(lambda: digest(running) != old)
        after = await running.post(user("hi", model="paid"))

        assert (before.status_code, after.status_code) == (200, 403)


async def test_a_restart_beside_a_bad_folder_serves_the_last_good(tmp_path: Path) -> None:
    """After a restart with a bad edit in the folder the last good policy serves, and says so."""
    async with gateway(tmp_path) as running:
        good = digest(running)
    (tmp_path / "policies" / "rules.yaml").write_text(BAD)
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        # The variables of the first run are part of the policy that is kept.
        reply = await running.post(user("hi"))
        told = await until(lambda: loaded(running, origin="last_good"))
        ready = await running.client.get(f"{running.app.admin_url}/readyz")

        assert reply.headers["x-router-policy"] == good.removeprefix("sha256:")[:12]
        assert (told["digest"], told["from"]) == (good, "last_good")
        assert last(running, "policy.rejected") is not None
        assert ready.status_code == 200


async def test_a_first_start_with_a_bad_policy_is_none(tmp_path: Path) -> None:
    """With nothing good to fall back on a gateway does not start, and names the place."""
    write_policy(tmp_path / "policies", rules=BAD)

    with pytest.raises(PolicyProblems, match=r"rules\.yaml:\d+: "):
        async with gateway(tmp_path):
            pass


async def test_keys_come_and_go_while_serving(tmp_path: Path) -> None:
    """A key that is added is let in, and one that is removed is not, without a restart."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="on") as running,
    ):
        old, new = "qr-shop-secret", "qr-new-secret"
        sha256 = hashlib.sha256(new.encode()).hexdigest()
        keys = {"apiVersion": "qwen-router/v1", "keys": [{"id": "new", "sha256": sha256}]}
        before = [(await running.post(user("hi"), key=key)).status_code for key in (old, new)]
        (tmp_path / "keys.yaml").write_text(json.dumps(keys))
        await running.app._live.refresh()
        after = [(await running.post(user("hi"), key=key)).status_code for key in (old, new)]

        assert (before, after) == ([200, 401], [401, 200])


async def test_a_revoked_key_is_out_although_the_policy_has_a_bad_edit(tmp_path: Path) -> None:
    """Keys are taken beside a refused policy: revoking waits for nobody's typing error."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="on") as running,
    ):
        good = digest(running)
        (running.policies / "rules.yaml").write_text(BAD)
        await running.app._live.refresh()
        assert (await running.post(user("hi"), key="shop")).status_code == 200
        (tmp_path / "keys.yaml").write_text('{"apiVersion": "qwen-router/v1", "keys": []}')
        await running.app._live.refresh()
        reply = await running.post(user("hi"), key="shop")

        assert reply.status_code == 401
        assert digest(running) == good


async def test_bad_keys_change_nothing_and_are_named(tmp_path: Path) -> None:
    """A keys file that cannot be read leaves the keys in force, and is told with file:line."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="on") as running,
    ):
        (tmp_path / "keys.yaml").write_text("apiVersion: qwen-router/v1\nkeys: [{id: x}]\n")
        await running.app._live.refresh()
        reply = await running.post(user("hi"), key="shop")
        told = await until(lambda: last(running, "policy.rejected"))

        assert reply.status_code == 200
        assert told["places"] == [f"{tmp_path}/keys.yaml:2"]
