"""The state snapshot: everything `decide` reads that is neither the request nor the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One moment of the running gateway.

    `switches` are those that are on; `suspended` are target names; `unrecorded` is true while the
    record writer cannot write; `first_token_ms` is the running mean time to the first token by
    target, for `then: fastest`.
    """

    switches: frozenset[str] = frozenset()
    suspended: frozenset[str] = frozenset()
    unrecorded: bool = False
    first_token_ms: Mapping[str, int] = field(default_factory=dict)


QUIET = State()
