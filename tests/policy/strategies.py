"""Random facts, rules, policies and states over the small world, for the laws.

Rules about the label test it upwards only (`gt`, `gte`, not negated), as a rule that protects does:
a forbid that stops below a label would let a higher one through, and no law could hold.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hypothesis import strategies as st

from router.policy.facts import Facts
from router.policy.rules import Rule
from router.policy.state import State
from router.policy.targets import Except
from router.policy.values import ABSENT, OTHER, UNKNOWN
from tests.policy.builders import (
    CATALOG,
    CLUSTER,
    DECLARED,
    EXTERNAL,
    LABELS,
    TIERS,
    facts,
    forbid,
    media,
    named,
    never,
    policy,
    prefer,
    raised,
    raised_from,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.policy.document import Policy
    from router.policy.values import Value

Tests = dict[str, Any]
R = TypeVar("R", bound=Rule)

NAMES: Final = tuple(target.name for target in CATALOG)
WORDS: Final = (ABSENT, OTHER, UNKNOWN)
SETS: Final = (frozenset({"text"}), frozenset({"text", "image"}), frozenset({"text", "video"}))
# Every value that a fact of these laws can have, apart from UNKNOWN.
CONCRETE: Final[dict[str, tuple[Value, ...]]] = {
    "key.group": ("prod", "ci", ABSENT, OTHER),
    "key.product": ("shop", "hr", ABSENT),
    "key.tier": (*TIERS.order, ABSENT),
    "key.max_tier": (*TIERS.order, ABSENT),
    "key.min_label": (*LABELS.order, ABSENT),
    "key.media_label": (*LABELS.order, ABSENT),
    "key.models": (frozenset({"auto", "own"}), frozenset({"auto"}), ABSENT),
    "header.x-router-sensitivity": (*LABELS.order, ABSENT),
    "header.x-router-tier": (*TIERS.order, ABSENT),
    "request.model": ("auto", "best", "mine", "paid-max", "preview", "unknown"),
    "request.input": SETS,
    "request.output": (frozenset({"text"}), frozenset({"audio"})),
    "request.needs": (frozenset(), frozenset({"tools"}), frozenset({"json_object"})),
    "request.fields": (frozenset(), frozenset({"logit_bias"}), frozenset({"unknown"})),
    "request.metadata.purpose": ("eval", "chat", OTHER, ABSENT),
    "request.json": (True, False),
    "request.thinking": (True, False, ABSENT),
    "request.max_output": (16, 70_000, ABSENT),
    "request.bucket": (0, 50, 99),
    "input_tokens_estimated": (10, 250_000, 300_000, 2_000_000),
    "received_at": (0.0, 1_793_545_200.0, 1_793_577_600.0),
}


def some_facts(*words: Value) -> st.SearchStrategy[Facts]:
    """Generate facts; `words` are values that any of them may have besides its own."""
    pairs = [(name, value) for name, values in CONCRETE.items() for value in (*values, *words)]
    return st.lists(st.sampled_from(pairs), max_size=8).map(lambda some: facts(dict(some)))


# Tests that rules are made of; those of DOWNSTREAM may not be negated (see above).
FREE: Final[tuple[Tests, ...]] = (
    {"key.group": {"in": ["ci"]}},
    {"key.group": {"not_in": ["prod"]}},
    {"key.product": {"eq": "hr"}},
    {"key.product": {"ne": "shop"}},
    {"request.input": {"has": "image"}},
    {"request.input": {"has_any": ["video", "audio"]}},
    {"request.thinking": {"eq": True}},
    {"request.bucket": {"lt": 50}},
    {"request.metadata.purpose": {"eq": "eval"}},
    {"request.tier": {"gte": "premium"}},
    {"request.tier": {"eq": "basic"}},
    {"time.hour": {"gte": 12}},
)
DOWNSTREAM: Final[tuple[Tests, ...]] = (
    {"label": {"gte": "internal"}},
    {"label": {"gt": "internal"}},
    {"switch.all_home": {"eq": True}},
    {"target.location": {"eq": "external"}},
    {"target.name": {"in": ["paid-max"]}},
    {"cost_usd_p95_estimated": {"gt": Decimal("0.30")}},
)


def _whens(*atoms: Tests) -> tuple[Tests | None, ...]:
    """Return conditions: none, each test, negations, and joints of every test with the next."""
    pairs = list(zip(atoms, (*atoms[1:], atoms[0]), strict=True))
    negated: list[Tests] = [{"not": atom} for atom in FREE]
    return (
        None,
        *atoms,
        *negated,
        *({"all": pair} for pair in pairs),
        *({"any": pair} for pair in pairs),
    )


UPSTREAM_WHENS: Final = _whens(*FREE)
SELECTORS: Final = (
    None,
    EXTERNAL,
    CLUSTER,
    named("paid-max"),
    named("own", "paid-plus"),
    Except(EXTERNAL),
)
FORBIDS: Final = tuple(
    forbid(tests, selector, message=message)
    for tests in _whens(*FREE, *DOWNSTREAM)
    for selector in SELECTORS
    for message in (None, "told")
)
FINDINGS: Final = (
    *(raised(to, tests) for to in LABELS.order for tests in UPSTREAM_WHENS),
    *(media("image", "video", to=to) for to in LABELS.order),
    media("image", source="key.media_label"),
)
SHAPINGS: Final = tuple(
    shape(tests, default_thinking=thinking, cap_max_output=cap)
    for tests in UPSTREAM_WHENS
    for thinking in (None, True, False)
    for cap in (None, 100, 5000)
)
PREFERENCES: Final = tuple(
    prefer(then, tests, min_tier=low)
    for then in ("cheapest", "best", "fastest", ("paid-max", "own"), ("preview",))
    for tests in UPSTREAM_WHENS
    for low in (None, "standard", "premium")
)
INVARIANTS: Final = (
    (),
    (never({"label": {"gte": "internal"}, "target.location": {"eq": "external"}}),),
    (never({"target.name": {"eq": "paid-max"}, "key.group": {"ne": "prod"}}),),
)
SOURCES: Final = (DECLARED, DECLARED[:1], (raised_from("key.min_label"),), ())


def _some(rules: Sequence[R], prefix: str) -> st.SearchStrategy[tuple[R, ...]]:
    """Generate up to three of the rules, each with an id of its own."""
    return st.lists(st.sampled_from(rules), max_size=3).map(
        lambda drawn: tuple(replace(rule, id=f"{prefix}{i}") for i, rule in enumerate(drawn))
    )


def sections(*, shapes: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Generate the rules of a policy, as sections for `builders.policy`."""
    return st.builds(
        lambda declared, found, forbids, shaped, prefers, invariants: {
            "raises": (*declared, *found),
            "forbids": forbids,
            "shapes": shaped if shapes else (),
            "prefers": prefers,
            "invariants": invariants,
        },
        st.sampled_from(SOURCES),
        _some(FINDINGS, "up"),
        _some(FORBIDS, "no"),
        _some(SHAPINGS, "shape"),
        _some(PREFERENCES, "prefer"),
        st.sampled_from(INVARIANTS),
    )


def policies() -> st.SearchStrategy[Policy]:
    """Generate policies over the small world."""
    return sections().map(lambda rules: policy(**rules))


STATES: Final = st.builds(
    lambda on, suspended, unrecorded, speeds: State(
        switches=frozenset(on),
        suspended=frozenset(suspended),
        unrecorded=unrecorded,
        first_token_ms=speeds,
    ),
    st.sampled_from(((), ("all_home",), ("other",))),
    st.sampled_from(((), ("own",), ("paid-max", "paid-plus"), NAMES)),
    st.booleans(),
    st.sampled_from(({}, {"own": 900}, {"paid-max": 300, "own": 300, "paid-plus": 20})),
)


def changed(base: Facts, changes: Mapping[str, Value]) -> Facts:
    """Return facts with some values replaced."""
    return Facts({**base.values, **changes})
