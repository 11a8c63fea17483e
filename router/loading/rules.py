"""`raise`, `forbid`, `shape`, `prefer`, `invariants`, `aliases` → the rules of `policy.rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

from router.loading import conditions as use
from router.loading.conditions import condition
from router.loading.fields import (
    Fields,
    Reader,
    Refused,
    Report,
    boolean,
    check_free,
    count,
    each,
    entries,
    listing,
    name,
    one_of,
    text,
)
from router.loading.nodes import Listing, Scalar, Table
from router.loading.problems import quoted
from router.loading.selectors import selector
from router.policy.conditions import ALWAYS
from router.policy.facts import MODALITIES, SPECS, Kind
from router.policy.rules import (
    Alias,
    Forbid,
    Invariant,
    Objective,
    Prefer,
    Raise,
    Rule,
    Shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.loading.nodes import Node, Place
    from router.loading.vocabulary import Vocabulary

R = TypeVar("R", bound=Rule)

LONGEST_MESSAGE: Final = 300
OBJECTIVES: Final = ("cheapest", "best", "fastest")
REQUESTED: Final = "request.tier"
# A raise may read its label from these: they come with the request, so nothing is circular.
LABEL_FACTS: Final = tuple(f for f, s in SPECS.items() if s.kind is Kind.LABEL and s.given)
LATER_IN_RAISE: Final = frozenset({"detect", "at_least", "ignore_values"})


def id_of(node: Node) -> str | None:
    """Return the id of a rule that may be broken otherwise, None where it has none."""
    found = node.entries.get("id") if isinstance(node, Table) else None
    return found.value if isinstance(found, Scalar) and isinstance(found.value, str) else None


def rules(read: Callable[[Fields], R]) -> Reader[tuple[R, ...]]:
    """Return the reader of a section of rules; `read` gets the fields of each."""

    def read_section(node: Node, report: Report) -> tuple[R, ...]:
        if not isinstance(node, Listing):
            report.refuse(node, "must be a list of rules")
        if not node.items:
            report.refuse(node, "the list is empty")
        items = enumerate(node.items)
        return each(((item, _about(item, report.item(i))) for i, item in items), read_rule)

    def read_rule(node: Node, report: Report) -> R:
        return read(Fields(node, report))

    return read_section


def _about(node: Node, report: Report) -> Report:
    found = id_of(node)
    return report if found is None else report.about(f"rule {quoted(found)}")


def _id(fields: Fields) -> str:
    return fields.need("id", _free_name)


def _free_name(node: Node, report: Report) -> str:
    value = name(node, report)
    check_free(value, node.at, report)
    return value


def _at(fields: Fields) -> str:
    return str(fields.node.at)


def raises(words: Vocabulary) -> Reader[tuple[Raise, ...]]:
    """Return the reader of `raise`: from a fact, or to a label, or for parts to either."""
    labels = words.labels.order if words.labels else None
    source = one_of("fact that holds a label", LABEL_FACTS)

    def to_label(node: Node, report: Report) -> tuple[str | None, str | None]:
        return one_of("label", labels)(node, report), None

    def to_either(node: Node, report: Report) -> tuple[str | None, str | None]:
        if isinstance(node, Scalar) and node.value in LABEL_FACTS:
            return None, source(node, report)
        known = None if labels is None else (*labels, *LABEL_FACTS)
        return one_of("label or fact that holds one", known)(node, report), None

    def read(fields: Fields) -> Raise:
        rule_id = _id(fields)
        if "from" in fields:
            origin = fields.need("from", source)
            for key in fields.node.entries.keys() & {"when", "part", "to"}:
                fields.wrong(fields.place(key), f"{key} may not stand beside from")
            fields.offer("when", "part", "to")
            fields.done(LATER_IN_RAISE)
            return Raise(id=rule_id, at=_at(fields), source=origin)
        when = fields.take("when", condition(use.RAISE, words), ALWAYS)
        parts = fields.take("part", listing(one_of("modality", MODALITIES)), ())
        to = fields.need("to", to_either if "part" in fields else to_label)
        fields.offer("from")
        fields.done(LATER_IN_RAISE)
        return Raise(
            id=rule_id,
            at=_at(fields),
            when=when,
            to=to[0],
            source=to[1],
            parts=frozenset(parts),
        )

    return rules(read)


def forbids(words: Vocabulary) -> Reader[tuple[Forbid, ...]]:
    """Return the reader of `forbid`."""

    def read(fields: Fields) -> Forbid:
        rule_id = _id(fields)
        when = fields.take("when", condition(use.FORBID, words), ALWAYS)
        targets = fields.need("targets", selector(words))
        message = fields.take("message", _message, None)
        fields.done()
        return Forbid(
            id=rule_id,
            at=_at(fields),
            when=when,
            targets=targets,
            message=message,
        )

    return rules(read)


def _message(node: Node, report: Report) -> str:
    value = text(node, report)
    if len(value) > LONGEST_MESSAGE:
        report.refuse(node, f"must be {LONGEST_MESSAGE} characters at most")
    return value


def shapes(words: Vocabulary) -> Reader[tuple[Shape, ...]]:
    """Return the reader of `shape`."""

    def read(fields: Fields) -> Shape:
        rule_id = _id(fields)
        when = fields.take("when", condition(use.SHAPE, words), ALWAYS)
        default = fields.take("default", _default, (None, None))
        cap = fields.take("cap", _cap, None)
        if "default" not in fields and "cap" not in fields:
            fields.wrong(fields.node.at, "default or cap is required")
        fields.done()
        return Shape(
            id=rule_id,
            at=_at(fields),
            when=when,
            default_thinking=default[0],
            default_max_output=default[1],
            cap_max_output=cap,
        )

    return rules(read)


def _default(node: Node, report: Report) -> tuple[bool | None, int | None]:
    fields = Fields(node, report)
    thinking = fields.take("thinking", boolean, None)
    max_output = fields.take("max_output", count, None)
    if not fields.node.entries:
        fields.wrong(node.at, "thinking or max_output is required")
    fields.done()
    return thinking, max_output


def _cap(node: Node, report: Report) -> int:
    fields = Fields(node, report)
    max_output = fields.need("max_output", count)
    fields.done()
    return max_output


def prefers(words: Vocabulary) -> Reader[tuple[Prefer, ...]]:
    """Return the reader of `prefer`; what stands after one without `when` can never apply."""

    def read(fields: Fields) -> Prefer:
        rule_id = _id(fields)
        when = fields.take("when", condition(use.PREFER, words), ALWAYS)
        min_tier = fields.take("min_tier", _min_tier(words), None)
        then = fields.need("then", _then(words))
        fields.done()
        requested = min_tier == REQUESTED
        return Prefer(
            id=rule_id,
            at=_at(fields),
            when=when,
            then=then,
            min_tier=None if requested else min_tier,
            min_tier_requested=requested,
        )

    def read_section(node: Node, report: Report) -> tuple[Prefer, ...]:
        items = node.items if isinstance(node, Listing) else ()
        always = [isinstance(item, Table) and "when" not in item.entries for item in items]
        if True in always[:-1]:
            first = always.index(True)
            message = "can never apply: the prefer before it has no when"
            _about(items[first + 1], report.item(first + 1)).note(items[first + 1].at, message)
        return rules(read)(node, report)

    return read_section


def _min_tier(words: Vocabulary) -> Reader[str]:
    return one_of("tier", (*words.tiers.order, REQUESTED) if words.tiers else None)


def _then(words: Vocabulary) -> Reader[Objective | tuple[str, ...]]:
    def read(node: Node, report: Report) -> Objective | tuple[str, ...]:
        if isinstance(node, Scalar):
            return cast("Objective", one_of("objective", OBJECTIVES)(node, report))
        return listing(one_of("target", words.targets))(node, report)

    return read


def invariants(words: Vocabulary) -> Reader[tuple[Invariant, ...]]:
    """Return the reader of `invariants`."""

    def read(fields: Fields) -> Invariant:
        rule_id = _id(fields)
        never = fields.need("never", condition(use.INVARIANTS, words))
        fields.done()
        return Invariant(id=rule_id, at=_at(fields), when=never)

    return rules(read)


def aliases(words: Vocabulary) -> Reader[dict[str, Alias]]:
    """Return the reader of `aliases`."""

    def read(key: str, at: Place, node: Node, report: Report) -> Alias:
        report = report.about(f"alias {quoted(key)}")
        check_free(key, at, report)
        if words.targets is not None and key in words.targets:
            report.note(at, "is the name of a target too")
            raise Refused
        fields = Fields(node, report)
        tier = fields.take("tier", one_of("tier", words.tiers.order if words.tiers else None), None)
        only = fields.take("only", listing(one_of("target", words.targets)), None)
        fields.done()
        return Alias(
            name=key, tier=tier, only=None if only is None else frozenset(only), at=str(at)
        )

    return entries(read)
