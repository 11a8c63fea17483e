"""`--why-not TARGET`: the smallest change of a request, or of the state, that lets a target in.

Strategy: the same `decide` judges every candidate, so what is found is true by construction. The
candidates are the values that the facts behind the target's removal could have had; single changes
are tried first, then pairs, then triples. Values that no rule can tell apart are tried once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from router.policy.account import plain
from router.policy.alternatives import alternatives, changed
from router.policy.decide import decide
from router.policy.decision import Stage
from router.policy.facts import SENSITIVITY_HEADER, SWITCH_PREFIX, TIER_HEADER, Facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from router.policy.decision import Decision, LabelSource, Reason, Verdict
    from router.policy.document import Policy
    from router.policy.state import State
    from router.policy.values import Value

# Beyond three changes at once nobody calls it small, and trying gets long.
MOST_CHANGES: Final = 3
MOST_TRIED: Final = 5_000

SUSPENDED: Final = "suspended"
UNRECORDED: Final = "unrecorded"
# Lengths, in tokens: of these less is tried, and as much of it as will do is kept.
LENGTHS: Final = frozenset({"input_tokens_estimated", "request.max_output"})
COSTS: Final = frozenset({"cost_usd_p50_estimated", "cost_usd_p95_estimated"})
TIMES: Final = frozenset({"time.hour", "time.weekday", "time.date"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that would have to be otherwise: a fact's value, a suspension or a switch."""

    name: str
    was: Value
    to: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One target under one request, with changes tried on it."""

    target: str
    facts: Facts
    policy: Policy
    state: State

    def verdict(self, changes: Sequence[Change] = ()) -> Verdict:
        """Return what the target's verdict would be."""
        return self.decision(changes).verdicts[self.target]

    def decision(self, changes: Sequence[Change] = ()) -> Decision:
        """Decide with the changes made."""
        values, state = dict(self.facts.values), self.state
        for change in changes:
            if change.name == SUSPENDED:
                state = replace(state, suspended=state.suspended - {self.target})
            elif change.name == UNRECORDED:
                state = replace(state, unrecorded=False)
            elif change.name.startswith(SWITCH_PREFIX):
                name = change.name.removeprefix(SWITCH_PREFIX)
                state = replace(state, switches=state.switches - {name})
            else:
                values = changed(values, change.name, change.to)
        return decide(Facts(values), self.policy, state)


def smallest_change(target: str, facts: Facts, policy: Policy, state: State) -> dict[str, Any]:
    """Return what would make `target` eligible, as plain values.

    `{"target", "eligible", "changes", "reasons"}`. `changes: [{name, from, to}]` is null where no
    change of at most three facts does it. `reasons` are those against the target; in the null case
    those that no change of the request removes, so that the policy would have to.
    """
    # Removing is per target, so neither other targets, nor rules that are not of this one, nor any
    # order need be judged again with each trial.
    forbids = tuple(f for f in policy.forbids if f.targets.selects(policy.targets[target]))
    only = {target: policy.targets[target]}
    alone = replace(policy, targets=only, forbids=forbids, prefers=())
    trial = _Trial(target=target, facts=facts, policy=alone, state=state)
    decision = trial.decision()
    verdict = decision.verdicts[target]
    if verdict.eligible:
        return {"target": target, "eligible": True, "changes": [], "reasons": []}
    candidates = list(dict.fromkeys(_candidates(trial, decision)))
    found = None if policy.targets[target].disabled else _search(trial, candidates)
    reasons = verdict.reasons if found else _lasting(trial, candidates)
    place = policy.targets[target].at
    return {
        "target": target,
        "eligible": False,
        "changes": found and [_told(change) for change in _largest(trial, found)],
        "reasons": [
            {"stage": r.stage.value, "code": r.code, "rule": r.rule, "at": r.at or place}
            for r in reasons
        ],
    }


def _told(change: Change) -> dict[str, Any]:
    return {"name": change.name, "from": plain(change.was), "to": plain(change.to)}


def _search(trial: _Trial, candidates: Sequence[Change]) -> tuple[Change, ...] | None:
    tried = 0
    for size in range(1, MOST_CHANGES + 1):
        for chosen in combinations(candidates, size):
            if len({change.name for change in chosen}) < size:
                continue
            tried += 1
            if tried > MOST_TRIED:
                return None
            if trial.verdict(chosen).eligible:
                return chosen
    return None


def _lasting(trial: _Trial, candidates: Sequence[Change]) -> tuple[Reason, ...]:
    """Return the reasons that are left when each change that removes most has been made."""
    made: tuple[Change, ...] = ()
    left = reasons = trial.verdict().reasons
    while left:
        rest = [change for change in candidates if change.name not in {m.name for m in made}]
        tried = [trial.verdict((*made, change)).reasons for change in rest]
        fewest = min(tried, key=len, default=left)
        if len(fewest) >= len(left):
            return left
        made, left = (*made, rest[tried.index(fewest)]), fewest
    return reasons  # each has its change, but there are too many


def _largest(trial: _Trial, found: tuple[Change, ...]) -> tuple[Change, ...]:
    """Give back as much of each shortened length as will do, by halving what lies between."""
    for index, change in enumerate(found):
        if change.name not in LENGTHS or not isinstance(change.to, int):
            continue
        good, bad = change.to, change.was if isinstance(change.was, int) else 2 * change.to
        while bad - good > 1:
            middle = (good + bad) // 2
            tried = (*found[:index], replace(change, to=middle), *found[index + 1 :])
            if trial.verdict(tried).eligible:
                good, found = middle, tried
            else:
                bad = middle
    return found


def _candidates(trial: _Trial, decision: Decision) -> Iterator[Change]:
    """Yield what could be otherwise, the likeliest first."""
    names: dict[str, None] = {}
    for reason in decision.verdicts[trial.target].reasons:
        yield from _of_state(reason)
        names |= dict.fromkeys(_behind(reason, decision.label.because))
    for name in names:
        was = trial.facts.get(name)
        for to in alternatives(name, trial.facts, trial.policy, trial.target):
            if to != was:
                yield Change(name=name, was=was, to=to)


def _of_state(reason: Reason) -> Iterator[Change]:
    if reason.code in {SUSPENDED, UNRECORDED}:
        yield Change(name=reason.code, was=True, to=False)
    for name, value in reason.facts:
        if name.startswith(SWITCH_PREFIX) and value is True:
            yield Change(name=name, was=True, to=False)


def _behind(reason: Reason, because: Sequence[LabelSource]) -> Iterator[str]:
    """Yield the names of the facts of the request that a reason comes from."""
    names = [name for name, _ in reason.facts]
    if "label" in names:
        for source in because:
            yield from (name for name, _ in source.facts)
        yield from (SENSITIVITY_HEADER, "key.min_label")
    yield from names
    if "request.tier" in names:
        yield from (TIER_HEADER, "key.max_tier")
    if reason.stage is Stage.MODEL:
        yield "key.models"
    if reason.stage is Stage.CONTEXT or COSTS.intersection(names):
        yield from sorted(LENGTHS)
    if "output_tokens_estimated" in names or COSTS.intersection(names):
        yield from ("request.max_output", "request.thinking", "request.n")
    if reason.code == "json_while_thinking":
        yield from ("request.thinking", "request.json")
    if TIMES.intersection(names):
        yield "received_at"
