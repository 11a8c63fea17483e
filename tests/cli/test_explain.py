"""`explain`: the decision that the gateway would make, for a body or for facts; nothing is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands import World
from tests.gateways import ADMIN_TOKEN, gateway, user

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PUBLIC = ("--header", "x-router-sensitivity: public")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def _codes(told: Mapping[str, Any], target: str) -> list[str]:
    return [f"{r['stage']}/{r['code']}" for r in told["targets"][target].get("reasons", [])]


def test_a_decision_is_told_whole(world: World) -> None:
    """JSON has the label and why, the plan, the digest, and a verdict for every target."""
    ran = world.explain(user("Hello."), "--json")
    told = ran.json()

    assert (ran.code, ran.err) == (0, "")
    assert told["label"]["value"] == "internal"
    assert told["label"]["because"][0]["rule"] == "labels.default"
    assert told["plan"] == ["own", "paid"]
    assert told["refusal"] is None
    assert {name: v["verdict"] for name, v in told["targets"].items()} == {
        "own": "eligible",
        "paid": "eligible",
    }
    assert told["policy"] == world.cli("check", "--json").json()["digest"]


def test_every_reason_has_its_stage_code_rule_and_place(world: World) -> None:
    """A removed target keeps every reason, those of rules with file and line."""
    told = world.explain({"label": "confidential", "key.group": "ci"}, "--json").json()
    verdict = told["targets"]["paid"]
    by_rule = {reason["rule"]: reason for reason in verdict["reasons"]}

    assert verdict["verdict"] == "removed"
    assert _codes(told, "paid") == [
        "clearance/label_above_clearance",
        "forbid/forbid",
        "forbid/invariant",
    ]
    assert by_rule["ci-never-pays"]["at"].startswith(f"{world.policies}/rules.yaml:")
    assert told["plan"] == ["own"]


@pytest.mark.parametrize(
    ("body", "arguments", "plan", "refusal"),
    [
        (user([IMAGE]), (), ["own"], None),
        (user("word " * 240_000), PUBLIC, ["paid"], None),
        (user("word " * 240_000), ("-H", "x-router-sensitivity=restricted"), [], 400),
        (user("word " * 1_000_000), PUBLIC, [], 400),
        ({**user("x"), "model": "paid"}, (), ["paid"], None),
        ({**user("x"), "model": "own-only"}, (), ["own"], None),
        ({**user("x"), "model": "best"}, (), ["paid", "own"], None),
        ({**user("x"), "model": "nobody"}, (), [], 404),
        ({**user("x"), "model": "paid"}, ("-H", "x-router-sensitivity: restricted"), [], 403),
        (user("x"), ("--suspended", "paid"), ["own"], None),
        (user("x"), ("--suspended", "paid", "--suspended", "own"), [], 503),
        (user("x"), ("--switch", "all_home"), ["own"], None),
        (user("x"), ("--key", "ci"), ["own"], None),
        ({**user("x"), "model": "best"}, ("--key", "ci"), [], 404),
        (user("x", tools=[TOOL], tool_choice="required"), PUBLIC, ["own"], None),
        (user("x", chat_template="{{x}}"), PUBLIC, [], 400),
    ],
)
def test_a_request_is_decided_as_the_gateway_would(
    world: World, body: dict[str, Any], arguments: tuple[str, ...], plan: list[str], refusal: Any
) -> None:
    """Modality, length, model, key, header, state and fields count; a refusal is exit code 1."""
    ran = world.explain(body, "--keys", world.keys, "--json", *arguments)
    told = ran.json()

    assert told["plan"] == plan
    assert (told["refusal"] and told["refusal"]["http_status"]) == refusal
    assert ran.code == (1 if refusal else 0)


def test_a_file_and_standard_input_are_the_same(world: World) -> None:
    """`explain FILE`, `explain -` and `explain` with a pipe tell the same."""
    file = world.folder / "body.json"
    file.write_text(json.dumps(user("Hello.")), encoding="utf-8")
    plans = [
        world.cli("explain", file, "--json").json()["plan"],
        world.cli("explain", "-", "--json", stdin=file.read_bytes()).json()["plan"],
        world.explain(user("Hello."), "--json").json()["plan"],
    ]

    assert plans == [["own", "paid"]] * 3


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (b'{"model": "auto", "mess', "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b"", "not valid JSON"),
        (b'{"model":"auto","messages":[{"role":"user","content":"a","content":"b"}]}', "duplicate"),
        (b'{"key.product": "hr", "key.product": "shop"}', "duplicate"),
        ({**user("x"), "api_base": "http://x"}, "api_base is not taken"),
        ({**user("x"), "stream": "yes"}, "stream"),
        ({"model": "auto", "mesages": []}, "must have messages"),
        ({"key.prodct": "hr"}, 'did you mean "key.product"?'),
        ({"key.product": "hrr"}, 'did you mean "hr"?'),
        ({"key.product": 7}, "key.product must be a declared name"),
        ({"request.stream": "yes"}, "request.stream must be true or false"),
        ({"input_tokens_estimated": -1}, "must not be negative"),
        ({"label": "confidental"}, 'did you mean "confidential"?'),
        ({"request.tier": "premum"}, 'did you mean "premium"?'),
        ({"key.max_tier": "top"}, "valid: basic, premium, standard"),
        ({"request.model": "atuo"}, 'did you mean "auto"?'),
        ({"key.models": ["atuo"]}, 'did you mean "auto"?'),
        ({"request.input": ["imgae"]}, 'did you mean "image"?'),
        ({"request.needs": ["toools"]}, 'did you mean "tools"?'),
        ({"request.fields": ["logit_bais"]}, 'did you mean "logit_bias"?'),
        ({"request.metadata.purpse": "eval"}, 'did you mean "request.metadata.purpose"?'),
        ({"header.x-router-team-mod": "good"}, 'did you mean "header.x-router-team-mood"?'),
        ({"label": "public", "header.x-router-sensitivity": "public"}, "given twice"),
        ({"switch.all_home": True}, "--switch"),
        ({"time.hour": 3}, "received_at"),
        ({"cost_usd_p95_estimated": 1}, "input_tokens_estimated"),
    ],
)
def test_a_wrong_question_is_told_and_not_guessed(world: World, asked: Any, says: str) -> None:
    """What the gateway would refuse to read, or no request can have, is exit code 2 and why."""
    ran = world.explain(asked)
    told = world.explain(asked, "--json")

    assert (ran.code, told.code) == (2, 2)
    assert ran.out == ""
    assert says in ran.err
    assert told.json()["plan"] == []
    assert told.json()["error"]["message"] in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--suspended", "piad"), 'did you mean "paid"?'),
        (("--switch", "all_hom"), 'did you mean "all_home"?'),
        (("--why-not", "piad"), 'did you mean "paid"?'),
        (("--header", "x-router-sensitivty: public"), 'did you mean "x-router-sensitivity"?'),
        (("--header", "x-router-sensitivity: pubic"), "public, internal, confidential, restricted"),
        (("--header", "x-router-sensitivity"), "x-router-NAME: VALUE"),
        (("--header", "sensitivity: public"), "x-router-NAME: VALUE"),
        ((*PUBLIC, *PUBLIC), "public, internal, confidential, restricted"),
        (("--key", "shp", "--keys", "{keys}"), 'did you mean "shop"?'),
        (("--key", "shop"), "--keys"),
        (("--why-not",), "--why-not"),
    ],
)
def test_an_unknown_name_in_an_option_is_an_error(
    world: World, arguments: tuple[str, ...], says: str
) -> None:
    """Nothing that is asked is passed over: the nearest name is told, and exit code 2."""
    ran = world.explain(user("x"), *(a.format(keys=world.keys) for a in arguments))

    assert ran.code == 2
    assert ran.out == ""
    assert says in ran.err


def test_a_bad_policy_is_a_finding(world: World) -> None:
    """`explain` over a policy that does not load tells its problems, in JSON too."""
    (world.policies / "rules.yaml").write_text("apiVersion: qwen-router/v2\n", encoding="utf-8")
    ran, told = world.explain({}), world.explain({}, "--json")

    assert (ran.code, told.code) == (1, 1)
    assert "rules.yaml:1" in ran.err
    assert told.json()["ok"] is False


def test_an_expired_key_gets_no_decision(world: World) -> None:
    """A key that has ended is told as the gateway would answer: 401."""
    keys = json.loads(world.keys.read_text(encoding="utf-8"))
    keys["keys"][0]["expires_at"] = "2020-01-01"
    world.keys.write_text(json.dumps(keys), encoding="utf-8")
    ran = world.explain(user("x"), "--key", "shop", "--keys", world.keys, "--json")

    assert ran.code == 2
    assert ran.json()["refusal"]["http_status"] == 401


@pytest.mark.parametrize(
    ("fact", "need"),
    [
        ({"request.tools": True}, "capability/tools"),
        ({"request.json": True}, "capability/json_object"),
        ({"request.thinking": True}, "capability/thinking_on"),
        ({"request.input": ["image"]}, "capability/input"),
    ],
)
def test_a_fact_brings_what_a_request_with_it_needs(
    world: World, fact: dict[str, Any], need: str
) -> None:
    """`request.tools` alone removes a target without tools, as a request with tools would."""
    targets = world.policies / "targets.yaml"
    text = targets.read_text(encoding="utf-8")
    head, own, paid = text.partition("  paid:")
    paid = paid.replace("tools: true, json_object: true, thinking: true", "tools: false")
    targets.write_text(head + own + paid, encoding="utf-8")
    told = world.explain({"label": "public", **fact}, "--json").json()

    assert need in _codes(told, "paid")
    assert "text" in told["facts"]["request.input"]


BODIES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": (user("Hello."), {}),
    "labelled": (user("Hello."), {"x-router-sensitivity": "confidential"}),
    "image": (user([IMAGE, {"type": "text", "text": "What is it?"}]), {}),
    "long": (user("word " * 240_000), {"x-router-sensitivity": "public"}),
    "json": (user("json", response_format={"type": "json_object"}, enable_thinking=True), {}),
    "shaped": (user("x", max_tokens=70_000, metadata={"purpose": "eval"}, user="u"), {}),
    "unknown": ({**user("x"), "model": "nobody"}, {"x-router-tier": "premium"}),
    "mood": (user("x"), {"x-router-team-mood": "grim"}),
}


@pytest.mark.parametrize("key", ["shop", "hr", "ci"])
async def test_explain_tells_what_is_recorded(tmp_path: Path, key: str) -> None:
    """The record's decision, `explain` over the body, over the facts, and /admin/explain agree."""
    told: dict[str, list[dict[str, Any]]] = {}
    world = World(tmp_path)
    async with gateway(tmp_path, auth="on") as running:
        for body, headers in BODIES.values():
            named = {name.replace("-", "_"): value for name, value in headers.items()}
            reply = await running.post(body, key=key, **named)
            asked = await running.client.post(
                f"{running.app.admin_url}/admin/explain",
                params={"key": key},
                content=json.dumps(body),
                headers={"authorization": f"Bearer {ADMIN_TOKEN}", **headers},
            )
            options = [part for n, v in headers.items() for part in ("-H", f"{n}: {v}")]
            ran = world.explain(body, "--json", "--keys", world.keys, "--key", key, *options)
            told[reply.headers["x-router-decision-id"]] = [asked.json(), ran.json()]
        records = await running.settled()
    made = {r["id"]: r for r in records if r["event"] == "decision.made"}

    assert made.keys() == told.keys()
    for number, record in made.items():
        facts = record["facts"]
        # What is recorded is asked again as it stands, with nothing else given.
        again = world.explain(facts, "--json").json()
        assert [_decision(t) for t in (*told[number], again)] == [record["decision"]] * 3
        assert again["facts"] == {n: v for n, v in facts.items() if v != "ABSENT"}


def _decision(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in {"facts", "why_not"}}


async def test_the_admin_port_reads_the_very_bytes(tmp_path: Path) -> None:
    """A duplicate key is a 400 there as it is at the door; the answer repeats nothing."""
    raw = b'{"model":"auto","messages":[{"role":"user","content":"a","content":"sesame"}]}'
    async with gateway(tmp_path) as running:
        reply = await running.admin("POST", "/admin/explain", content=raw)
        door = await running.post(raw)

    assert (reply.status_code, door.status_code) == (400, 400)
    assert reply.json() == door.json()


def test_a_refusal_is_readable(world: World) -> None:
    """A person sees status, code and stage, and every target with its reasons."""
    ran = world.explain({"label": "restricted", "request.model": "paid"})

    assert ran.code == 1
    assert "403 policy_refused: clearance" in ran.out
    assert "nothing may be tried" in ran.out
    assert "rules.yaml:" in ran.out


def test_why_not_is_told_in_words(world: World) -> None:
    """The change is named with what stands there now and what would have to."""
    asked = {"label": "confidential"}
    ran = world.explain(asked, "--why-not", "paid")
    told = world.explain(asked, "--why-not", "paid", "--json").json()["why_not"]

    assert (
        "paid would be eligible with: header.x-router-sensitivity: confidential → inter" in ran.out
    )
    assert told["changes"] == [
        {"name": "header.x-router-sensitivity", "from": "confidential", "to": "internal"}
    ]
