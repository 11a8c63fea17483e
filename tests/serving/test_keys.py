"""Who may ask, what a key may ask for, and which decisions it may look up."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.gateways import KEYS, completion, gateway, user
from tests.scripted import Answer, scripted
from tests.serving.clients import assert_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.gateways import Running

PLAIN = user("hello")
SECRETS = {**KEYS, "old": "qr-old-secret", "narrow": "qr-narrow-secret"}


def write_keys(file: Path) -> None:
    """Write the keys of this module: one has expired, one may name two models only."""
    entries: list[dict[str, Any]] = [
        {"id": "shop", "product": "shop", "group": "prod"},
        {"id": "hr", "product": "hr", "group": "prod"},
        {"id": "ci", "product": "shop", "group": "ci", "models": ["auto", "own"]},
        {"id": "old", "product": "shop", "expires_at": "2026-01-01"},
        {"id": "narrow", "models": ["best", "own"]},
    ]
    for entry in entries:
        entry["sha256"] = hashlib.sha256(SECRETS[entry["id"]].encode()).hexdigest()
    file.write_text(json.dumps({"apiVersion": "qwen-router/v1", "keys": entries}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Run one gateway with keys for this module."""
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder / "all-keys.yaml")
    async with (
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
        gateway(
            folder, own=own.url, paid=paid.url, auth="on", keys=folder / "all-keys.yaml"
        ) as served,
    ):
        yield served


GOOD = "Bearer qr-shop-secret"
NOBODY: dict[str, list[str]] = {
    "no key": [],
    "an empty header": [""],
    "a scheme alone": ["Bearer"],
    "an unknown key": ["Bearer qr-shop-secreT"],
    "the beginning of a key": ["Bearer qr-shop-secre"],
    "more than a key": ["Bearer qr-shop-secret2"],
    "the hash of a key": ["Bearer " + hashlib.sha256(b"qr-shop-secret").hexdigest()],
    "the id of a key": ["Bearer shop"],
    "another scheme": ["Basic cXItc2hvcC1zZWNyZXQ6"],
    "no scheme": ["qr-shop-secret"],
    "an expired key": ["Bearer qr-old-secret"],
    "the admin token": ["Bearer admin-token-of-a-test"],
    "two good ones": [GOOD, GOOD],
    "a bad one and a good one": ["Bearer x", GOOD],
    "a good one and a bad one": [GOOD, "Bearer x"],
    "two in one": [f"{GOOD}, {GOOD}"],
    "no ASCII": ["Bearer qr-shop-secr\xe9t"],
}


@pytest.mark.parametrize("name", NOBODY)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/decisions/dec_1"])
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_served_without_one_valid_key(
    running: Running, path: str, name: str
) -> None:
    """Every way of not having exactly one valid key is a 401, on every path."""
    headers = [(b"authorization", value.encode("latin-1")) for value in NOBODY[name]]
    method = "POST" if "chat" in path else "GET"

    reply = await running.client.request(
        method, f"{running.url}{path}", content=json.dumps(PLAIN), headers=headers
    )

    message = assert_error(reply, 401, "authentication_error", "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "secret" not in message


@pytest.mark.parametrize("header", [GOOD, "bearer qr-shop-secret", "BEARER  qr-shop-secret"])
@pytest.mark.asyncio(loop_scope="module")
async def test_the_scheme_is_not_case_sensitive(running: Running, header: str) -> None:
    """RFC 9110, 11.1: a scheme is matched in any case; more than one blank may follow."""
    reply = await running.client.get(f"{running.url}/v1/models", headers={"authorization": header})

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("shop", ["auto", "best", "own-only", "own", "paid"]),
        ("ci", ["auto", "own"]),
        ("narrow", ["best", "own"]),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_sees_the_models_that_it_may_ask_for(
    running: Running, key: str, expected: list[str]
) -> None:
    """The list holds aliases and targets, or what the key's `models` names, each once."""
    secret = SECRETS[key]

    listed = (await running.get("/v1/models", key=secret)).json()

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == expected
    for model in listed["data"]:
        one = await running.get(f"/v1/models/{model['id']}", key=secret)
        assert one.json() == model
        assert model.keys() == {"id", "object", "created", "owned_by"}


@pytest.mark.parametrize("name", ["paid", "own-only", "gpt-9", "..%2Fadmin"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_model_that_the_key_may_not_ask_for_is_not_there(
    running: Running, name: str
) -> None:
    """A target that a key may not name is as unknown to it as one that does not exist."""
    secret = SECRETS["narrow"]

    one = await running.get(f"/v1/models/{name}", key=secret)
    asked = await running.post(PLAIN | {"model": name}, key=secret)

    assert_error(asked, 404, "invalid_request_error", "model_not_found")
    assert one.status_code == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_model_has_one_code_everywhere(running: Running) -> None:
    """Looking up a model that is not there gives the code that asking it gives."""
    reply = await running.get("/v1/models/gpt-9", key="shop")

    assert_error(reply, 404, "invalid_request_error", "model_not_found")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_sees_its_own_decisions_only(running: Running) -> None:
    """A decision is found by the key that it was made for, and is unknown to every other."""
    asked = await running.post(PLAIN, key="shop", x_request_id="order-17")
    decision_id = asked.headers["x-router-decision-id"]

    own = await running.get(f"/v1/decisions/{decision_id}", key="shop")
    others = await running.get(f"/v1/decisions/{decision_id}", key="hr")
    nobodys = await running.get("/v1/decisions/dec_0000000000000", key="shop")

    told = own.json()
    assert told["id"] == decision_id
    assert told["request_id"] == "order-17"
    assert told["outcome"] == "served"
    assert told["decision"]["plan"] == ["own", "paid"]
    assert told["decision"]["targets"].keys() == {"own", "paid"}
    assert told["finish"]["target"] == "own"
    assert told["finish"]["usage"]["output_tokens"] == 5
    message = assert_error(others, 404, "invalid_request_error", "not_found")
    assert message == assert_error(nobodys, 404, "invalid_request_error", "not_found")


@pytest.mark.parametrize("decision_id", ["..%2f..%2fetc", "a%20b", "x" * 65, "%00", "*"])
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_no_id_is_no_decision(running: Running, decision_id: str) -> None:
    """A text that is no id is answered like an unknown id."""
    reply = await running.get(f"/v1/decisions/{decision_id}", key="shop")

    assert_error(reply, 404, "invalid_request_error", "not_found")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_key_with_models_sees_verdicts_of_those_only(running: Running) -> None:
    """What a key may not name is in no part of what it may look up."""
    asked = await running.post(PLAIN | {"model": "own"}, key=SECRETS["narrow"])
    decision_id = asked.headers["x-router-decision-id"]

    told = await running.get(f"/v1/decisions/{decision_id}", key=SECRETS["narrow"])

    assert told.json()["decision"]["targets"].keys() == {"own"}
    assert "paid" not in told.text


async def test_a_decision_is_found_after_a_restart(tmp_path: Path) -> None:
    """A decision is looked up in the records file when no memory of it is left."""
    async with scripted(Answer.json(completion())) as own:
        async with gateway(tmp_path, own=own.url, auth="on") as running:
            asked = await running.post(PLAIN, key="ci")
            path = f"/v1/decisions/{asked.headers['x-router-decision-id']}"
            before = await running.get(path, key="ci")
        async with gateway(tmp_path, own=own.url, auth="on") as running:
            after = await running.get(path, key="ci")
            others = await running.get(path, key="shop")

    assert after.json() == before.json()
    assert after.json()["outcome"] == "served"
    assert after.json()["decision"]["targets"].keys() == {"own"}
    assert others.status_code == 404


async def test_everybody_is_served_where_that_was_said_aloud(tmp_path: Path) -> None:
    """With authentication off a caller needs no key, and one that is sent gives no rights."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="off") as running,
    ):
        without = await running.post(PLAIN)
        with_key = await running.post(PLAIN, key="ci")
        models = await running.get("/v1/models", key="ci")

        assert [without.status_code, with_key.status_code] == [200, 200]
        assert len(models.json()["data"]) == 5
        found = await running.get(f"/v1/decisions/{without.headers['x-router-decision-id']}")
        assert found.json()["outcome"] == "served"


async def test_without_a_keys_file_nobody_is_let_in(tmp_path: Path) -> None:
    """With authentication on and no keys there is nobody to serve."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="on", keys=None) as running,
    ):
        reply = await running.post(PLAIN, key="shop")

        assert reply.status_code == 401
        assert own.requests == []
