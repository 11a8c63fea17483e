"""`decide(facts, policy, state) -> Decision`: the whole of the product's judgement, and pure.

Order of evaluation: facts, label, shape, removal, order, plan. Shape stands before removal because
a rule may test the estimated cost, and the cost is of the request as it will be sent.

This package knows no clock, no chance, no log and no I/O: what it reads is its three arguments.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from router.errors import (
    ApiError,
    ContextLengthExceeded,
    ModelNotFound,
    NoCapacity,
    PolicyRefused,
    UnsupportedCapability,
)
from router.policy.decision import Decision, Refusal, Stage, Verdict
from router.policy.estimates import output_tokens
from router.policy.facts import SPECS, SWITCH_PREFIX, TIER_HEADER, WEEKDAYS
from router.policy.label import label_of
from router.policy.ordering import in_order, ordering
from router.policy.removal import Case, reasons
from router.policy.shaping import shape
from router.policy.values import ABSENT, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from router.policy.decision import Label, Shaped
    from router.policy.document import Policy
    from router.policy.facts import Facts
    from router.policy.rules import Forbid
    from router.policy.state import State
    from router.policy.values import Value

# Raised with every change of this package that can change a decision; recorded with each.
ENGINE_REVISION = "1"

# What is found on the way, or target by target.
UNDETERMINED: dict[str, Value] = {name: UNKNOWN for name, spec in SPECS.items() if not spec.given}

REFUSALS: Final[dict[Stage, type[ApiError]]] = {
    Stage.MODEL: ModelNotFound,
    Stage.CLEARANCE: PolicyRefused,
    Stage.CAPABILITY: UnsupportedCapability,
    Stage.CONTEXT: ContextLengthExceeded,
    Stage.FORBID: PolicyRefused,
    Stage.STATE: NoCapacity,
}


def decide(facts: Facts, policy: Policy, state: State) -> Decision:
    """Decide one request. Same arguments, same decision."""
    known = _known(facts, policy, state)
    label = label_of(known, policy)
    known["label"] = label.value
    shaped = shape(facts, known, policy)
    answers = facts.count("request.n") or 1
    p50, p95 = (
        answers * n for n in output_tokens(thinking=shaped.thinking, max_output=shaped.max_output)
    )
    known["output_tokens_estimated"] = p50
    tokens = facts.count("input_tokens_estimated") or 0
    case = Case(
        facts=facts,
        known=known,
        policy=policy,
        state=state,
        label=label.value,
        shaped=shaped,
        needs=_needs(facts, shaped),
        callable=_callable(facts, policy),
        fired=_not_false(policy, known),
    )
    verdicts = {name: _verdict(name, case, (tokens, p50, p95)) for name in policy.targets}
    eligible = [policy.targets[name] for name, verdict in verdicts.items() if verdict.eligible]
    tier = _wished(known, policy)
    by = ordering(known, policy, tier)
    modalities = facts.names("request.input")
    plan = in_order(
        eligible, by, modalities=modalities, tokens=(tokens, p50), policy=policy, state=state
    )
    return Decision(
        policy=policy.digest,
        label=label,
        tier=tier,
        shaped=shaped,
        input_tokens=tokens,
        output_tokens_p50=p50,
        output_tokens_p95=p95,
        verdicts=verdicts,
        order=by,
        plan=plan,
        degraded=_degraded(plan, tier, modalities, policy),
        fired=_fired(label, shaped, verdicts, policy, by.rule),
        refusal=None if plan else _refusal(verdicts, policy),
    )


def _known(facts: Facts, policy: Policy, state: State) -> dict[str, Value]:
    """Return the request's facts with those that follow from policy and state."""
    # INVARIANT: what is not determined yet is UNKNOWN, so a rule that asks too early fires (P5).
    known = {**facts.values, **UNDETERMINED}
    known["request.tier"] = _tier(facts, policy)
    for switch in policy.switches:
        known[SWITCH_PREFIX + switch] = switch in state.switches
    if moment := _moment(facts, policy):
        known["time.hour"] = moment.hour
        known["time.weekday"] = WEEKDAYS[moment.weekday()]
        known["time.date"] = moment.date().isoformat()
    return known


def _moment(facts: Facts, policy: Policy) -> datetime | None:
    """Return the time of arrival in the policy's zone, None where it is no time."""
    received_at = facts.get("received_at")
    if not isinstance(received_at, int | float):
        return None
    try:
        return datetime.fromtimestamp(received_at, UTC).astimezone(policy.time_zone)
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return None


def _tier(facts: Facts, policy: Policy) -> str:
    """Return the lower of what was asked and what is allowed, UNKNOWN where either is.

    Asked is the header, else the alias, else the key, else the default.
    """
    ranks = policy.tiers.ranks
    alias = policy.aliases.get(str(facts.get("request.model")))
    wishes = (facts.get(TIER_HEADER), alias.tier if alias else None, facts.get("key.tier"))
    asked = next(
        (str(t) for t in wishes if isinstance(t, str) and (t in ranks or t == UNKNOWN)),
        policy.tiers.default,
    )
    most = facts.get("key.max_tier")
    if UNKNOWN in (asked, most):
        return UNKNOWN
    if isinstance(most, str) and most in ranks:
        return policy.tiers.lowest(asked, most)
    # INVARIANT: a limit that is there and cannot be read is the lowest, never none.
    return asked if most == ABSENT else policy.tiers.order[0]


def _wished(known: Mapping[str, Value], policy: Policy) -> str:
    """Return the tier to order by: the lowest where it is unknown, so doubt costs nothing."""
    tier = known["request.tier"]
    return policy.tiers.order[0] if tier == UNKNOWN else str(tier)


def _callable(facts: Facts, policy: Policy) -> frozenset[str]:
    """Return the targets that the requested model stands for, for this key."""
    model = facts.get("request.model")
    may = facts.get("key.models")
    if not isinstance(model, str) or (may != ABSENT and model not in facts.names("key.models")):
        return frozenset()
    if alias := policy.aliases.get(model):
        return frozenset(policy.targets) if alias.only is None else alias.only
    if model in policy.targets and policy.targets[model].disabled is None:
        return frozenset((model,))
    return frozenset()


def _needs(facts: Facts, shaped: Shaped) -> frozenset[str]:
    """Return what the request needs, and what only together with thinking is one need more."""
    needs = facts.names("request.needs")
    if shaped.thinking and facts.flag("request.json"):
        needs |= {"json_while_thinking"}
    if shaped.thinking and "tool_choice_named" in needs:
        needs |= {"named_tool_while_thinking"}
    return needs


def _not_false(policy: Policy, known: Mapping[str, Value]) -> tuple[tuple[Forbid, bool], ...]:
    """Return the forbids that may fire, and whether they are judged already (not per target)."""
    fired: list[tuple[Forbid, bool]] = []
    for rule in policy.forbids:
        # INVARIANT: a forbid fires unless its condition is FALSE; UNKNOWN fires (P5).
        if rule.per_target:
            fired.append((rule, False))
        elif rule.when.truth(known) is not False:
            fired.append((rule, True))
    return tuple(fired)


def _verdict(name: str, case: Case, tokens: tuple[int, int, int]) -> Verdict:
    target = case.policy.targets[name]
    costs: tuple[Decimal, Decimal] | None = None
    if target.price is not None:
        count, p50, p95 = tokens
        costs = (target.price.usd(count, p50), target.price.usd(count, p95))
    return Verdict(
        target=name,
        reasons=reasons(target, case, costs),
        cost_usd_p50=costs[0] if costs else None,
        cost_usd_p95=costs[1] if costs else None,
    )


def _degraded(
    plan: tuple[str, ...], tier: str, modalities: frozenset[str], policy: Policy
) -> tuple[str, ...]:
    if not plan:
        return ()
    got = policy.targets[plan[0]].tier_for(modalities, policy.tiers)
    return ("tier",) if policy.tiers.rank(got) < policy.tiers.rank(tier) else ()


def _fired(
    label: Label,
    shaped: Shaped,
    verdicts: Mapping[str, Verdict],
    policy: Policy,
    prefer: str | None,
) -> tuple[str, ...]:
    """Return the ids of the rules that applied, each once: raise, shape, forbid, prefer."""
    raised = (source.rule for source in label.because if source.at is not None)
    removing = {r.rule for v in verdicts.values() for r in v.reasons if r.rule}
    removed = (rule.id for rule in (*policy.forbids, *policy.invariants) if rule.id in removing)
    preferred = (prefer,) if prefer else ()
    return tuple(dict.fromkeys((*raised, *shaped.rules, *removed, *preferred)))


def _refusal(verdicts: Mapping[str, Verdict], policy: Policy) -> Refusal:
    """Return the refusal of the stage that emptied the set, with the message of its rule."""
    left = {name for name, target in policy.targets.items() if target.disabled is None}
    for stage in Stage:
        here = [
            v for name in left if (v := verdicts[name]) and any(r.stage is stage for r in v.reasons)
        ]
        left -= {verdict.target for verdict in here}
        if left or not here:
            continue
        rules = {r.rule for v in here for r in v.reasons if r.stage is stage}
        message = next((f.message for f in policy.forbids if f.id in rules and f.message), None)
        error = REFUSALS[stage]
        return Refusal(stage=stage, code=error.code, http_status=error.status, message=message)
    # Every target is disabled: nothing could ever be tried.
    return Refusal(stage=Stage.STATE, code=NoCapacity.code, http_status=NoCapacity.status)
