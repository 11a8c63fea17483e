"""`--why-not`: the change that is named lets the target in, and is one of what kept it out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from router.policy.account import facts_from, plain
from router.policy.alternatives import changed
from router.policy.decide import decide
from router.policy.facts import Facts
from router.policy.state import QUIET, State
from router.policy.values import ABSENT, UNKNOWN
from router.policy.whynot import smallest_change
from tests.policy.builders import (
    CLUSTER,
    DECLARED,
    EXTERNAL,
    MAX,
    OWN,
    PLUS,
    facts,
    forbid,
    media,
    named,
    never,
    policy,
    raised,
    shape,
)
from tests.policy.strategies import STATES, policies, some_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.document import Policy
    from router.policy.values import Value

HEADER = "header.x-router-sensitivity"
TIER = "header.x-router-tier"


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One way to be kept out, and the facts (or state) whose change lets in again."""

    facts: Mapping[str, Value | None] = field(default_factory=dict)
    target: str = "paid-plus"
    state: State = QUIET
    sections: Mapping[str, Any] = field(default_factory=dict)
    by: tuple[set[str], ...]


def _forbidden(**when: Any) -> dict[str, Any]:
    tests = {name.replace("__", "."): test for name, test in when.items()}
    return {"forbids": (forbid(tests, EXTERNAL),)}


def _text(*parts: str) -> frozenset[str]:
    return frozenset(("text", *parts))


REMOVALS: dict[str, Removal] = {
    "clearance by header": Removal(facts={HEADER: "confidential"}, by=({HEADER},)),
    "clearance by key": Removal(facts={"key.min_label": "restricted"}, by=({"key.min_label"},)),
    "clearance by rule": Removal(
        facts={"key.product": "hr"},
        sections={"raises": (*DECLARED, raised("restricted", {"key.product": {"in": ["hr"]}}))},
        by=({"key.product"},),
    ),
    "clearance by default": Removal(
        sections={"labels": replace(policy().labels, default="confidential")},
        by=({HEADER}, {"key.min_label"}),
    ),
    "clearance by media": Removal(
        facts={"request.input": _text("image")},
        sections={"raises": (*DECLARED, media("image", source="key.media_label"))},
        by=({"request.input"}, {"key.media_label"}),
    ),
    "clearance by a long prompt": Removal(
        facts={"input_tokens_estimated": 5_000},
        sections={
            "raises": (*DECLARED, raised("restricted", {"input_tokens_estimated": {"gt": 1000}}))
        },
        by=({"input_tokens_estimated"},),
    ),
    "image": Removal(
        facts={"request.input": _text("image")}, target="paid-max", by=({"request.input"},)
    ),
    "image and audio": Removal(
        facts={"request.input": _text("image", "audio")},
        target="paid-max",
        by=({"request.input"},),
    ),
    "output": Removal(facts={"request.output": _text("audio")}, by=({"request.output"},)),
    "context": Removal(
        facts={"input_tokens_estimated": 300_000}, target="own", by=({"input_tokens_estimated"},)
    ),
    "context with output": Removal(
        facts={"input_tokens_estimated": 240_000, "request.max_output": 60_000},
        target="own",
        by=({"input_tokens_estimated"}, {"request.max_output"}),
    ),
    "max output": Removal(facts={"request.max_output": 100_000}, by=({"request.max_output"},)),
    "field": Removal(facts={"request.fields": frozenset({"logit_bias"})}, by=({"request.fields"},)),
    "need": Removal(
        facts={"request.needs": frozenset({"json_schema"}), "request.json": True},
        by=({"request.needs"},),
    ),
    "two needs": Removal(
        facts={
            "request.needs": frozenset({"json_schema", "media_url"}),
            "request.json": True,
        },
        by=({"request.needs"},),
    ),
    "json while thinking": Removal(
        facts={
            "request.json": True,
            "request.needs": frozenset({"json_object", "thinking_on"}),
            "request.thinking": True,
        },
        by=({"request.thinking"}, {"request.json"}, {"request.needs"}),
    ),
    "json while thinking by shape": Removal(
        facts={"request.json": True, "request.needs": frozenset({"json_object"})},
        sections={"shapes": (shape(default_thinking=True),)},
        by=({"request.thinking"}, {"request.json"}, {"request.needs"}),
    ),
    "another model": Removal(facts={"request.model": "mine"}, by=({"request.model"},)),
    "unknown model": Removal(facts={"request.model": "unknown"}, by=({"request.model"},)),
    "a key's models": Removal(
        facts={"request.model": "paid-plus", "key.models": frozenset({"own"})},
        by=({"key.models"},),
    ),
    "a key's models and another model": Removal(
        facts={"request.model": "own", "key.models": frozenset({"own"})},
        by=({"request.model", "key.models"},),
    ),
    "suspended": Removal(
        state=State(suspended=frozenset({"paid-plus", "own"})), by=({"suspended"},)
    ),
    "unrecorded": Removal(state=State(unrecorded=True), by=({"unrecorded"},)),
    "switch": Removal(
        state=State(switches=frozenset({"all_home"})),
        sections=_forbidden(switch__all_home={"eq": True}),
        by=({"switch.all_home"},),
    ),
    "max tier": Removal(
        facts={TIER: "premium", "key.max_tier": "basic"},
        sections=_forbidden(request__tier={"lt": "standard"}),
        by=({"key.max_tier"},),
    ),
    "max tier and no wish": Removal(
        facts={"key.tier": "basic", "key.max_tier": "basic"},
        sections=_forbidden(request__tier={"lt": "premium"}),
        by=({TIER, "key.max_tier"},),
    ),
    "cost": Removal(
        facts={"input_tokens_estimated": 200_000},
        target="paid-max",
        sections=_forbidden(cost_usd_p95_estimated={"gt": 0.3}),
        by=({"input_tokens_estimated"},),
    ),
    "cost of the answer": Removal(
        facts={"input_tokens_estimated": 10, "request.max_output": 60_000},
        target="paid-max",
        sections=_forbidden(cost_usd_p95_estimated={"gt": 0.1}),
        by=({"request.max_output"},),
    ),
    "cost of many answers": Removal(
        facts={"request.n": 50},
        target="paid-max",
        sections=_forbidden(cost_usd_p50_estimated={"gt": 0.2}),
        by=({"request.n"}, {"request.max_output"}),
    ),
    "night": Removal(
        sections=_forbidden(time__hour={"gte": 20}), by=({"received_at"},)
    ),  # it is Sunday, 23:00
    "sunday": Removal(sections=_forbidden(time__weekday={"eq": "sun"}), by=({"received_at"},)),
    "eq": Removal(
        facts={"key.product": "shop"},
        sections=_forbidden(key__product={"eq": "shop"}),
        by=({"key.product"},),
    ),
    "ne": Removal(sections=_forbidden(key__product={"ne": "shop"}), by=({"key.product"},)),
    "not_in": Removal(
        facts={"key.product": "hr"},
        sections=_forbidden(key__product={"not_in": ["shop", "search"]}),
        by=({"key.product"},),
    ),
    "a name that is not declared": Removal(
        sections=_forbidden(key__team={"ne": "t7"}), by=({"key.team"},)
    ),
    "lt": Removal(
        sections=_forbidden(input_tokens_estimated={"lt": 500}), by=({"input_tokens_estimated"},)
    ),
    "gt": Removal(
        facts={"input_tokens_estimated": 900},
        sections=_forbidden(input_tokens_estimated={"gt": 500}),
        by=({"input_tokens_estimated"},),
    ),
    "gte": Removal(
        facts={"request.bucket": 99},
        sections=_forbidden(request__bucket={"gte": 99}),
        by=({"request.bucket"},),
    ),
    "bucket zero": Removal(
        facts={"request.bucket": 0},
        sections=_forbidden(request__bucket={"eq": 0}),
        by=({"request.bucket"},),
    ),
    "has": Removal(
        facts={"request.input": _text("video")},
        sections=_forbidden(request__input={"has": "video"}),
        by=({"request.input"},),
    ),
    "has_any": Removal(
        facts={"request.input": _text("video", "image")},
        sections=_forbidden(request__input={"has_any": ["video", "image"]}),
        by=({"request.input"},),
    ),
    "has_all": Removal(
        facts={"request.input": _text("video", "image")},
        sections=_forbidden(request__input={"has_all": ["video", "image"]}),
        by=({"request.input"},),
    ),
    "not has": Removal(
        sections={"forbids": (forbid({"not": {"request.input": {"has": "image"}}}, EXTERNAL),)},
        by=({"request.input"},),
    ),
    "a truth value": Removal(
        facts={"request.stream": True},
        sections=_forbidden(request__stream={"eq": True}),
        by=({"request.stream"},),
    ),
    "tools": Removal(
        facts={"request.tools": True, "request.needs": frozenset({"tools"})},
        sections=_forbidden(request__tools={"eq": True}),
        by=({"request.tools"},),
    ),
    "a declared header": Removal(
        facts={"header.x-router-app": "web"},
        sections=_forbidden(**{"header.x-router-app": {"eq": "web"}}),
        by=({"header.x-router-app"},),
    ),
    "metadata": Removal(
        sections=_forbidden(request__metadata__purpose={"ne": "eval"}),
        by=({"request.metadata.purpose"},),
    ),
    "any of two": Removal(
        facts={"key.group": "ci", "request.stream": True},
        sections={
            "forbids": (
                forbid(
                    {"any": [{"key.group": {"eq": "ci"}}, {"request.stream": {"eq": True}}]},
                    EXTERNAL,
                ),
            )
        },
        by=({"key.group", "request.stream"},),
    ),
    "two reasons": Removal(
        facts={HEADER: "restricted", "request.fields": frozenset({"logit_bias"})},
        by=({HEADER, "request.fields"},),
    ),
    "three reasons": Removal(
        facts={HEADER: "restricted", "request.fields": frozenset({"logit_bias"})},
        state=State(suspended=frozenset({"paid-plus"})),
        by=({HEADER, "request.fields", "suspended"},),
    ),
    "an invariant beside the clearance": Removal(
        facts={HEADER: "confidential"},
        sections={
            "invariants": (
                never({"label": {"gte": "confidential"}, "target.location": {"eq": "external"}}),
            )
        },
        by=({HEADER},),
    ),
    "what cannot be determined": Removal(
        facts={"request.stream": UNKNOWN},
        sections=_forbidden(request__stream={"eq": True}),
        by=({"request.stream"},),
    ),
}


def _after(
    changes: list[dict[str, Any]], asked: Facts, state: State, target: str
) -> tuple[Facts, State]:
    """Make the changes that were named, as plain values, one by one."""
    values = dict(asked.values)
    for change in changes:
        name, to = change["name"], change["to"]
        if name == "suspended":
            state = replace(state, suspended=state.suspended - {target})
        elif name == "unrecorded":
            state = replace(state, unrecorded=False)
        elif name.startswith("switch."):
            state = replace(state, switches=state.switches - {name.removeprefix("switch.")})
        else:
            values = changed(values, name, facts_from({name: to}).get(name))
    return Facts(values), state


@pytest.mark.parametrize("case", REMOVALS)
def test_the_named_change_lets_the_target_in(case: str) -> None:
    """For each way to be removed: the change is of what removed it, and with it it is eligible."""
    removal = REMOVALS[case]
    asked, under = facts(removal.facts), policy(**removal.sections)
    assert not decide(asked, under, removal.state).verdicts[removal.target].eligible
    told = smallest_change(removal.target, asked, under, removal.state)

    assert told["eligible"] is False
    assert {change["name"] for change in told["changes"]} in removal.by
    after = _after(told["changes"], asked, removal.state, removal.target)
    assert decide(after[0], under, after[1]).verdicts[removal.target].eligible
    for change in told["changes"]:
        if change["name"] not in {"suspended", "unrecorded"} and "switch." not in change["name"]:
            assert change["from"] == plain(asked.get(change["name"]))


IMPOSSIBLE: dict[str, tuple[Removal, str, str]] = {
    "disabled": (Removal(target="preview", by=()), "disabled", "targets.yaml:60"),
    "always forbidden": (
        Removal(sections={"forbids": (forbid(None, named("paid-plus")),)}, by=()),
        "no",
        "cost.yaml:1",
    ),
    "forbidden by place": (
        Removal(sections=_forbidden(target__location={"eq": "external"}), by=()),
        "no",
        "cost.yaml:1",
    ),
    "no price": (
        Removal(
            target="paid-max",
            sections={
                "targets": {t.name: t for t in (OWN, PLUS, replace(MAX, price=None))},
                **_forbidden(cost_usd_p95_estimated={"gt": 0.1}),
            },
            by=(),
        ),
        "no",
        "cost.yaml:1",
    ),
    "below every label": (
        Removal(
            facts={"key.product": "hr"},
            sections={
                "targets": {t.name: t for t in (OWN, replace(PLUS, clearance="public"))},
                "raises": (*DECLARED, raised("internal")),
            },
            by=(),
        ),
        "label_above_clearance",
        "targets.yaml:20",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_request_can_change_is_told_as_the_policy_s(case: str) -> None:
    """Where no change does it, the rule that would have to change is named, with its place."""
    removal, rule, place = IMPOSSIBLE[case]
    under = policy(**removal.sections)
    told = smallest_change(removal.target, facts(removal.facts), under, removal.state)

    assert told["changes"] is None
    assert (rule, place) in {(r["rule"] or r["code"], r["at"]) for r in told["reasons"]}


def test_reasons_that_a_change_removes_are_not_the_policy_s() -> None:
    """Beside a rule that always fires, a label that could be another is not named."""
    under = policy(forbids=(forbid(None, EXTERNAL),))
    told = smallest_change("paid-plus", facts({HEADER: "restricted"}), under, QUIET)

    assert [r["code"] for r in told["reasons"]] == ["forbid"]


def test_an_eligible_target_needs_nothing() -> None:
    """Of a target that is in, that is said."""
    told = smallest_change("own", facts(), policy(), QUIET)

    assert told == {"target": "own", "eligible": True, "changes": [], "reasons": []}


def test_as_little_as_will_do_is_given_up() -> None:
    """The highest label, and the longest prompt, with which the target is in."""
    label = smallest_change("paid-plus", facts({HEADER: "restricted"}), policy(), QUIET)
    long = facts({"input_tokens_estimated": 300_000, "request.max_output": 144})
    length = smallest_change("own", long, policy(), QUIET)

    key = facts({"request.model": "own", "key.models": frozenset({"own"})})
    models = smallest_change("paid-plus", key, policy(), QUIET)
    allowed = {change["name"]: change["to"] for change in models["changes"]}

    assert label["changes"][0]["to"] == "internal"
    assert allowed["key.models"] == ["own", "paid-plus"]
    assert length["changes"][0]["to"] == 262_144 - 144


@settings(max_examples=40)
@given(some_facts(UNKNOWN), policies(), STATES)
def test_what_is_named_is_true_of_any_policy(asked: Facts, under: Policy, state: State) -> None:
    """Whatever the rules are, a named change lets the target in, and one in is not changed."""
    decision = decide(asked, under, state)
    for target, verdict in decision.verdicts.items():
        told = smallest_change(target, asked, under, state)
        assert told["eligible"] is verdict.eligible
        if told["changes"]:
            after = _after(told["changes"], asked, state, target)
            assert decide(after[0], under, after[1]).verdicts[target].eligible


def test_it_is_found_soon_among_many_rules() -> None:
    """Twelve targets, forty rules and no way in: the search is bounded."""
    products = frozenset(f"p{n}" for n in range(50))
    rules = [
        forbid(
            {"key.product": {"eq": f"p{n}"}, "request.bucket": {"gt": n}}, EXTERNAL, rule=f"r{n}"
        )
        for n in range(36)
    ]
    last = [forbid({"key.team": {"ne": f"t{n}"}}, EXTERNAL, rule=f"team{n}") for n in range(3)]
    under = policy(
        *(replace(PLUS, name=f"paid{n}") for n in range(11)),
        OWN,
        names={"key.product": products, "key.group": frozenset({"prod", "ci"})},
        forbids=(*rules, *last, forbid({"key.group": {"eq": "ci"}}, CLUSTER, rule="ci")),
    )
    asked = facts({HEADER: "restricted", "key.product": "p9", "request.model": "mine"})
    told = smallest_change("paid3", asked, under, QUIET)

    assert told["changes"] is None
    # The model, the label, the product and one team can be others; then two rules are left.
    assert [r["rule"] for r in told["reasons"]] == ["team1", "team2"]


def test_facts_that_say_the_same_change_together() -> None:
    """No request is tried that could not be: tools that are needed and not there."""
    with_tools = changed(facts().values, "request.tools", True)
    without = changed(with_tools, "request.needs", frozenset())

    assert with_tools["request.needs"] == frozenset({"tools"})
    assert without["request.tools"] is False
    assert "request.thinking" not in changed(
        {"request.thinking": True, "request.needs": frozenset({"thinking_on"})},
        "request.thinking",
        ABSENT,
    )
