"""`suspend`, `resume`, `switch`, `status` against a running gateway, and against none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands import World
from tests.gateways import ADMIN_TOKEN
from tests.scripted import Answer, scripted
from tests.serving.processes import process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Ran

NOBODY = "http://127.0.0.1:9"
COMMANDS = (("status",), ("suspend", "paid"), ("resume", "paid"), ("switch", "all_home", "on"))


async def test_the_stop_buttons_of_a_running_gateway(tmp_path: Path) -> None:
    """Each answers with what is stopped now; unknown names and wrong tokens change nothing."""
    async with process(tmp_path) as serving:
        await serving.ready()
        world = World(tmp_path)

        async def asked(*arguments: str, token: str = ADMIN_TOKEN, **variables: str) -> Ran:
            by = {"ROUTER_ADMIN_URL": serving.admin_url, "ROUTER_ADMIN_TOKEN": token, **variables}
            return await asyncio.to_thread(world.cli, *arguments, **by)

        async def told(*arguments: str) -> Any:
            return (await asked(*arguments, "--json")).json()

        assert (await told("status"))["suspended"] == []
        assert (await told("suspend", "paid"))["suspended"] == ["paid"]
        assert (await told("resume", "paid"))["suspended"] == []
        assert (await told("switch", "all_home", "on"))["switches_on"] == ["all_home"]
        assert (await told("switch", "all_home", "off"))["switches_on"] == []
        shown = await asked("status")
        assert shown.code == 0
        assert "own, paid" in shown.out
        assert "\x1b[" not in shown.out
        for wrong in (("suspend", "piad"), ("switch", "all_hom", "on"), ("suspend", "../status")):
            ran = await asked(*wrong)
            assert (ran.code, ran.out) == (2, "")
        assert "own, paid" in (await asked("suspend", "piad")).err
        forbidden = await asked("suspend", "paid", token="wrong")
        assert (forbidden.code, forbidden.out) == (2, "")
        assert "admin token" in forbidden.err
        assert (await asked("switch", "all_home", "maybe")).code == 2
        # A proxy of the environment would be sent the admin token.
        proxied = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), NOBODY)
        assert (await asked("status", **proxied)).code == 0
        port = serving.admin_url.rpartition(":")[2]
        by_port = {"ROUTER_ADMIN_URL": "", "ROUTER_ADMIN_PORT": port}
        assert (await asked("status", **by_port)).code == 0
        assert (await told("status"))["suspended"] == []


async def test_the_token_of_the_state_folder_is_found(tmp_path: Path) -> None:
    """Without a token in the variables the one that the gateway made is used."""
    async with process(tmp_path, admin_token="") as serving:
        await serving.ready()
        world = World(tmp_path)
        by = {"ROUTER_ADMIN_URL": serving.admin_url}
        ran = await asyncio.to_thread(world.cli, "status", **by)

    assert ran.code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_no_gateway_is_told_with_what_to_do(world: World, command: tuple[str, ...]) -> None:
    """Nobody at the address: exit code 2, the address and the option that sets it."""
    ran = world.cli(*command, "--admin-url", NOBODY, ROUTER_ADMIN_TOKEN="t")
    told = world.cli(*command, "--json", ROUTER_ADMIN_TOKEN="t", ROUTER_ADMIN_URL="nonsense")

    assert (ran.code, ran.out, told.code) == (2, "", 2)
    assert NOBODY in ran.err
    assert "--admin-url" in ran.err
    assert told.json()["error"]["message"] in told.err


def test_no_token_is_told_with_what_to_do(world: World) -> None:
    """Without a token nothing is asked: exit code 2, and both places for one."""
    ran = world.cli("status", "--admin-url", NOBODY)

    assert ran.code == 2
    assert "ROUTER_ADMIN_TOKEN" in ran.err
    assert "--state" in ran.err


async def test_another_server_is_not_taken_for_a_gateway(world: World) -> None:
    """What is no admin port is told as such, whatever it answers."""
    async with scripted(Answer.json([1]), Answer.json({"error": "x"})) as server:
        by = {"ROUTER_ADMIN_URL": server.url, "ROUTER_ADMIN_TOKEN": "t"}
        ran = await asyncio.to_thread(world.cli, "status", **by)

    assert ran.code == 2
    assert "no gateway's admin port" in ran.err
