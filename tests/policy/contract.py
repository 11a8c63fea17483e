"""The contract matrix: what one named case must decide, in one row each.

A row says what it changes in the small world of `builders`, and what must come out; what it leaves
out is not looked at. The rows stand in the test file of the module that they are about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from router.policy.state import QUIET, State
from tests.policy.builders import EXTERNAL, codes, decided, forbid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.policy.values import Value

UNSAID: Any = object()

HEADER: Final = "header.x-router-sensitivity"
TIER: Final = "header.x-router-tier"
PAID: Final = ("paid-plus", "paid-max")
ALL: Final = ("own", *PAID)
LONG: Final = 300_000  # tokens: more than `own` takes, less than the paid targets do

FORBIDDEN: Final = ("policy_refused", 403)
NO_SUCH_MODEL: Final = ("model_not_found", 404)
CANNOT: Final = ("unsupported_capability", 400)
TOO_LONG: Final = ("context_length_exceeded", 400)
NO_ROOM: Final = ("no_capacity", 503)

ABOVE: Final = "clearance/label_above_clearance"
NOT_ASKED: Final = "model/not_asked_for"
FORBID: Final = "forbid/forbid"

CI: Final = {"key.group": {"in": ["ci"]}}
CI_HOME: Final = forbid(CI, EXTERNAL, rule="ci-never-pays", message="CI uses our own models")


def some(*names: str) -> frozenset[str]:
    """Return a set-valued fact."""
    return frozenset(names)


def only(*rules: Any, **more: Any) -> dict[str, Any]:
    """Return the sections of a policy with these forbids."""
    return {"forbids": rules, **more}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case: facts, policy and state in; what must come out. `order` is the `prefer` that won.

    A case without `refused` is not refused, and one with it plans nothing.
    """

    name: str
    facts: Mapping[str, Value | None] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    state: State = QUIET
    plan: tuple[str, ...] | None = None
    refused: tuple[str, int] | None = None
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: str = UNSAID
    tier: str = UNSAID
    shape: tuple[bool | None, int | None] = UNSAID
    order: str | None = UNSAID
    degraded: tuple[str, ...] = UNSAID


def cases(rows: Sequence[Row]) -> pytest.MarkDecorator:
    """Run a test once for each row, under its name."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def check(row: Row) -> None:
    """Decide, and compare what the row says."""
    decision = decided(row.facts, row.state, **row.policy)

    seen = {
        "label": decision.label.value,
        "tier": decision.tier,
        "shape": (decision.shaped.thinking, decision.shaped.max_output),
        "order": decision.order.rule,
        "degraded": decision.degraded,
    }
    said = {name: value for name in seen if (value := getattr(row, name)) is not UNSAID}
    refusal = decision.refusal and (decision.refusal.code, decision.refusal.http_status)

    assert said == {name: seen[name] for name in said}
    assert dict(row.removed) == {name: codes(decision, name) for name in row.removed}
    assert row.refused == refusal
    if row.refused is not None or row.plan is not None:
        assert (row.plan or ()) == decision.plan
