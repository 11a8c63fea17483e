"""The words of a policy: what its head declares, and the names in its catalog.

None stands for "could not be read": its problem is noted already, and what refers to it is not
judged, so that one broken line does not bring a hundred false ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from router.loading.fields import (
    Fields,
    Refused,
    Report,
    check_free,
    listing,
    mapping,
    name,
    shown,
    text,
)
from router.loading.problems import hint, quoted
from router.policy.facts import (
    HEADER_PREFIX,
    METADATA_PREFIX,
    SPECS,
    SWITCH_PREFIX,
    Kind,
    Spec,
)
from router.policy.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.loading.nodes import Node, Place
    from router.policy.targets import Target

KEY_NAMES = ("id", "product", "team", "group")
DECLARED_METADATA = re.compile(r"metadata\.[a-z0-9][a-z0-9_-]{0,63}")
DECLARED_HEADER = re.compile(r"header\.x-router-[a-z0-9][a-z0-9-]{0,47}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Every word that rules, keys and targets may use.

    `names` is by fact; `catalog` holds the targets themselves, for selectors by tag. Without
    a written time zone (`timed` is false) no rule may test the time.
    """

    labels: Scale | None = None
    tiers: Scale | None = None
    names: Mapping[str, frozenset[str]] | None = None
    switches: frozenset[str] | None = None
    time_zone: ZoneInfo | None = None
    timed: bool = False
    targets: frozenset[str] | None = None
    aliases: frozenset[str] | None = None
    catalog: Mapping[str, Target] | None = None

    @property
    def models(self) -> frozenset[str] | None:
        """What clients may put in `model`."""
        if self.targets is None or self.aliases is None:
            return None
        return self.targets | self.aliases

    def scale(self, kind: Kind) -> Scale | None:
        """Return the scale that orders facts of this kind."""
        return {Kind.LABEL: self.labels, Kind.TIER: self.tiers}.get(kind)

    def spec(self, fact: str) -> Spec | None:
        """Return what a rule may do with a fact; None for one that does not exist here."""
        if fact in SPECS:
            return SPECS[fact]
        if fact.startswith(SWITCH_PREFIX):
            known = self.switches is None or fact.removeprefix(SWITCH_PREFIX) in self.switches
            return Spec(kind=Kind.BOOL, given=False) if known else None
        if fact.startswith((METADATA_PREFIX, HEADER_PREFIX)):
            known = self.names is None or fact in self.names
            return Spec(kind=Kind.NAME) if known else None
        return None

    def facts(self) -> tuple[str, ...]:
        """Return every fact that a rule may name."""
        switches = (SWITCH_PREFIX + switch for switch in self.switches or ())
        return (*SPECS, *(self.names or ()), *switches)


def head(fields: Fields) -> Vocabulary:
    """Read what the head declares."""
    return Vocabulary(
        labels=fields.need("labels", _labels),
        tiers=fields.need("tiers", _tiers),
        names=fields.take("names", _names, {}),
        switches=fields.take("switches", _switches, frozenset()),
        time_zone=fields.take("time_zone", time_zone, None),
        timed="time_zone" in fields,
    )


def _labels(node: Node, report: Report) -> Scale:
    fields = Fields(node, report)
    order = fields.need("order", _order)
    default = fields.need("default", name)
    on_unknown = fields.need("on_unknown", name)
    fields.done()
    _on_scale("default", default, order, fields)
    if on_unknown != order[-1]:
        # What could not be determined may be anything, so it counts as the most sensitive.
        fields.wrong(fields.place("on_unknown"), f"on_unknown must be the top label, {order[-1]}")
    fields.done()
    return Scale(order=order, default=default)


def _tiers(node: Node, report: Report) -> Scale:
    fields = Fields(node, report)
    order = fields.need("order", _order)
    default = fields.need("default", name)
    fields.done()
    _on_scale("default", default, order, fields)
    fields.done()
    return Scale(order=order, default=default)


def _order(node: Node, report: Report) -> tuple[str, ...]:
    return listing(_declared)(node, report)


def _declared(node: Node, report: Report) -> str:
    value = name(node, report)
    check_free(value, node.at, report)
    return value


def _on_scale(key: str, value: str, order: tuple[str, ...], fields: Fields) -> None:
    if value not in order:
        fields.wrong(
            fields.place(key), f"{key} is not in order: {quoted(value)}{hint(value, order)}"
        )


def _names(node: Node, report: Report) -> dict[str, frozenset[str]]:
    """Return the declared values by fact."""
    table = mapping(node, report)
    found: dict[str, frozenset[str]] = {}
    broken = False
    for key, value in table.entries.items():
        try:
            fact = _fact_of(key, table.keys[key], report)
            found[fact] = frozenset(listing(name)(value, report.key(key)))
        except Refused:
            broken = True
    if broken:
        raise Refused
    return found


def _fact_of(key: str, at: Place, report: Report) -> str:
    if key in KEY_NAMES:
        return f"key.{key}"
    if DECLARED_METADATA.fullmatch(key):
        return f"request.{key}"
    if DECLARED_HEADER.fullmatch(key) and key not in SPECS:
        return key
    if key in SPECS:
        report.note(at, f"{key} has its values from the policy already")
    else:
        forms = "metadata.NAME and header.x-router-NAME may be declared too"
        report.note(at, f"unknown key {quoted(key)}{hint(key, KEY_NAMES)} ({forms})")
    raise Refused


def _switches(node: Node, report: Report) -> frozenset[str]:
    return frozenset(listing(_declared, empty=True)(node, report))


def time_zone(node: Node, report: Report) -> ZoneInfo:
    """Read the name of a time zone, `Asia/Shanghai`."""
    value = text(node, report)
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        report.refuse(node, f"unknown time zone {shown(node)}{hint(value, available_timezones())}")
