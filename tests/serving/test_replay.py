"""Every decision of a lively gateway is decided again from its record: the same, always (P3)."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from router.loading.problems import Problem
from router.loading.shelf import Shelf
from router.records.replaying import redecide
from tests.gateways import RULES, TARGETS, chunk, completion, gateway, user
from tests.scripted import DONE, Answer, scripted
from tests.serving.clients import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateways import Running

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TEXT = {"type": "text", "text": "What is this?"}
# What a request may hold, each piece taken by chance.
PIECES: list[dict[str, Any]] = [
    {"max_tokens": 50},
    {"n": 3},
    {"temperature": 0.5},
    {"logit_bias": {"1": 1}},
    {"enable_search": True},
    {"enable_thinking": False},
    {"metadata": {"purpose": "eval", "x": "CANARY"}},
    {"metadata": {"purpose": "CANARY"}},
    {"user": "CANARY"},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"response_format": {"type": "json_object"}},
    {"messages": [{"role": "user", "content": [TEXT, IMAGE]}]},
    {"messages": [{"role": "user", "content": "长" * 5_000}]},
    {"max_completion_tokens": 10**9},
]
HEADERS: list[dict[str, str]] = [
    {},
    {},
    {"x_router_tier": "premium"},
    {"x_router_tier": "basic"},
    {"x_router_sensitivity": "public"},
    {"x_router_sensitivity": "restricted"},
    {"x_router_team_mood": "bad"},
    {"x_router_team_mood": "CANARY"},
]
MODELS = ["auto", "auto", "best", "own-only", "own", "paid", "CANARY"]
# Rules that read the clock, the bucket, the cost, metadata and time to the first token.
LIVELY = RULES.replace(
    "\nforbid:\n",
    """
forbid:
  - {id: dear, when: {cost_usd_p95_estimated: {gt: 0.05}}, targets: {location: external}}
  - {id: odd, when: {all: [{request.bucket: {lt: 50}}, {request.metadata.purpose: {eq: eval}}]},
     targets: {location: external}}
  - {id: late, when: {time.hour: {gte: 12}}, targets: {location: external}}
""",
).replace(
    "\nprefer:\n",
    "\nshape:\n  - {id: brief, when: {key.product: {in: [shop]}}, default: {thinking: false}, "
    "cap: {max_output: 800}}\nprefer:\n"
    "  - {id: quick, when: {header.x-router-team-mood: {eq: bad}}, then: fastest}\n",
)
POLICIES = [RULES, LIVELY, LIVELY.replace("lt: 50", "lt: 90"), "rubbish: ["]


async def test_every_recorded_decision_is_decided_again_the_same(tmp_path: Path) -> None:
    """Keys, headers, models, modalities, controls, reloads and outages: all decisions replay."""
    chance = random.Random(20261122)  # noqa: S311 - which requests, nothing secret
    stream = Answer.stream(chunk({"content": "Hi"}, finish="stop"), DONE)
    async with (
        scripted(Answer.json(completion()), stream, Answer.error(500, {}), stream) as own,
        scripted(stream, Answer.json(completion())) as paid,
        gateway(tmp_path, own=own.url, paid=paid.url, auth="on") as running,
    ):
        for turn in range(12):
            await _change(running, chance, turn)
            await asyncio.gather(*(_ask(running, chance) for _ in range(16)))
        await running.settled()
    records = [
        record
        for name in ("records-1.jsonl", "records.jsonl")
        for record in _records(tmp_path / name)
        if record["event"] == "decision.made"
    ]
    shelf = Shelf(tmp_path / "state")
    differing: list[str] = []
    for record in records:
        loaded = shelf.get(record["decision"]["policy"])
        assert not isinstance(loaded, Problem)
        differing += redecide(record, loaded.policy)

    assert differing == []
    assert len(records) > 100
    # The load was as lively as it was meant to be.
    assert len({record["decision"]["policy"] for record in records}) >= 3
    assert {record["state"]["unrecorded"] for record in records} == {False, True}
    assert len({tuple(record["state"]["suspended"]) for record in records}) >= 2
    assert {record["facts"]["key.id"] for record in records} == {"shop", "hr", "ci"}
    refusals = {(record["decision"]["refusal"] or {}).get("code") for record in records}
    assert len(refusals) >= 4
    assert any(record["state"]["first_token_ms"] for record in records)
    assert "CANARY" not in str(records)


def _records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


async def _ask(running: Running, chance: random.Random) -> None:
    body = user("hi", model=chance.choice(MODELS), stream=chance.random() < 0.5)
    for piece in chance.sample(PIECES, chance.choice([0, 0, 1, 1, 2])):
        body |= piece
    await running.post(body, key=chance.choice(["shop", "hr", "ci"]), **chance.choice(HEADERS))


async def _change(running: Running, chance: random.Random, turn: int) -> None:
    buttons = ["suspend/paid", "resume/paid", "suspend/own", "resume/own"]
    buttons += ["switch/all_home/on", "switch/all_home/off", "resume/own", "resume/paid"]
    await running.admin("POST", f"/admin/{chance.choice(buttons)}")
    (running.policies / "rules.yaml").write_text(POLICIES[turn % len(POLICIES)])
    await running.app._live.refresh()
    records = running.folder / "records.jsonl"
    if turn == 6:  # from here on nothing can be written, for two turns
        records.rename(running.folder / "records-1.jsonl")
        records.symlink_to("/dev/full")
        await asyncio.sleep(1.1)
    if turn == 8:
        records.unlink()
        await until(lambda: running.app._writer.can_write)


async def test_a_policy_is_kept_as_it_was_resolved(tmp_path: Path) -> None:
    """The shelf's policy has the addresses of then, so replaying needs no variables of today."""
    async with gateway(tmp_path, own="http://10.1.2.3:8000/v1") as running:
        digest = running.app._live.current.policy.digest
    loaded = Shelf(tmp_path / "state").get(digest)

    assert not isinstance(loaded, Problem)
    assert loaded.policy.targets["own"].base_url == "http://10.1.2.3:8000/v1"
    assert "${OWN}" in TARGETS
