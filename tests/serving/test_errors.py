"""The error table of the endpoint: status, type, code, param and headers, row by row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import pytest_asyncio

from tests.gateways import RULES, completion, gateway, user
from tests.scripted import Answer, scripted
from tests.serving.clients import MOODY, assert_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = "invalid_request_error"
MOST = 100_000


class Served(NamedTuple):
    """The gateway of this module, and how many requests its two upstreams have had."""

    gateway: Running
    contacts: Any


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Run one gateway for all rows: no row changes anything that the next one sees."""
    rules = RULES.replace("\nforbid:\n", MOODY)
    async with (
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
        gateway(
            tmp_path_factory.mktemp("errors"),
            own=own.url,
            paid=paid.url,
            auth="on",
            policy={"rules": rules},
            max_body_bytes=MOST,
        ) as running,
    ):
        yield Served(running, lambda: len(own.requests) + len(paid.requests))


def part(**content: Any) -> dict[str, Any]:
    """Return a request with one content part."""
    return user([content])


class Row(NamedTuple):
    """One way of asking wrongly, and the answer."""

    body: Any
    status: int
    kind: str
    code: str
    param: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - a table's row


PLAIN = user("hello")
# Rows that are refused before there is a decision.
MALFORMED = {
    "no JSON": Row(b"{", 400, INVALID, "invalid_request"),
    "nothing": Row(b"", 400, INVALID, "invalid_request"),
    "not UTF-8": Row(b'{"model": "\xff"}', 400, INVALID, "invalid_request"),
    "half a surrogate": Row(
        b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}',
        400,
        INVALID,
        "invalid_request",
    ),
    "a list": Row(b"[]", 400, INVALID, "invalid_request"),
    "a number": Row(b"3", 400, INVALID, "invalid_request"),
    "NaN": Row(
        json.dumps(PLAIN | {"temperature": float("nan")}).encode(), 400, INVALID, "invalid_request"
    ),
    "deeper than anybody means": Row(b"[" * 50_000, 400, INVALID, "invalid_request"),
    "a duplicate key": Row(
        b'{"model":"auto","model":"own","messages":[{"role":"user","content":"x"}]}',
        400,
        INVALID,
        "invalid_request",
    ),
    "a duplicate key deep inside": Row(
        b'{"model":"auto","messages":[{"role":"user","content":"x","content":"y"}]}',
        400,
        INVALID,
        "invalid_request",
    ),
    "no model": Row({"messages": PLAIN["messages"]}, 400, INVALID, "invalid_request"),
    "no messages": Row({"model": "auto"}, 400, INVALID, "invalid_request"),
    "empty messages": Row(
        {"model": "auto", "messages": []}, 400, INVALID, "invalid_request", "messages"
    ),
    "messages are no list": Row(
        {"model": "auto", "messages": "hi"}, 400, INVALID, "invalid_request", "messages"
    ),
    "the model is a number": Row(PLAIN | {"model": 3}, 400, INVALID, "invalid_request", "model"),
    "temperature is a text": Row(
        PLAIN | {"temperature": "hot"}, 400, INVALID, "invalid_request", "temperature"
    ),
    "stream is a text": Row(PLAIN | {"stream": "yes"}, 400, INVALID, "invalid_request", "stream"),
    "max_tokens is a fraction": Row(
        PLAIN | {"max_tokens": 1.5}, 400, INVALID, "invalid_request", "max_tokens"
    ),
    "no tokens": Row(
        PLAIN | {"max_tokens": 0}, 400, INVALID, "invalid_request", "max_completion_tokens"
    ),
    "content is a number": Row(user(5), 400, INVALID, "invalid_request", "messages[0].content"),
    "a role of nobody": Row(
        {"model": "auto", "messages": [{"role": "root", "content": "x"}]},
        400,
        INVALID,
        "invalid_request",
        "messages[0].role",
    ),
    "a part without a type": Row(
        part(text="x"), 400, INVALID, "invalid_request", "messages[0].content[0].type"
    ),
    "stream options of no stream": Row(
        PLAIN | {"stream_options": {"include_usage": True}},
        400,
        INVALID,
        "invalid_request",
        "stream_options",
    ),
    "a response format of nobody": Row(
        PLAIN | {"response_format": {"type": "xml"}},
        400,
        INVALID,
        "invalid_request",
        "response_format.type",
    ),
    "thinking on and off": Row(
        PLAIN | {"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}},
        400,
        INVALID,
        "invalid_request",
        "enable_thinking",
    ),
    **{
        f"steering by {knob}": Row(PLAIN | {knob: value}, 400, INVALID, "invalid_request", knob)
        for knob, value in {
            "fallbacks": ["paid"],
            "api_base": "http://elsewhere/",
            "base_url": "http://elsewhere/",
            "api_key": "sk",
            "mock_response": "hi",
            "models": ["paid"],
            "extra_body": {"fallbacks": []},
            "extra_headers": {},
            "guardrails": [],
            "no-log": True,
            "provider": {"order": ["x"]},
        }.items()
    },
    "a label that is none": Row(
        PLAIN,
        400,
        INVALID,
        "invalid_request",
        "x-router-sensitivity",
        {"x-router-sensitivity": "secret"},
    ),
    "a tier that is none": Row(
        PLAIN, 400, INVALID, "invalid_request", "x-router-tier", {"x-router-tier": "gold"}
    ),
    "declared too large": Row(b" " * (MOST + 1), 413, INVALID, "request_too_large"),
}
# Rows that are refused by a decision.
DECIDED = {
    "a label above every clearance": Row(
        PLAIN | {"model": "paid"},
        403,
        "permission_error",
        "policy_refused",
        None,
        {"x-router-sensitivity": "confidential"},
    ),
    "a forbid": Row(
        PLAIN, 403, "permission_error", "policy_refused", None, {"x-router-team-mood": "bad"}
    ),
    "a modality": Row(
        part(type="input_audio", input_audio={"data": "UklGRg==", "format": "wav"}),
        400,
        INVALID,
        "unsupported_capability",
    ),
    "remote media": Row(
        part(type="image_url", image_url={"url": "http://elsewhere/a.png"}),
        400,
        INVALID,
        "unsupported_capability",
    ),
    "a part of no known kind": Row(
        part(type="hologram", hologram="x"), 400, INVALID, "unsupported_capability"
    ),
    "a field that nothing takes": Row(
        PLAIN | {"enable_search": True}, 400, INVALID, "unsupported_capability"
    ),
    "a feature": Row(
        PLAIN | {"model": "paid", "tool_choice": "required", "tools": [{"type": "function"}]},
        400,
        INVALID,
        "unsupported_capability",
    ),
    "longer than every context": Row(
        PLAIN | {"max_tokens": 5_000_000}, 400, INVALID, "context_length_exceeded"
    ),
    "no such model": Row(PLAIN | {"model": "gpt-9"}, 404, INVALID, "model_not_found"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_answered_with_what_is_wrong(
    served: Served, name: str
) -> None:
    """Every malformed request is answered in OpenAI's shape, and reaches no upstream."""
    row, before = MALFORMED[name], served.contacts()

    reply = await served.gateway.post(row.body, key="shop", **row.headers)

    assert_error(reply, row.status, row.kind, row.code, row.param)
    assert "x-should-retry" not in reply.headers
    assert "x-router-decision-id" not in reply.headers
    assert served.contacts() == before


@pytest.mark.parametrize("name", DECIDED)
async def test_a_refused_request_is_answered_with_its_decision(served: Served, name: str) -> None:
    """Every refusal names its code and its decision, and reaches no upstream."""
    row, before = DECIDED[name], served.contacts()

    reply = await served.gateway.post(row.body, key="shop", **row.headers)

    message = assert_error(reply, row.status, row.kind, row.code, row.param)
    decision_id = reply.headers["x-router-decision-id"]
    assert decision_id in message
    found = await looked_up(served.gateway, decision_id)
    assert (found["outcome"], found["decision"]["plan"]) == ("refused", [])
    assert found["finish"]["http_status"] == row.status
    assert served.contacts() == before


async def looked_up(running: Running, decision_id: str, key: str = "shop") -> Any:
    """Return a decision as its caller sees it."""
    reply = await running.get(f"/v1/decisions/{decision_id}", key=key)
    assert reply.status_code == 200
    return reply.json()


async def test_a_refusal_says_the_rules_message_and_no_target(served: Served) -> None:
    """A forbid with a message is answered with it; target names are in no refusal."""
    moody = await served.gateway.post(PLAIN, key="shop", x_router_team_mood="bad")
    audio = await served.gateway.post(DECIDED["a modality"].body, key="shop")

    assert moody.json()["error"]["message"].startswith("Cheer up.")
    assert "input audio" in audio.json()["error"]["message"]
    for reply in (moody, audio):
        assert "own" not in reply.json()["error"]["message"].split()
        assert "paid" not in reply.text


async def test_a_body_that_grows_too_large_is_stopped(served: Served) -> None:
    """A chunked body, whose length nobody declares, is refused as soon as it is too large."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (MOST // 10)

    running = served.gateway
    reply = await running.client.post(
        f"{running.url}/v1/chat/completions",
        content=endless(),
        headers={"authorization": "Bearer qr-shop-secret"},
    )

    assert_error(reply, 413, INVALID, "request_too_large")


async def test_a_chunked_body_is_a_body(served: Served) -> None:
    """A body in chunks is answered like any other."""

    async def pieces() -> AsyncIterator[bytes]:
        raw = json.dumps(PLAIN).encode()
        yield raw[:20]
        yield raw[20:]

    running = served.gateway
    reply = await running.client.post(
        f"{running.url}/v1/chat/completions",
        content=pieces(),
        headers={"authorization": "Bearer qr-shop-secret"},
    )

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("PUT", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/decisions/dec_1", 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("POST", "//v1/chat/completions", 404, "not_found"),
        ("POST", "/v1/completions", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/metrics", 404, "not_found"),
        ("GET", "/readyz", 404, "not_found"),
        ("GET", "/admin/status", 404, "not_found"),
        ("POST", "/admin/suspend/paid", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
async def test_a_path_or_method_that_is_not_there(
    served: Served, method: str, path: str, status: int, code: str
) -> None:
    """Unknown paths are 404, wrong methods 405 with what is allowed, nothing of admin is public."""
    running = served.gateway

    reply = await running.client.request(
        method,
        f"{running.url}{path}",
        headers={"authorization": "Bearer qr-shop-secret", "x-request-id": "mine-1"},
    )

    assert_error(reply, status, INVALID, code)
    assert reply.headers["x-request-id"] == "mine-1"
    if status == 405:
        assert reply.headers["allow"] in {"POST", "GET"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/nowhere"])
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("order-17.a_b", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("with space", False),
        ("canary@example.com", False),
        ("", False),
    ],
)
async def test_a_request_id_is_kept_if_it_is_well_formed(
    served: Served, path: str, sent: str, kept: bool
) -> None:
    """Every answer carries a request id: the client's if it is well formed, else one of ours."""
    running = served.gateway
    method = "POST" if "chat" in path else "GET"

    reply = await running.client.request(
        method,
        f"{running.url}{path}",
        content=json.dumps(PLAIN),
        headers={"authorization": "Bearer qr-shop-secret", "x-request-id": sent},
    )

    given = reply.headers["x-request-id"]
    assert (given == sent) is kept
    assert kept or (given.startswith("req_") and len(given) == 28)


async def test_two_requests_have_two_ids(served: Served) -> None:
    """Our own request ids differ from request to request."""
    one = await served.gateway.post(PLAIN, key="shop")
    two = await served.gateway.post(PLAIN, key="shop")

    assert one.headers["x-request-id"] != two.headers["x-request-id"]
    assert one.headers["x-router-decision-id"] != two.headers["x-router-decision-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8081"},
        {"host": "localhost/admin/status?x="},
        {"host": "paid"},
        {"x-forwarded-host": "admin", "x-forwarded-for": "127.0.0.1", "forwarded": "host=a"},
        {"x-original-url": "/admin/status", "x-rewrite-url": "/admin/status"},
        {"x-http-method-override": "GET"},
    ],
)
async def test_no_header_changes_where_a_request_arrives(
    served: Served, headers: dict[str, str]
) -> None:
    """Host and forwarding headers change neither the route nor the need for a key."""
    running = served.gateway
    allowed = {"authorization": "Bearer qr-shop-secret"}

    with_key = await running.client.get(f"{running.url}/v1/models", headers=headers | allowed)
    without = await running.client.get(f"{running.url}/v1/models", headers=headers)
    admin = await running.client.get(f"{running.url}/admin/status", headers=headers | allowed)

    assert with_key.json()["object"] == "list"
    assert (without.status_code, admin.status_code) == (401, 404)
