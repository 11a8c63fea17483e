"""P1 on the wire: however our own model fails, and whatever the client asks for, nothing leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.gateways import TARGETS, chunk, completion, gateway, user
from tests.scripted import Answer, HangUp, Reset, Send, Stall, scripted

if TYPE_CHECKING:
    from pathlib import Path

DELTA = chunk({"content": "Once "})
FAILURES = {
    "refuses": None,
    "stalls": Answer.raw(Stall()),
    "500": Answer.error(500, {"error": {"message": "no", "type": "server_error"}}),
    "503": Answer.error(503, {}, headers={"Retry-After": "1"}),
    "429": Answer.error(429, {}),
    "401": Answer.error(401, {}),
    "404": Answer.error(404, {}),
    "context": Answer.error(400, {"error": {"message": "maximum context length", "code": 400}}),
    "garbage": Answer.body(200, b"\x00\xff garbage"),
    "redirect": Answer.redirect("http://127.0.0.1:9/"),
    "half a head": Answer.raw(Send(b"HTTP/1.1 200 OK\r\nContent-"), HangUp()),
    "hangs up": Answer.raw(HangUp()),
    "resets": Answer.raw(Reset()),
    "breaks mid-stream": Answer.stream(DELTA, steps=[HangUp()]),
    "errs mid-stream": Answer.stream(DELTA, {"error": {"message": "no", "code": 500}}),
    "stalls mid-stream": Answer.stream(DELTA, steps=[Stall()]),
}
# How a client may ask for the paid model: (fields, headers).
WISHES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "by name": ({"model": "paid"}, {}),
    "alias": ({"model": "best"}, {}),
    "tier": ({}, {"x_router_tier": "premium"}),
    "fallbacks": ({"fallbacks": ["paid"]}, {}),
    "models": ({"models": ["own", "paid"]}, {}),
    "lower label": ({}, {"x_router_sensitivity": "public"}),
    "two labels": ({}, {"X_Router_Sensitivity": "public"}),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_confidential_request_never_reaches_the_paid_model(
    tmp_path: Path, failure: str
) -> None:
    """Whatever our own model does, and whatever the client asks: no connection, not one byte."""
    answer = FAILURES[failure]
    quick = TARGETS.replace("idle_s: 5, total_s: 10", "idle_s: 0.1, total_s: 0.2", 1)
    async with scripted(Answer.json(completion())) as paid, scripted(answer or Answer.raw()) as own:
        url = "http://127.0.0.1:9/v1" if answer is None else own.url
        async with gateway(
            tmp_path, own=url, paid=paid.url, policy={"targets": quick}, auth="on"
        ) as running:
            statuses = []
            for fields, headers in WISHES.values():
                for stream in (False, True):
                    body = user("a secret", **{"stream": stream, **fields})
                    reply = await running.post(body, key="hr", **headers)
                    statuses.append(reply.status_code)
            # The opposite, so that this test can fail: the paid model is there, and allowed.
            allowed = await running.post(user("no secret", model="paid"), key="shop")

        assert allowed.status_code == 200
        assert paid.connections == len(paid.requests) == 1
        assert paid.requests[0].json["messages"][0]["content"] == "no secret"
        assert own.connections >= (0 if answer is None else 1)
        assert statuses[0] == 403
        finished = [r for r in running.records() if r["event"] == "decision.finished"]
        contacted = {a["target"] for r in finished[:-1] for a in r["attempts"] if a["contacted"]}
        assert contacted == {"own"}
