"""Golden records and golden errors: reviewed as diffs, so that neither changes unseen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.gateways import chunk, completion, gateway, user
from tests.promises.goldens import FOLDER, compared
from tests.promises.leaving import left
from tests.scripted import Answer, HangUp, Scripted, scripted

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.gateways import Running

SHORT = Answer.stream(chunk({"content": "Hi."}), chunk({}, finish="stop"), chunk(None), "[DONE]")
PREMIUM = {"x_router_tier": "premium"}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def reason(message: str, code: str) -> dict[str, Any]:
    """Return an upstream's error body."""
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


async def test_golden_records(tmp_path: Path) -> None:
    """The two records of seven telling requests, to the last field."""
    async with scripted() as own, scripted() as paid:
        async with gateway(tmp_path, own=own.url, paid=paid.url, auth="on") as running:
            cases = await _told(running, own, paid)
        written = running.records()
        made = [record for record in written if record["event"] == "decision.made"]
        finished = {r["id"]: r for r in written if r["event"] == "decision.finished"}

        assert len(made) == len(finished) == len(cases)
        for case, record in zip(cases, made, strict=True):
            now, kept = compared(case, [record, finished[record["id"]]])
            assert now == kept


async def _told(running: Running, own: Scripted, paid: Scripted) -> list[str]:
    """Send the requests one after the other; return their names."""
    mood = {"x_router_team_mood": "furious"}
    own.script = [Answer.json(completion())]
    await running.post(user("?", metadata={"purpose": "eval"}), key="shop", **mood)
    paid.script = [SHORT]
    await running.post(user("?", tools=[], **STREAM), key="shop", **PREMIUM)
    await running.post(user("?", model="paid"), key="hr")
    sound = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
    await running.post(user([sound], unheard_of=1), key="shop")
    own.script = [Answer.error(500, {})]
    paid.script = [Answer.json(completion())]
    await running.post(user("?", max_completion_tokens=10), key="shop")
    own.script = [Answer.stream(chunk({"content": "Once "}), steps=[HangUp()])]
    await running.post(user("?", model="own", **STREAM), key="shop")
    await left(own, running.post(user("?", model="own"), key="ci"))
    return [
        "served",
        "served-premium-stream",
        "refused-clearance",
        "refused-capability",
        "served-second",
        "failed-mid-stream",
        "abandoned",
    ]


async def test_golden_errors(tmp_path: Path) -> None:
    """Status, headers and body of every error that a caller can get now."""
    async with scripted() as own:
        async with gateway(
            tmp_path, own=own.url, paid=own.url, auth="on", max_body_bytes=10_000
        ) as running:
            told = {name: _shown(reply) for name, reply in (await _errors(running, own)).items()}
            gone = await running.client.get(f"{running.app.admin_url}/admin/status")
            told["admin_forbidden"] = _shown(gone)

        now, kept = compared("errors", told)
        assert now == kept


async def _errors(running: Running, own: Scripted) -> dict[str, httpx.Response]:
    """Cause one error of each kind."""
    get, url = running.client.request, running.url
    replies = {
        "invalid_api_key": await running.post(user("?"), key="sk-wrong"),
        "invalid_request": await running.post(user("?", temperature="hot"), key="shop"),
        "invalid_request, a knob": await running.post(user("?", fallbacks=[]), key="shop"),
        "invalid_request, no JSON": await running.post(b"{", key="shop"),
        "model_not_found": await running.post(user("?", model="gpt-5"), key="shop"),
        "policy_refused, clearance": await running.post(user("?", model="paid"), key="hr"),
        "unsupported_capability": await running.post(user("?", verbosity="low"), key="shop"),
        "request_too_large": await running.post(user("?" * 10_000), key="shop"),
        "not_found": await get("GET", f"{url}/v2"),
        "method_not_allowed": await get("GET", f"{url}/v1/chat/completions"),
    }
    long = running.post(user("?", model="own", max_tokens=262_144), key="shop")
    replies["context_length_exceeded"] = await long
    upstream = {
        "content_filter": Answer.error(400, reason("It was refused.", "data_inspection_failed")),
        "invalid_request, upstream's word": Answer.error(400, reason("top_p is wrong.", "x")),
        "upstream_error": Answer.error(500, {}),
        "no_capacity": Answer.error(503, {}, headers={"Retry-After": "7"}),
        "upstream_timeout": Answer.error(504, {}),
    }
    for name, answer in upstream.items():
        own.script = [answer]
        model = "paid" if name == "content_filter" else "own"
        replies[name] = await running.post(user("?", model=model), key="shop")
    await running.admin("POST", "/admin/switch/all_home/on")
    replies["policy_refused, forbid"] = await running.post(user("?", model="paid"), key="shop")
    await running.admin("POST", "/admin/suspend/own")
    replies["no_capacity, suspended"] = await running.post(user("?", model="own"), key="shop")
    return replies


def _shown(reply: httpx.Response) -> dict[str, Any]:
    """Return what of a reply a client acts on."""
    names = ("x-should-retry", "retry-after", "www-authenticate", "allow", "x-router-label")
    headers = {name: reply.headers[name] for name in names if name in reply.headers}
    return {"status": reply.status_code, "headers": headers, "body": reply.json()}


def test_no_golden_file_is_left_over() -> None:
    """Every golden file is somebody's expectation, and holds nothing that differs by run."""
    texts = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}

    assert texts.keys() == {
        "abandoned",
        "errors",
        "failed-mid-stream",
        "refused-capability",
        "refused-clearance",
        "served",
        "served-premium-stream",
        "served-second",
    }
    assert all(json.loads(text) for text in texts.values())
    assert "dec_" not in "".join(texts.values())
