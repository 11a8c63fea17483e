"""`keys new`: the secret is shown once, and the entry works as it is printed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from router.loading import load_keys, load_policy
from router.policy.keys import Key
from tests.cli.commands import World
from tests.gateways import gateway, user

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Ran

EVERY = (
    *("--product", "shop", "--team", "t1", "--group", "prod", "--owner", "Ann: the [owner]"),
    *("--min-label", "internal", "--media-label", "confidential", "--tier", "basic"),
    *("--max-tier", "standard", "--model", "auto", "--model", "own", "--may-assert-user"),
    *("--expires-at", "2100-01-01T00:00+08:00"),
)


def _printed(ran: Ran) -> tuple[str, str]:
    """Return the secret and the line for the keys file as a person would copy them."""
    secret = re.search(r"^qr-\S+$", ran.out, re.MULTILINE)
    entry = re.search(r"^ +- \{.*\}$", ran.out, re.MULTILINE)
    assert secret is not None
    assert entry is not None
    return secret[0], entry[0]


def _keys_file(folder: Path, entry: str) -> Path:
    file = folder / "new-keys.yaml"
    file.write_text(f"apiVersion: qwen-router/v1\nkeys:\n{entry}\n", encoding="utf-8")
    return file


def test_every_attribute_of_a_key_has_an_option(world: World) -> None:
    """The printed line loads and gives the key each attribute that was asked for."""
    secret, entry = _printed(world.cli("keys", "new", "--id", "all", *EVERY))
    policy = load_policy(world.policies, world.env).policy
    key = load_keys(_keys_file(world.folder, entry), policy).find(secret, 0.0)

    assert key == Key(
        id="all",
        product="shop",
        team="t1",
        group="prod",
        min_label="internal",
        media_label="confidential",
        tier="basic",
        max_tier="standard",
        models=frozenset({"auto", "own"}),
        may_assert_user=True,
        owner="Ann: the [owner]",
        expires_at=key.expires_at if key else None,
    )
    assert key.expires_at == 4_102_416_000.0


def test_the_secret_is_printed_once_and_kept_nowhere(world: World) -> None:
    """The entry holds the hash only, and no file holds the secret."""
    ran = world.cli("keys", "new", "--id", "k")
    secret, entry = _printed(ran)
    files = [file for file in world.folder.rglob("*") if file.is_file()]

    assert (ran.out + ran.err).count(secret) == 1
    assert secret not in entry
    assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_json_has_both_parts(world: World) -> None:
    """`--json` prints the key and the entry, and nothing else."""
    ran = world.cli("keys", "new", "--id", "k", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert ran.json()["key"].startswith("qr-")
    assert ran.json()["entry"].startswith('- {id: "k"')


def test_two_keys_are_never_the_same(world: World) -> None:
    """Each call makes another secret."""
    made = {world.cli("keys", "new", "--id", "k", "--json").json()["key"] for _ in range(3)}

    assert len(made) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "--id"),
        (("--id", "a b"), 2, "--id must match"),
        (("--id", "k", "--product", "shpo"), 1, 'did you mean "shop"?'),
        (("--id", "k", "--min-label", "intrenal"), 1, 'did you mean "internal"?'),
        (("--id", "k", "--max-tier", "premum"), 1, 'did you mean "premium"?'),
        (("--id", "k", "--model", "atuo"), 1, 'did you mean "auto"?'),
        (("--id", "k", "--expires-at", "tomorrow"), 1, "2026-12-31"),
    ],
)
def test_a_key_that_would_not_load_is_not_made(
    world: World, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """Names are held against the policy where one is named; then no secret is printed."""
    ran = world.cli("keys", "new", *arguments)

    assert ran.code == code
    assert says in ran.err
    assert "qr-" not in ran.out


async def test_a_new_key_opens_a_running_gateway(tmp_path: Path) -> None:
    """Pasted into the keys file as printed, it is let in; before, and another, it is not."""
    async with gateway(tmp_path, auth="on") as running:
        secret, entry = _printed(World(tmp_path).cli("keys", "new", "--id", "fresh"))
        before = await running.post(user("x"), key=secret)
        _keys_file(tmp_path, entry).replace(tmp_path / "keys.yaml")
        await running.app._live.refresh()
        after = await running.post(user("x"), key=secret)
        other = await running.post(user("x"), key=secret + "x")

    # Nobody answers behind the gateway: let in is 503, and not let in is 401.
    assert (before.status_code, after.status_code, other.status_code) == (401, 503, 401)
