"""Ordering what is left."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import permutations

from router.policy.decision import Ordering
from router.policy.ordering import in_order
from router.policy.state import QUIET, State
from router.policy.values import UNKNOWN
from tests.policy.builders import OWN, PLUS, policy, prefer
from tests.policy.contract import ALL, CI, HEADER, TIER, Row, cases, check, some

ORDERS = [
    Row(name="order/cheapest-by-marginal-cost", plan=ALL, order="default"),
    Row(name="order/without-a-prefer-by-price", policy={"prefers": ()}, plan=ALL, order=None),
    Row(
        name="order/below-min-tier-last",
        facts={TIER: "premium"},
        plan=("paid-max", "own", "paid-plus"),
    ),
    Row(
        name="order/mixed-request-counts-at-its-lowest-tier",
        facts={TIER: "premium", "request.input": some("text", "video")},
        policy={
            "targets": {
                "own": OWN,
                "paid-plus": replace(PLUS, tier={"text": "premium", "vision": "basic"}),
            }
        },
        plan=("own", "paid-plus"),
        degraded=("tier",),
    ),
    Row(
        name="order/best",
        policy={"prefers": (prefer("best"),)},
        plan=("paid-max", "own", "paid-plus"),
    ),
    Row(
        name="order/fastest-unmeasured-last",
        policy={"prefers": (prefer("fastest"),)},
        state=State(first_token_ms={"paid-max": 300, "paid-plus": 200}),
        plan=("paid-plus", "paid-max", "own"),
    ),
    Row(
        name="order/list-then-price",
        policy={"prefers": (prefer(("paid-max",)),)},
        plan=("paid-max", "own", "paid-plus"),
    ),
    Row(
        name="order/list-adds-nothing",
        facts={HEADER: "restricted"},
        policy={"prefers": (prefer(("paid-max", "preview", "own")),)},
        plan=("own",),
    ),
    Row(
        name="order/ties-end-with-a-name",
        policy={"targets": {n: replace(OWN, name=n) for n in ("c", "a", "b")}},
        plan=("a", "b", "c"),
    ),
    Row(
        name="order/sunk-ties-end-with-the-price",
        policy={"targets": {"a": replace(PLUS, name="a", marginal="sunk"), "own": OWN}},
        plan=("own", "a"),
    ),
    Row(
        name="order/marginal-amount",
        policy={"targets": {"own": replace(OWN, marginal=Decimal(100)), "paid-plus": PLUS}},
        plan=("paid-plus", "own"),
    ),
    Row(
        name="prefer/first-true-wins",
        policy={
            "prefers": (
                prefer(("paid-plus",), CI, rule="ci"),
                prefer("best", rule="b"),
                prefer("cheapest", rule="c"),
            )
        },
        order="b",
    ),
    Row(
        name="prefer/unknown-does-not",
        facts={"key.group": UNKNOWN},
        policy={"prefers": (prefer(("paid-max",), CI, rule="ci"),)},
        order=None,
        plan=ALL,
    ),
    Row(
        name="bucket/in-the-canary",
        facts={"request.bucket": 4},
        policy={"prefers": (prefer(("paid-plus",), {"request.bucket": {"lt": 5}}, rule="canary"),)},
        order="canary",
        plan=("paid-plus", "own", "paid-max"),
    ),
    Row(
        name="bucket/outside-the-canary",
        facts={"request.bucket": 5},
        policy={"prefers": (prefer(("paid-plus",), {"request.bucket": {"lt": 5}}, rule="canary"),)},
        order=None,
        plan=ALL,
    ),
]


@cases([*ORDERS])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)


def test_the_order_is_total() -> None:
    """However the targets come in, they leave in one order: equal ones by name."""
    twins = [replace(OWN, name=name) for name in "cab"]
    orders = {
        in_order(
            list(each),
            Ordering(rule=None, objective="cheapest"),
            modalities=some("text"),
            tokens=(100, 100),
            policy=policy(),
            state=QUIET,
        )
        for each in permutations(twins)
    }

    assert orders == {("a", "b", "c")}
