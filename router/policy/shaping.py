"""Defaults and caps, applied before anything is estimated: they are part of the decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.policy.decision import Shaped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.document import Policy
    from router.policy.facts import Facts
    from router.policy.values import Value


def shape(facts: Facts, known: Mapping[str, Value], policy: Policy) -> Shaped:
    """Return the knobs to send: the caller's own, else the first default; under the lowest cap.

    A default is a wish, so it applies only when TRUE; a cap tightens, so it applies unless FALSE.
    """
    thinking = facts.flag("request.thinking")
    max_output = facts.count("request.max_output")
    cap: int | None = None
    used: list[str] = []
    for rule in policy.shapes:
        truth = rule.when.truth(known)
        if truth is False:
            continue
        applied = False
        if truth and rule.default_thinking is not None and thinking is None:
            thinking, applied = rule.default_thinking, True
        if truth and rule.default_max_output is not None and max_output is None:
            max_output, applied = rule.default_max_output, True
        if rule.cap_max_output is not None:
            cap = rule.cap_max_output if cap is None else min(cap, rule.cap_max_output)
            applied = True
        if applied:
            used.append(rule.id)
    if cap is not None:
        max_output = cap if max_output is None else min(max_output, cap)
    return Shaped(thinking=thinking, max_output=max_output, rules=tuple(used))
