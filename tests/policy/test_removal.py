"""Removing targets: every stage, every reason."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from router.policy.decision import Reason, Stage
from router.policy.state import State
from router.policy.values import UNKNOWN
from tests.policy.builders import CLUSTER, EXTERNAL, MAX, OWN, decided, forbid, named, never, shape
from tests.policy.contract import (
    ABOVE,
    ALL,
    CANNOT,
    CI_HOME,
    FORBID,
    FORBIDDEN,
    HEADER,
    LONG,
    NO_ROOM,
    PAID,
    TOO_LONG,
    Row,
    cases,
    check,
    only,
    some,
)

HOME = forbid({"switch.all_home": {"eq": True}}, EXTERNAL, rule="home")
CAP = forbid({"cost_usd_p95_estimated": {"gt": Decimal("0.50")}}, rule="request-cap")

FORBIDS = [
    Row(
        name="forbid/true-fires",
        facts={"key.group": "ci"},
        policy=only(CI_HOME),
        plan=("own",),
        removed={"paid-max": (FORBID,), "paid-plus": (FORBID,)},
    ),
    Row(name="forbid/false-does-not", facts={"key.group": "prod"}, policy=only(CI_HOME), plan=ALL),
    Row(
        name="forbid/unknown-fires",
        facts={"key.group": UNKNOWN},
        policy=only(CI_HOME),
        plan=("own",),
    ),
    Row(name="forbid/absent-does-not", policy=only(CI_HOME), plan=ALL),
    Row(name="forbid/always", policy=only(forbid(targets=CLUSTER)), plan=PAID),
    Row(name="forbid/all-is-a-refusal", policy=only(forbid(message="closed")), refused=FORBIDDEN),
    Row(
        name="forbid/a-named-model-skips-nothing",
        facts={"request.model": "paid-max", "key.group": "ci"},
        policy=only(CI_HOME),
        refused=FORBIDDEN,
    ),
    Row(
        name="forbid/every-reason-is-kept",
        facts={"key.group": "ci", HEADER: "restricted"},
        policy=only(CI_HOME, forbid(targets=named("paid-max"), rule="also")),
        removed={"paid-max": (ABOVE, FORBID, FORBID)},
    ),
    Row(
        name="forbid/cost-is-judged-target-by-target",
        facts={"input_tokens_estimated": 250_000},
        policy=only(CAP),
        plan=("own", "paid-plus"),
        removed={"paid-max": (FORBID,)},
    ),
    Row(
        name="forbid/cost-counts-every-answer",
        facts={"request.n": 20},
        policy=only(CAP),
        plan=("own",),
    ),
    Row(
        name="forbid/a-cost-without-a-price-is-unknown",
        policy=only(CAP, targets={"own": replace(OWN, price=None)}),
        refused=FORBIDDEN,
    ),
    Row(
        name="forbid/target-facts",
        policy=only(forbid({"target.name": {"in": ["paid-max", "own"]}})),
        plan=("paid-plus",),
    ),
    Row(
        name="forbid/label",
        facts={HEADER: "internal"},
        policy=only(forbid({"label": {"gte": "internal"}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="forbid/by-tag",
        policy=only(forbid(targets=named("paid-plus"))),
        plan=("own", "paid-max"),
    ),
    Row(
        name="forbid/time-in-the-policys-zone",  # 23:00 on Sunday there, 15:00 in London
        policy=only(
            forbid(
                {
                    "time.hour": {"gte": 23},
                    "time.weekday": {"eq": "sun"},
                    "time.date": {"eq": "2026-11-01"},
                },
                EXTERNAL,
            )
        ),
        plan=("own",),
    ),
    Row(
        name="forbid/a-time-that-is-none-is-unknown",
        facts={"received_at": 1e300},
        policy=only(forbid({"time.hour": {"gte": 23}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="forbid/not-absent-fires",
        policy=only(forbid({"not": {"key.group": {"eq": "prod"}}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="invariant/acts",
        facts={HEADER: "internal"},
        policy={
            "invariants": (
                never({"label": {"gte": "internal"}, "target.location": {"eq": "external"}}),
            )
        },
        plan=("own",),
        removed={"paid-max": ("forbid/invariant",)},
    ),
    Row(
        name="invariant/unknown-acts",
        facts={"key.group": UNKNOWN},
        policy={"invariants": (never({"key.group": {"eq": "ci"}, "target.name": {"ne": "own"}}),)},
        plan=("own",),
    ),
    Row(
        name="invariant/false-is-silent",
        facts={HEADER: "public"},
        policy={
            "invariants": (
                never({"label": {"gte": "internal"}, "target.location": {"eq": "external"}}),
            )
        },
        plan=ALL,
    ),
]

CAPABILITIES = [
    Row(
        name="capability/input",
        facts={"request.input": some("text", "image")},
        plan=("own", "paid-plus"),
        removed={"paid-max": ("capability/input",)},
    ),
    Row(
        name="capability/output",
        facts={"request.output": some("audio")},
        refused=CANNOT,
        removed={"own": ("capability/output",)},
    ),
    Row(
        name="capability/need",
        facts={"request.needs": some("tool_choice_required")},
        plan=("own",),
        removed={"paid-max": ("capability/tool_choice_required",)},
    ),
    Row(
        name="capability/remote-media-nowhere",
        facts={"request.needs": some("media_url")},
        refused=CANNOT,
    ),
    Row(
        name="capability/unknown-part-nowhere",
        facts={"request.needs": some("unknown_part")},
        refused=CANNOT,
    ),
    Row(
        name="capability/field-of-one-dialect",
        facts={"request.fields": some("logit_bias")},
        plan=("own",),
        removed={"paid-max": ("capability/field",)},
    ),
    Row(
        name="capability/droppable-field",
        facts={"request.fields": some("user", "metadata")},
        plan=ALL,
    ),
    Row(
        name="capability/unknown-field-nowhere",
        facts={"request.fields": some("unknown")},
        refused=CANNOT,
    ),
    Row(
        name="capability/field-by-policy",
        facts={"request.fields": some("enable_search")},
        policy={
            "targets": {"own": OWN, "paid-max": replace(MAX, pass_fields=some("enable_search"))}
        },
        plan=("paid-max",),
    ),
    Row(
        name="capability/json-while-thinking-by-request",
        facts={
            "request.json": True,
            "request.thinking": True,
            "request.needs": some("json_object", "thinking_on"),
        },
        plan=("own",),
    ),
    Row(
        name="capability/json-while-thinking-by-shape",
        facts={"request.json": True, "request.needs": some("json_object")},
        policy={"shapes": (shape(default_thinking=True),)},
        plan=("own",),
        removed={"paid-max": ("capability/json_while_thinking",)},
    ),
    Row(
        name="context/input-too-long",
        facts={"input_tokens_estimated": LONG},
        plan=PAID,
        removed={"own": ("context/context_length",)},
    ),
    Row(
        name="context/boundary-fits", facts={"input_tokens_estimated": 262_144}, plan=("own", *PAID)
    ),
    Row(
        name="context/asked-output-counts",
        facts={"input_tokens_estimated": 262_000, "request.max_output": 1000},
        plan=PAID,
    ),
    Row(
        name="context/output-limit",
        facts={"request.max_output": 65_537},
        refused=TOO_LONG,
        removed={"own": ("context/max_output",)},
    ),
]

STATES = [
    Row(
        name="state/suspended",
        state=State(suspended=some("own")),
        plan=PAID,
        removed={"own": ("state/suspended",)},
    ),
    Row(
        name="state/suspended-is-no-capacity",
        facts={HEADER: "restricted"},
        state=State(suspended=some("own")),
        refused=NO_ROOM,
    ),
    Row(name="state/suspending-a-stranger", state=State(suspended=some("gone")), plan=ALL),
    Row(
        name="state/unrecorded-removes-external",
        state=State(unrecorded=True),
        plan=("own",),
        removed={"paid-max": ("state/unrecorded",), "paid-plus": ("state/unrecorded",)},
    ),
    Row(
        name="state/disabled-with-every-other-reason",
        facts={HEADER: "restricted"},
        removed={"preview": (ABOVE, "state/disabled")},
    ),
    Row(name="switch/off", policy=only(HOME), plan=ALL),
    Row(name="switch/on", policy=only(HOME), state=State(switches=some("all_home")), plan=("own",)),
    Row(
        name="switch/undeclared-is-nothing",
        policy=only(HOME),
        state=State(switches=some("other")),
        plan=ALL,
    ),
]


@cases([*FORBIDS, *CAPABILITIES, *STATES])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)


def test_a_reason_names_the_rule_its_place_and_the_facts_it_read() -> None:
    """What removed a target can be found: stage, code, rule, file:line, facts."""
    decision = decided({"key.group": "ci"}, forbids=(CI_HOME,))

    expected = Reason(
        stage=Stage.FORBID,
        code="forbid",
        rule="ci-never-pays",
        at="cost.yaml:1",
        facts=(("key.group", "ci"),),
    )
    (reason,) = decision.verdicts["paid-max"].reasons

    assert expected == reason
    assert expected.at == reason.at


def test_per_target_facts_are_those_of_the_target() -> None:
    """A reason about cost holds the cost of that target, not of another."""
    decision = decided({"input_tokens_estimated": 250_000}, forbids=(CAP,))
    (reason,) = decision.verdicts["paid-max"].reasons

    assert reason.facts == (("cost_usd_p95_estimated", decision.verdicts["paid-max"].cost_usd_p95),)


def test_the_order_of_keys_in_a_condition_is_nothing() -> None:
    """A `when` with its keys in another order gives the identical reasons."""
    tests = {"key.group": {"eq": "ci"}, "request.bucket": {"lt": 50}, "key.product": {"ne": "hr"}}
    turned = dict(reversed(tests.items()))

    assert decided({"key.group": "ci"}, forbids=(forbid(tests),)) == decided(
        {"key.group": "ci"}, forbids=(forbid(turned),)
    )
