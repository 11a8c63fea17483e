"""Ordering what is left: preferences never remove, and ties end with a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.policy.decision import Ordering
from router.policy.prices import marginal_usd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from router.policy.document import Policy
    from router.policy.rules import Prefer
    from router.policy.state import State
    from router.policy.targets import Target
    from router.policy.values import Value

Rank = tuple[bool, "Decimal | int | float", "Decimal | float", str]


def ordering(known: Mapping[str, Value], policy: Policy, tier: str) -> Ordering:
    """Return how to order: the first `prefer` that is TRUE, else by price."""
    for rule in policy.prefers:
        if rule.when.truth(known) is True:
            floor = _floor(rule, tier)
            return Ordering(rule=rule.id, at=rule.at, objective=rule.then, min_tier=floor)
    return Ordering(rule=None, objective="cheapest")


def _floor(rule: Prefer, tier: str) -> str | None:
    return tier if rule.min_tier_requested else rule.min_tier


def in_order(
    targets: list[Target],
    by: Ordering,
    *,
    modalities: frozenset[str],
    tokens: tuple[int, int],
    policy: Policy,
    state: State,
) -> tuple[str, ...]:
    """Return the names of `targets` in the order to try: floor, objective, price, name.

    `tokens` are the estimated input tokens and the median output tokens.
    """
    ranks = policy.tiers.ranks
    floor = ranks[by.min_tier] if by.min_tier else 0

    def rank(target: Target) -> Rank:
        tier = ranks[target.tier_for(modalities, policy.tiers)]
        price = target.price.usd(*tokens) if target.price else float("inf")
        return (tier < floor, _by_objective(target, by, tier, tokens, state), price, target.name)

    return tuple(target.name for target in sorted(targets, key=rank))


def _by_objective(
    target: Target, by: Ordering, tier: int, tokens: tuple[int, int], state: State
) -> Decimal | int | float:
    if isinstance(by.objective, tuple):
        listed = by.objective
        return listed.index(target.name) if target.name in listed else len(listed)
    if by.objective == "best":
        return -tier
    if by.objective == "fastest":
        return state.first_token_ms.get(target.name, float("inf"))
    if target.price is None:
        return float("inf")
    return marginal_usd(target.price, target.marginal, *tokens)
