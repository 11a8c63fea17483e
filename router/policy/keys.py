"""A client's key: what we know and trust about a caller. The secret itself is never kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key's attributes. None means that the attribute is not there.

    `models` limits what the caller may put in `model`; `expires_at` is seconds since the epoch.
    """

    id: str
    product: str | None = None
    team: str | None = None
    group: str | None = None
    min_label: str | None = None
    media_label: str | None = None
    tier: str | None = None
    max_tier: str | None = None
    models: frozenset[str] | None = None
    may_assert_user: bool = False
    owner: str | None = None
    expires_at: float | None = None

    def expired(self, now_s: float) -> bool:
        """Tell whether the key has ended at `now_s` (seconds since the epoch)."""
        return self.expires_at is not None and now_s >= self.expires_at


# The caller when ROUTER_AUTH=off: nobody in particular, with every attribute ABSENT.
ANONYMOUS = Key(id="anonymous")
