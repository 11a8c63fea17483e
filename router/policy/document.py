"""A whole policy, as loaded and checked. Everything that `decide` needs besides facts and state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from router.policy.rules import Alias, Forbid, Invariant, Prefer, Raise, Rule, Shape
    from router.policy.scale import Scale
    from router.policy.targets import Target


def _id(rule: Rule) -> str:
    return rule.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A loaded policy. `digest` covers its meaning: not comments, key order or line numbers.

    `names` is the declared vocabulary by fact (`key.product`, `request.metadata.purpose` …);
    `on_unknown` is the top label. Shapes and prefers are in file order, files in the head's order:
    there the first wins. The rest commute, so they are kept by id, whatever order they came in.
    """

    digest: str
    labels: Scale
    on_unknown: str
    tiers: Scale
    time_zone: ZoneInfo
    names: Mapping[str, frozenset[str]]
    switches: frozenset[str]
    targets: Mapping[str, Target]
    aliases: Mapping[str, Alias]
    raises: tuple[Raise, ...] = ()
    forbids: tuple[Forbid, ...] = ()
    shapes: tuple[Shape, ...] = ()
    prefers: tuple[Prefer, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    pass_fields: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # INVARIANT: policies of one digest decide alike, down to the order of reasons (P3); no
        # digest sees the order of mappings, nor of rules that commute.
        for name in ("raises", "forbids", "invariants"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name), key=_id)))
        object.__setattr__(self, "targets", dict(sorted(self.targets.items())))
        passed = frozenset(name for t in self.targets.values() for name in t.pass_fields)
        object.__setattr__(self, "pass_fields", passed)
