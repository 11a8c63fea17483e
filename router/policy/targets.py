"""Targets: named places that a request can go, and the selectors that name sets of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from router.policy.dialects import DIALECTS, NEEDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.prices import Marginal, Price
    from router.policy.scale import Scale

Location = Literal["cluster", "external"]

# The key of `tier:` that speaks for an input modality; video counts as vision, a file as text.
TIER_OF_MODALITY = {
    "text": "text",
    "file": "text",
    "image": "vision",
    "video": "vision",
    "audio": "audio",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a target can do: `can:` of the catalog. Lengths are in tokens."""

    input: frozenset[str]
    output: frozenset[str] = frozenset({"text"})
    tools: bool = False
    json_object: bool = False
    json_schema: bool = False
    thinking: Literal["always", "never", "switchable"] = "never"
    media_url: bool = False
    context: int
    max_output: int

    def lacks(self) -> frozenset[str]:
        """Return the needs that this target cannot meet."""
        unmet: set[str] = {"unknown_part"}
        if not self.tools:
            unmet |= {"tools", "tool_choice_required", "tool_choice_named"}
        if not self.json_schema:
            unmet.add("json_schema")
        if not (self.json_object or self.json_schema):
            unmet.add("json_object")
        if self.thinking == "never":
            unmet.add("thinking_on")
        if self.thinking == "always":
            unmet.add("thinking_off")
        if not self.media_url:
            unmet.add("media_url")
        return NEEDS & unmet


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a target may take, each in seconds and each its own."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Where a target's own API key is read at each use: a file (rotates live) or a variable."""

    file: str | None = None
    env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One entry of the catalog.

    `disabled` is the reason why it is not callable, None for a callable one. `lacks` and `handles`
    are computed once from the dialect and `can`: needs never met, and top-level fields taken or
    droppable.
    """

    name: str
    location: Location
    upstream: str
    base_url: str
    model: str
    clearance: str
    tags: Mapping[str, str] = field(default_factory=dict)
    tier: Mapping[str, str]
    can: Capabilities
    price: Price | None
    marginal: Marginal
    deadlines: Deadlines
    api_key: Credential | None = None
    pass_fields: frozenset[str] = frozenset()
    proxy: str | None = None
    disabled: str | None = None
    at: str = field(default="", compare=False)
    lacks: frozenset[str] = field(init=False, repr=False, compare=False)
    handles: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        dialect = DIALECTS[self.upstream]
        lacks = self.can.lacks() | dialect.lacks
        if self.can.thinking == "switchable" and not dialect.switches_thinking:
            # The model could, but nobody can tell it: a caller's wish would be dropped silently.
            lacks |= {"thinking_on", "thinking_off"}
        object.__setattr__(self, "lacks", lacks)
        object.__setattr__(self, "handles", dialect.takes | dialect.drops | self.pass_fields)

    def tier_for(self, modalities: frozenset[str], tiers: Scale) -> str:
        """Return the tier for a mixed request: the lowest of its modalities' tiers.

        A modality without a tier counts at the lowest there is.
        """
        least = tiers.order[0]
        stated = [self.tier.get(TIER_OF_MODALITY[m], least) for m in modalities]
        return tiers.lowest(*stated) if stated else least


class Selector(Protocol):
    """`targets:` of a rule: which targets it speaks of. Nothing here depends on the request."""

    def selects(self, target: Target) -> bool:
        """Tell whether the rule speaks of `target`."""


@dataclass(frozen=True, slots=True)
class Everything:
    """`targets: all`."""

    def selects(self, target: Target) -> bool:  # noqa: ARG002 - the protocol's signature
        """Tell yes."""
        return True


@dataclass(frozen=True, slots=True)
class Attribute:
    """`{name: …}`, `{location: …}`, `{tags.NAME: …}` or `{tier.MODALITY: …}`: one of `values`."""

    key: str
    values: frozenset[str]

    def selects(self, target: Target) -> bool:
        """Tell whether the target's attribute is one of the values; a missing one is none."""
        match self.key.partition("."):
            case ("name", _, _):
                return target.name in self.values
            case ("location", _, _):
                return target.location in self.values
            case ("tags", _, tag):
                return target.tags.get(tag) in self.values
            case (_, _, modality):
                return target.tier.get(modality) in self.values


@dataclass(frozen=True, slots=True)
class Both:
    """Several attributes at once: all of them."""

    parts: tuple[Selector, ...]

    def selects(self, target: Target) -> bool:
        """Tell whether every part selects."""
        return all(part.selects(target) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Except:
    """`{not: …}`."""

    part: Selector

    def selects(self, target: Target) -> bool:
        """Tell whether the part does not select."""
        return not self.part.selects(target)
