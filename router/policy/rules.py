"""The rules of a policy: `when` plus one effect. Each knows its id and its place, file:line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from router.policy.conditions import ALWAYS, Condition
from router.policy.targets import Everything, Selector

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What every rule has. `at` is no part of its identity: a moved line changes nothing."""

    id: str
    at: str = field(compare=False)
    when: Condition = ALWAYS

    def facts(self) -> tuple[str, ...]:
        """Return the names of the facts that `when` tests, sorted: key order has no meaning."""
        return tuple(sorted({atom.fact for atom in self.when.atoms()}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise(Rule):
    """Raise the label: to a literal, to the value of a fact, or for parts that cannot be scanned.

    Exactly one source: `to` (with `when`), `source` (`from:` a label-valued fact), or `parts` with
    `source` (`part:` … `to:` a label-valued fact or `to`).
    """

    to: str | None = None
    source: str | None = None
    parts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbid(Rule):
    """Remove the selected targets unless `when` is FALSE. `message` is told to the caller."""

    targets: Selector = field(default_factory=Everything)
    message: str | None = None
    per_target: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tested = (atom.fact for atom in self.when.atoms())
        object.__setattr__(self, "per_target", names_target_facts(tested))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Rule):
    """Defaults (first TRUE one wins) and caps (the lowest not-FALSE one wins) for the request."""

    default_thinking: bool | None = None
    default_max_output: int | None = None
    cap_max_output: int | None = None


Objective = Literal["cheapest", "best", "fastest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefer(Rule):
    """Order what is left: targets below `min_tier` last, then by the objective or the list."""

    then: Objective | tuple[str, ...]
    min_tier: str | None = None
    min_tier_requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant(Rule):
    """What must never be planned: `never` judged target by target.

    It acts too: a target for which it is not FALSE is removed, so a policy whose rules let one
    through is still safe.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that clients may put in `model`: an asked tier and an allowed subset of targets."""

    name: str
    tier: str | None = None
    only: frozenset[str] | None = None
    at: str = field(default="", compare=False)


def names_target_facts(facts: Iterable[str]) -> bool:
    """Tell whether any of the facts is judged target by target."""
    return any(fact.startswith(("target.", "cost_usd_")) for fact in facts)
