"""`--why-not TARGET`: the smallest change of a request, or of the state, that lets a target in.

Strategy: the same `decide` judges every candidate, so what is found is true by construction. The
candidates are the values that the facts behind the target's removal could have had; single changes
are tried first, then pairs, then triples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from router.policy.account import plain
from router.policy.decide import decide
from router.policy.decision import Stage
from router.policy.facts import SENSITIVITY_HEADER, SPECS, TIER_HEADER, Facts, Kind
from router.policy.values import ABSENT, Number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.policy.decision import Decision, Reason
    from router.policy.document import Policy
    from router.policy.state import State
    from router.policy.values import Value

# Beyond three changes at once nobody calls it small, and trying gets long.
MOST_CHANGES: Final = 3
MOST_TRIED: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that would have to be otherwise: a fact's value, a suspension or a switch."""

    name: str
    was: Value
    to: Value


def smallest_change(target: str, facts: Facts, policy: Policy, state: State) -> dict[str, Any]:
    """Return what would make `target` eligible, as plain values.

    `{"target", "eligible": true}`; or `eligible: false` with `changes: [{name, from, to}]`, which is
    null where no change of at most three facts does it, and then `reasons` names what the policy
    would have to change.
    """
    decision = decide(facts, policy, state)
    verdict = decision.verdicts[target]
    if verdict.eligible:
        return {"target": target, "eligible": True, "changes": []}
    reasons = [
        {"stage": r.stage.value, "code": r.code, "rule": r.rule, "at": r.at}
        for r in verdict.reasons
    ]
    found = _search(target, facts, policy, state, decision)
    changes = found and [{"name": c.name, "from": plain(c.was), "to": plain(c.to)} for c in found]
    return {"target": target, "eligible": False, "changes": changes, "reasons": reasons}


def _search(
    target: str, facts: Facts, policy: Policy, state: State, decision: Decision
) -> tuple[Change, ...] | None:
    candidates = list(dict.fromkeys(_candidates(target, facts, policy, decision)))
    tried = 0
    for size in range(1, MOST_CHANGES + 1):
        for chosen in combinations(candidates, size):
            if len({change.name for change in chosen}) < size:
                continue
            tried += 1
            if tried > MOST_TRIED:
                return None
            if decide(*_changed(facts, policy, state, chosen)).verdicts[target].eligible:
                return chosen
    return None


def _changed(
    facts: Facts, policy: Policy, state: State, changes: tuple[Change, ...]
) -> tuple[Facts, Policy, State]:
    values = dict(facts.values)
    for change in changes:
        kind, _, name = change.name.partition(" ")
        if kind == "suspended":
            state = replace(state, suspended=state.suspended - {name})
        elif kind == "switch":
            state = replace(state, switches=state.switches - {name})
        elif kind == "unrecorded":
            state = replace(state, unrecorded=False)
        elif change.to == ABSENT:
            values.pop(change.name, None)
        else:
            values[change.name] = change.to
    return Facts(values), policy, state


def _candidates(target: str, facts: Facts, policy: Policy, decision: Decision) -> Iterator[Change]:
    """Yield what could be otherwise, the likeliest first."""
    names: dict[str, None] = {}
    for reason in decision.verdicts[target].reasons:
        yield from _by_state(target, reason)
        names |= dict.fromkeys(name for name, _ in reason.facts)
        if reason.stage is Stage.CONTEXT:
            names |= dict.fromkeys(("input_tokens_estimated", "request.max_output"))
    if "label" in names:
        names |= dict.fromkeys(n for s in decision.label.because for n, _ in s.facts)
        names |= dict.fromkeys((SENSITIVITY_HEADER, "key.min_label"))
    if "request.tier" in names:
        names |= dict.fromkeys((TIER_HEADER, "key.max_tier"))
    if names.keys() & {"cost_usd_p50_estimated", "cost_usd_p95_estimated"}:
        names |= dict.fromkeys(("input_tokens_estimated", "request.max_output"))
    for name in names:
        was = facts.get(name)
        for to in _values(name, was, target, policy):
            if to != was:
                yield Change(name=name, was=was, to=to)


def _by_state(target: str, reason: Reason) -> Iterator[Change]:
    if reason.code == "suspended":
        yield Change(name=f"suspended {target}", was=True, to=False)
    if reason.code == "unrecorded":
        yield Change(name="unrecorded", was=True, to=False)
    for name, value in reason.facts:
        if name.startswith("switch.") and value is True:
            yield Change(name=f"switch {name.removeprefix('switch.')}", was=True, to=False)


def _values(name: str, was: Value, target: str, policy: Policy) -> Iterator[Value]:
    """Yield the values that a fact could have had instead."""
    if name == "request.model":
        yield from policy.aliases
        yield target
    elif name == "request.max_output":
        yield ABSENT
        yield from _smaller(was, policy.targets[target].can.max_output)
    elif name == "input_tokens_estimated":
        yield from _smaller(was, policy.targets[target].can.context)
    elif isinstance(was, frozenset):
        yield from _less(name, was, target, policy)
    elif name in SPECS and SPECS[name].given:
        yield from _of_kind(name, policy)
    elif name in policy.names:
        yield from sorted(policy.names[name])
        yield ABSENT


def _of_kind(name: str, policy: Policy) -> Iterator[Value]:
    kind = SPECS[name].kind
    if kind is Kind.LABEL:
        # From the highest down, so that the request gives up as little as it must.
        yield from reversed(policy.labels.order)
    elif kind is Kind.TIER:
        yield from reversed(policy.tiers.order)
    elif kind is Kind.BOOL:
        yield from (False, True)
    elif kind is Kind.NUMBER:
        yield from _bounds(name, policy)
        return
    elif kind is Kind.NAME:
        yield from sorted(policy.names.get(name, ()))
    yield ABSENT


def _less(name: str, was: frozenset[str], target: str, policy: Policy) -> Iterator[Value]:
    able = policy.targets[target]
    keep = {
        "request.input": able.can.input,
        "request.output": able.can.output,
        "request.needs": was - able.lacks,
        "request.fields": able.handles,
    }.get(name, was)
    yield was & keep
    for part in sorted(was):
        yield was - {part}


def _smaller(was: Value, bound: int) -> Iterator[Value]:
    yield bound
    if isinstance(was, Number) and not isinstance(was, bool):
        for share in (2, 10, 100):
            yield int(was) // share


def _bounds(name: str, policy: Policy) -> Iterator[Value]:
    """Yield the numbers on both sides of every bound that a forbid sets for this fact."""
    for rule in policy.forbids:
        for atom in rule.when.atoms():
            if atom.fact == name and isinstance(atom.literal, int):
                yield from (atom.literal, atom.literal - 1, atom.literal + 1)
