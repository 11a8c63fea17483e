"""`targets:` of a rule → a selector, checked against the catalog.

A veto that can never select is a hole in the policy, so a name, tag or tag's value that no target
has is an error, and so is a combination that selects nothing. A lone `location` or `tier` may: it
is in force for the target that comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.loading.fields import Reader, Refused, Report, mapping, one_of, one_or_more
from router.loading.nodes import Scalar
from router.loading.problems import hint, quoted
from router.policy.targets import (
    TIER_OF_MODALITY,
    Attribute,
    Both,
    Everything,
    Except,
    Selector,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.loading.nodes import Node, Place
    from router.loading.vocabulary import Vocabulary

LOCATIONS: Final = ("cluster", "external")
TIER_KEYS: Final = tuple(dict.fromkeys(TIER_OF_MODALITY.values()))


def selector(words: Vocabulary) -> Reader[Selector]:
    """Return the reader of `all` or a mapping of attributes."""

    def read(node: Node, report: Report) -> Selector:
        found = _selector(node, report, words)
        catalog = words.catalog
        if catalog and not _lasting(found) and not any(map(found.selects, catalog.values())):
            report.refuse(node, "selects no target of the catalog, so the rule can never act")
        return found

    return read


def _lasting(found: Selector) -> bool:
    """Tell whether it makes sense for targets that are not there yet."""
    if isinstance(found, Except):
        return _lasting(found.part)
    return isinstance(found, Attribute) and found.key != "name"


def _selector(node: Node, report: Report, words: Vocabulary) -> Selector:
    if isinstance(node, Scalar) and node.value == "all":
        return Everything()
    if isinstance(node, Scalar):
        report.refuse(node, "must be all, or a mapping of name, location, tags.NAME, tier.MODALITY")
    table = mapping(node, report)
    if not table.entries:
        report.refuse(node, "the selector is empty; write all for every target")
    parts: list[Selector] = []
    broken = False
    for key in sorted(table.entries):
        value, here = table.entries[key], report.key(key)
        try:
            if key == "not":
                parts.append(Except(_selector(value, here, words)))
            else:
                read = one_or_more(_values(key, table.keys[key], report, words))
                parts.append(Attribute(key, frozenset(read(value, here))))
        except Refused:
            broken = True
    if broken:
        raise Refused
    return parts[0] if len(parts) == 1 else Both(tuple(parts))


def _values(key: str, at: Place, report: Report, words: Vocabulary) -> Reader[str]:
    """Return the reader of one value of an attribute."""
    if key == "name":
        return one_of("target", words.targets)
    if key == "location":
        return one_of("location", LOCATIONS)
    kind, _, attribute = key.partition(".")
    if kind == "tier" and attribute in TIER_KEYS:
        return one_of("tier", words.tiers.order if words.tiers else None)
    if kind == "tags" and words.catalog is None:
        return one_of("value", None)
    if kind == "tags":
        values = frozenset(v for tag, v in _tags(words) if tag == attribute)
        if values:
            return one_of("value", values)
    report.note(at, f"unknown key {quoted(key)}{hint(key, _keys(words))}")
    raise Refused


def _tags(words: Vocabulary) -> Iterator[tuple[str, str]]:
    for target in (words.catalog or {}).values():
        yield from target.tags.items()


def _keys(words: Vocabulary) -> tuple[str, ...]:
    tags = dict.fromkeys(f"tags.{tag}" for tag, _ in sorted(_tags(words)))
    return ("name", "location", *tags, *(f"tier.{key}" for key in TIER_KEYS), "not")
