"""Policies, facts and targets in a few words of Python: the small world of the contract matrix.

Three callable targets and a disabled one:

    own        cluster   clearance restricted   text, image, video   standard   sunk GPUs
    paid-plus  external  clearance internal     text, image, video   standard   cheap
    paid-max   external  clearance internal     text                 premium    dear
    preview    external  disabled
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from router.policy.conditions import ALWAYS, All, AnyOf, Atom, Condition, Not
from router.policy.decide import decide
from router.policy.document import Policy
from router.policy.facts import SPECS, Facts, Kind
from router.policy.prices import GpuPrice, Tier, TokenPrice
from router.policy.rules import (
    Alias,
    Forbid,
    Invariant,
    Prefer,
    Raise,
    Shape,
)
from router.policy.scale import Scale
from router.policy.state import QUIET, State
from router.policy.targets import Attribute, Capabilities, Deadlines, Everything, Selector, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.decision import Decision
    from router.policy.values import Value

LABELS: Final = Scale(
    order=("public", "internal", "confidential", "restricted"), default="internal"
)
TIERS: Final = Scale(order=("basic", "standard", "premium"), default="standard")
ZONE: Final = ZoneInfo("Asia/Shanghai")
SCALES: Final = {Kind.LABEL: LABELS, Kind.TIER: TIERS}
DEADLINES: Final = Deadlines(connect_s=2, first_token_s=60, idle_s=30, total_s=600)
EXTERNAL: Final = Attribute("location", frozenset({"external"}))
CLUSTER: Final = Attribute("location", frozenset({"cluster"}))
SUNDAY_NIGHT: Final = 1_793_545_200.0  # 2026-11-01 15:00 UTC, 23:00 in Shanghai


def named(*names: str) -> Selector:
    """Select targets by name."""
    return Attribute("name", frozenset(names))


def when(tests: Mapping[str, Any]) -> Condition:
    """Read a `when` written as in YAML: facts with operators, `all`, `any`, `not`."""
    parts: list[Condition] = []
    for key, value in tests.items():
        if key == "all":
            parts.append(All(tuple(when(part) for part in value)))
        elif key == "any":
            parts.append(AnyOf(tuple(when(part) for part in value)))
        elif key == "not":
            parts.append(Not(when(value)))
        else:
            parts.extend(_atom(key, op, literal) for op, literal in value.items())
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _atom(fact: str, op: str, literal: Any) -> Atom:
    scale = SCALES.get(SPECS[fact].kind) if fact in SPECS else None
    literal = tuple(literal) if isinstance(literal, list) else literal
    return Atom(fact=fact, op=op, literal=literal, scale=scale)


def forbid(
    tests: Mapping[str, Any] | None = None,
    targets: Selector | None = None,
    *,
    rule: str = "no",
    message: str | None = None,
) -> Forbid:
    """Build a forbid; without tests it always fires, without targets it speaks of all."""
    condition = when(tests) if tests else ALWAYS
    return Forbid(
        id=rule,
        at="cost.yaml:1",
        when=condition,
        targets=targets or Everything(),
        message=message,
    )


def raised(to: str, tests: Mapping[str, Any] | None = None, *, rule: str = "up") -> Raise:
    """Build a raise to a literal label."""
    return Raise(id=rule, at="sensitivity.yaml:1", when=when(tests) if tests else ALWAYS, to=to)


def raised_from(source: str, *, rule: str = "from") -> Raise:
    """Build a raise to the value of a fact."""
    return Raise(id=rule, at="sensitivity.yaml:2", source=source)


def media(
    *parts: str, to: str | None = None, source: str | None = None, rule: str = "media"
) -> Raise:
    """Build a raise for parts that cannot be scanned."""
    where = "sensitivity.yaml:3"
    return Raise(id=rule, at=where, parts=frozenset(parts), to=to, source=source)


def shape(tests: Mapping[str, Any] | None = None, *, rule: str = "shape", **effects: Any) -> Shape:
    """Build a shape."""
    return Shape(id=rule, at="cost.yaml:9", when=when(tests) if tests else ALWAYS, **effects)


def prefer(then: Any, tests: Mapping[str, Any] | None = None, **changes: Any) -> Prefer:
    """Build a prefer."""
    rule = changes.pop("rule", "prefer")
    condition = when(tests) if tests else ALWAYS
    return Prefer(id=rule, at="quality.yaml:1", when=condition, then=then, **changes)


def never(tests: Mapping[str, Any], *, rule: str = "never") -> Invariant:
    """Build an invariant."""
    return Invariant(id=rule, at="sensitivity.yaml:9", when=when(tests))


def token_price(
    given: str, made: str, *, up_to: int = 991_808, above: Tier | None = None
) -> TokenPrice:
    """Build a vendor's price: USD per million input and output tokens."""
    first = Tier(up_to=up_to, input=Decimal(given), output=Decimal(made))
    return TokenPrice(as_of="2026-10-01", per_million=(first, above) if above else (first,))


OWN: Final = Target(
    name="own",
    location="cluster",
    upstream="vllm",
    base_url="http://127.0.0.1:8000/v1",
    model="Qwen/Qwen3.6-27B",
    clearance="restricted",
    tags={"region": "cn"},
    tier={"text": "standard", "vision": "standard"},
    can=Capabilities(
        input=frozenset({"text", "image", "video"}),
        tools=True,
        json_schema=True,
        thinking="switchable",
        context=262_144,
        max_output=65_536,
    ),
    price=GpuPrice(
        gpu_hour_usd=Decimal("2.50"),
        gpus=2,
        input_tokens_per_s=Decimal(9000),
        output_tokens_per_s=Decimal(1500),
    ),
    marginal="sunk",
    deadlines=DEADLINES,
    at="targets.yaml:1",
)
PLUS: Final = replace(
    OWN,
    name="paid-plus",
    location="external",
    upstream="dashscope",
    base_url="https://dashscope.example/v1",
    model="qwen3.7-plus",
    clearance="internal",
    tags={"region": "sg"},
    can=replace(OWN.can, json_object=True, json_schema=False, context=991_808),
    price=token_price(
        "0.40",
        "1.60",
        up_to=262_144,
        above=Tier(up_to=991_808, input=Decimal("1.20"), output=Decimal("4.80")),
    ),
    marginal="price",
    at="targets.yaml:20",
)
MAX: Final = replace(
    PLUS,
    name="paid-max",
    model="qwen3.7-max",
    tier={"text": "premium"},
    can=replace(PLUS.can, input=frozenset({"text"})),
    price=token_price("2.50", "7.50"),
    at="targets.yaml:40",
)
PREVIEW: Final = replace(
    MAX, name="preview", price=None, disabled="no price is published", at="targets.yaml:60"
)
CATALOG: Final = (OWN, PLUS, MAX, PREVIEW)
ALIASES: Final = (
    Alias(name="auto"),
    Alias(name="best", tier="premium"),
    Alias(name="mine", only=frozenset({"own"})),
)
DECLARED: Final = (
    raised_from("key.min_label", rule="from-key"),
    raised_from("header.x-router-sensitivity", rule="from-client"),
)
BY_TIER: Final = (prefer("cheapest", min_tier_requested=True, rule="default"),)


def policy(*targets: Target, **changes: Any) -> Policy:
    """Build a policy: the small world's, with other sections where they are given."""
    sections: dict[str, Any] = {
        "digest": "sha256:test",
        "labels": LABELS,
        "on_unknown": LABELS.top,
        "tiers": TIERS,
        "time_zone": ZONE,
        "names": {
            "key.product": frozenset({"shop", "search", "hr"}),
            "key.group": frozenset({"prod", "ci"}),
            "request.metadata.purpose": frozenset({"eval", "chat"}),
            "header.x-router-app": frozenset({"web"}),
        },
        "switches": frozenset({"all_home"}),
        "targets": {target.name: target for target in targets or CATALOG},
        "aliases": {alias.name: alias for alias in ALIASES},
        "raises": DECLARED,
        "prefers": BY_TIER,
    }
    return Policy(**(sections | changes))


def facts(changes: Mapping[str, Value | None] | None = None) -> Facts:
    """Build the facts of a short text question, changed; None takes a fact away."""
    values: dict[str, Value | None] = {
        "key.id": "k1",
        "request.model": "auto",
        "request.input": frozenset({"text"}),
        "request.output": frozenset({"text"}),
        "request.tools": False,
        "request.json": False,
        "request.stream": False,
        "request.needs": frozenset(),
        "request.fields": frozenset(),
        "request.bucket": 42,
        "input_tokens_estimated": 100,
        "received_at": SUNDAY_NIGHT,
    }
    return Facts({name: v for name, v in (values | dict(changes or {})).items() if v is not None})


def decided(
    changes: Mapping[str, Value | None] | None = None,
    state: State = QUIET,
    **sections: Any,
) -> Decision:
    """Decide changed facts under a changed policy."""
    return decide(facts(changes), policy(**sections), state)


def codes(decision: Decision, target: str) -> tuple[str, ...]:
    """Return every reason against a target, `stage/code` in order."""
    return tuple(f"{r.stage.value}/{r.code}" for r in decision.verdicts[target].reasons)
