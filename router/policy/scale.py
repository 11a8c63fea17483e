"""An ordered scale of names: the labels of a policy, or its tiers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Names from lowest to highest; `default` is one of them."""

    order: tuple[str, ...]
    default: str
    ranks: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", {name: rank for rank, name in enumerate(self.order)})

    @property
    def top(self) -> str:
        """The highest name."""
        return self.order[-1]

    def rank(self, name: str) -> int:
        """Return the position of `name`, 0 for the lowest; KeyError for a name not on the scale."""
        return self.ranks[name]

    def highest(self, *names: str) -> str:
        """Return the highest of `names`."""
        return max(names, key=self.ranks.__getitem__)

    def lowest(self, *names: str) -> str:
        """Return the lowest of `names`."""
        return min(names, key=self.ranks.__getitem__)
