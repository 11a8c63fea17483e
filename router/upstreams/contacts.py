"""What the transport itself counted, so that the records can be reconciled with it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.targets import Target


class Contacts:
    """Counts since the start, by target name; the transport alone adds to them.

    `made` counts each request whose connect was permitted, `external` those among them that went to
    a target of location external. `reconnected` counts second connects for the same request, after
    a kept connection had died. `refused` counts each address that a cluster target's name resolved
    to outside the cluster's networks, and that was therefore not dialled.
    """

    def __init__(self) -> None:
        self._made: dict[str, int] = {}
        self._external: dict[str, int] = {}
        self._reconnected: dict[str, int] = {}
        self._refused: dict[str, int] = {}

    @property
    def made(self) -> Mapping[str, int]:
        """Requests whose connect was permitted, by target."""
        return MappingProxyType(self._made)

    @property
    def external(self) -> Mapping[str, int]:
        """Those of `made` that went to external targets."""
        return MappingProxyType(self._external)

    @property
    def reconnected(self) -> Mapping[str, int]:
        """Second connects for the same request, by target."""
        return MappingProxyType(self._reconnected)

    @property
    def refused(self) -> Mapping[str, int]:
        """Addresses outside the cluster's networks that were not dialled, by target."""
        return MappingProxyType(self._refused)

    def count(self, target: Target, *, again: bool) -> None:
        """Count one permitted connect; `again` where it is the second of the same request."""
        if again:
            _add(self._reconnected, target.name)
            return
        _add(self._made, target.name)
        if target.location == "external":
            _add(self._external, target.name)

    def count_refused(self, target: Target) -> None:
        """Count one address that was not dialled."""
        _add(self._refused, target.name)


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1
