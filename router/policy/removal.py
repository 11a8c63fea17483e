"""Removing targets: every stage judges every target and keeps every reason.

Removals commute, so what may be planned never depends on the order of rules or stages; only a
refusal's code does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.policy.decision import Reason, Stage
from router.policy.values import ABSENT, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from router.policy.decision import Shaped
    from router.policy.document import Policy
    from router.policy.facts import Facts
    from router.policy.rules import Forbid, Invariant, Rule
    from router.policy.state import State
    from router.policy.targets import Target
    from router.policy.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request under judgement: what every stage reads."""

    facts: Facts
    known: Mapping[str, Value]
    policy: Policy
    state: State
    label: str
    shaped: Shaped
    needs: frozenset[str]
    callable: frozenset[str]
    fired: tuple[tuple[Forbid, bool], ...]


def reasons(
    target: Target, case: Case, costs: tuple[Decimal, Decimal] | None
) -> tuple[Reason, ...]:
    """Return every reason against `target`, in stage order; empty where it is eligible."""
    return (
        *_model(target, case),
        *_clearance(target, case),
        *_capability(target, case),
        *_context(target, case),
        *_forbid(target, case, costs),
        *_state(target, case),
    )


def _model(target: Target, case: Case) -> Iterator[Reason]:
    if target.name not in case.callable:
        asked = case.facts.get("request.model")
        yield Reason(stage=Stage.MODEL, code="not_asked_for", facts=(("request.model", asked),))


def _clearance(target: Target, case: Case) -> Iterator[Reason]:
    ranks = case.policy.labels.ranks
    if ranks[case.label] > ranks[target.clearance]:
        yield Reason(
            stage=Stage.CLEARANCE, code="label_above_clearance", facts=(("label", case.label),)
        )


def _capability(target: Target, case: Case) -> Iterator[Reason]:
    for fact, able in (("request.input", target.can.input), ("request.output", target.can.output)):
        wanted = case.facts.get(fact)
        if wanted == UNKNOWN:
            yield Reason(stage=Stage.CAPABILITY, code="unknown", facts=((fact, UNKNOWN),))
        elif isinstance(wanted, frozenset) and (beyond := wanted - able):
            code = fact.removeprefix("request.")
            yield Reason(stage=Stage.CAPABILITY, code=code, facts=((fact, beyond),))
    for fact in ("request.needs", "request.fields"):
        if case.facts.get(fact) == UNKNOWN:
            yield Reason(stage=Stage.CAPABILITY, code="unknown", facts=((fact, UNKNOWN),))
    for need in sorted(case.needs & target.lacks):
        needs = (("request.needs", frozenset((need,))),)
        yield Reason(stage=Stage.CAPABILITY, code=need, facts=needs)
    if beyond := case.facts.names("request.fields") - target.handles:
        yield Reason(stage=Stage.CAPABILITY, code="field", facts=(("request.fields", beyond),))


def _context(target: Target, case: Case) -> Iterator[Reason]:
    for fact in ("input_tokens_estimated", "request.max_output"):
        # INVARIANT: a length that is there and is no whole number is unknown, never none.
        if case.facts.count(fact) is None and case.facts.get(fact) != ABSENT:
            yield Reason(stage=Stage.CONTEXT, code="unknown", facts=((fact, UNKNOWN),))
    tokens = case.facts.count("input_tokens_estimated") or 0
    output = case.shaped.max_output or 0
    if tokens + output > target.can.context:
        found = (("input_tokens_estimated", tokens), ("request.max_output", output))
        yield Reason(stage=Stage.CONTEXT, code="context_length", facts=found)
    if output > target.can.max_output:
        asked = (("request.max_output", output),)
        yield Reason(stage=Stage.CONTEXT, code="max_output", facts=asked)


def _forbid(target: Target, case: Case, costs: tuple[Decimal, Decimal] | None) -> Iterator[Reason]:
    per_target: Mapping[str, Value] | None = None
    for rule, judged in case.fired:
        if not rule.targets.selects(target):
            continue
        if not judged:
            per_target = per_target or known_of(target, case.known, costs)
            if rule.when.truth(per_target) is False:
                continue
        yield _fired(rule, "forbid", per_target or case.known)
    for invariant in case.policy.invariants:
        per_target = per_target or known_of(target, case.known, costs)
        if invariant.when.truth(per_target) is not False:
            yield _fired(invariant, "invariant", per_target)


def _fired(rule: Rule | Invariant, code: str, known: Mapping[str, Value]) -> Reason:
    facts = tuple((name, known.get(name, ABSENT)) for name in rule.facts())
    return Reason(stage=Stage.FORBID, code=code, rule=rule.id, at=rule.at, facts=facts)


def known_of(
    target: Target, known: Mapping[str, Value], costs: tuple[Decimal, Decimal] | None
) -> dict[str, Value]:
    """Return the known facts with those of one target added. Without a price costs are UNKNOWN."""
    return {
        **known,
        "target.name": target.name,
        "target.location": target.location,
        "cost_usd_p50_estimated": costs[0] if costs else UNKNOWN,
        "cost_usd_p95_estimated": costs[1] if costs else UNKNOWN,
    }


def _state(target: Target, case: Case) -> Iterator[Reason]:
    if target.disabled is not None:
        yield Reason(stage=Stage.STATE, code="disabled", at=target.at)
    if target.name in case.state.suspended:
        yield Reason(stage=Stage.STATE, code="suspended")
    if case.state.unrecorded and target.location == "external":
        yield Reason(stage=Stage.STATE, code="unrecorded")
