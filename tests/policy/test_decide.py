"""Putting the stages together: tiers, models, refusals."""

from __future__ import annotations

from dataclasses import replace

from router.policy.rules import Alias
from router.policy.state import State
from router.policy.values import UNKNOWN
from tests.policy.builders import CATALOG, CLUSTER, OWN, forbid, named, raised_from
from tests.policy.contract import (
    ALL,
    CANNOT,
    CI_HOME,
    FORBIDDEN,
    HEADER,
    LONG,
    NO_ROOM,
    NO_SUCH_MODEL,
    NOT_ASKED,
    TIER,
    TOO_LONG,
    Row,
    cases,
    check,
    only,
    some,
)

TIERS_ASKED = [
    Row(name="tier/default", tier="standard", plan=ALL, degraded=()),
    Row(
        name="tier/header",
        facts={TIER: "premium"},
        tier="premium",
        plan=("paid-max", "own", "paid-plus"),
        degraded=(),
    ),
    Row(
        name="tier/alias",
        facts={"request.model": "best"},
        tier="premium",
        plan=("paid-max", "own", "paid-plus"),
    ),
    Row(
        name="tier/header-before-alias",
        facts={"request.model": "best", TIER: "basic"},
        tier="basic",
        plan=ALL,
    ),
    Row(
        name="tier/alias-before-key",
        facts={"request.model": "best", "key.tier": "basic"},
        tier="premium",
    ),
    Row(name="tier/key-before-default", facts={"key.tier": "basic"}, tier="basic"),
    Row(
        name="tier/lower-of-asked-and-max",
        facts={TIER: "premium", "key.max_tier": "standard"},
        tier="standard",
        plan=ALL,
    ),
    Row(
        name="tier/max-never-raises", facts={TIER: "basic", "key.max_tier": "premium"}, tier="basic"
    ),
    Row(name="tier/max-off-the-scale-is-the-lowest", facts={"key.max_tier": "gold"}, tier="basic"),
    Row(
        name="tier/unknown-fires-every-rule-about-it",
        facts={TIER: "premium", "key.max_tier": UNKNOWN},
        tier="basic",
        policy=only(
            forbid({"request.tier": {"gte": "premium"}}, named("paid-max"), rule="a"),
            forbid({"request.tier": {"lt": "premium"}}, named("paid-plus"), rule="b"),
        ),
        plan=("own",),
    ),
    Row(
        name="tier/degraded-is-said",
        facts={TIER: "premium", HEADER: "confidential"},
        plan=("own",),
        degraded=("tier",),
    ),
]

MODELS = [
    Row(name="model/alias-auto-is-everything", plan=ALL),
    Row(
        name="model/alias-only-intersects",
        facts={"request.model": "mine"},
        plan=("own",),
        removed={"paid-max": (NOT_ASKED,), "paid-plus": (NOT_ASKED,)},
    ),
    Row(name="model/name", facts={"request.model": "paid-max"}, plan=("paid-max",)),
    Row(name="model/unknown-is-404", facts={"request.model": "unknown"}, refused=NO_SUCH_MODEL),
    Row(name="model/absent-is-404", facts={"request.model": None}, refused=NO_SUCH_MODEL),
    Row(
        name="model/disabled-is-404",
        facts={"request.model": "preview"},
        refused=NO_SUCH_MODEL,
        removed={"preview": (NOT_ASKED, "state/disabled")},
    ),
    Row(
        name="model/not-of-this-key-is-404",
        facts={"request.model": "paid-max", "key.models": some("auto")},
        refused=NO_SUCH_MODEL,
    ),
    Row(name="model/alias-of-this-key", facts={"key.models": some("auto")}, plan=ALL),
    Row(
        name="model/alias-of-a-disabled-target",
        facts={"request.model": "next"},
        policy={"aliases": {"next": Alias(name="next", only=some("preview"))}},
        refused=NO_SUCH_MODEL,
    ),
]

REFUSALS = [
    Row(
        name="refusal/code-is-of-the-stage-that-emptied",  # clearance leaves own, context takes it
        facts={HEADER: "confidential", "input_tokens_estimated": LONG},
        refused=TOO_LONG,
    ),
    Row(
        name="refusal/forbid-after-capability",
        facts={"request.needs": some("tool_choice_required")},
        policy=only(forbid(targets=CLUSTER)),
        refused=FORBIDDEN,
    ),
    Row(
        name="refusal/state-comes-last",
        facts={"key.group": "ci"},
        policy=only(CI_HOME),
        state=State(suspended=some("own")),
        refused=NO_ROOM,
    ),
    Row(
        name="refusal/disabled-targets-do-not-count",
        facts={"request.needs": some("media_url")},
        policy={
            "targets": {
                t.name: replace(t, can=replace(t.can, media_url=t.disabled is not None))
                for t in CATALOG
            }
        },
        refused=CANNOT,
    ),
    Row(name="refusal/empty-catalog", policy={"targets": {}}, refused=NO_ROOM),
    Row(
        name="refusal/everything-disabled",
        policy={"targets": {"own": replace(OWN, disabled="gone")}},
        refused=NO_ROOM,
    ),
    Row(
        name="raise/source-in-a-forbid-free-policy",
        facts={"key.min_label": "restricted"},
        policy={"raises": (raised_from("key.min_label"),)},
        plan=("own",),
    ),
]


@cases([*TIERS_ASKED, *MODELS, *REFUSALS])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)
