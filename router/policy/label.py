"""The label of a request: the highest that any source gives, the default where none speaks.

Strategy: sources only ever raise. A client's header is one source among others, so it can lift a
request above what key and rules say and never pull it below. The default is the label of a request
that nobody declared one for: it stands until a `from:` source (key, header) speaks, and whatever a
rule finds in the request comes on top. A `raise` without `when` is a floor under everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.policy.decision import Label, LabelSource
from router.policy.values import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.document import Policy
    from router.policy.rules import Raise
    from router.policy.values import Value


def label_of(known: Mapping[str, Value], policy: Policy) -> Label:
    """Return the label and everything that spoke for one, highest first."""
    because: list[LabelSource] = []
    declared = False
    for rule in policy.raises:
        if source := _heard(rule, known, policy):
            because.append(source)
            declared = declared or (rule.source is not None and not rule.parts)
    # INVARIANT: a rule that finds something (a part, a condition) never lowers the default.
    if not declared:
        because.append(LabelSource(label=policy.labels.default, rule="labels.default"))
    because.sort(key=lambda source: -policy.labels.rank(source.label))
    return Label(value=because[0].label, because=tuple(because))


def _heard(rule: Raise, known: Mapping[str, Value], policy: Policy) -> LabelSource | None:
    """Return what one rule says, None where it does not speak."""
    # INVARIANT: an UNKNOWN condition speaks (P5); only FALSE silences a rule.
    if rule.when.truth(known) is False:
        return None
    tested = rule.facts()
    label = rule.to
    if rule.parts:
        parts = known.get("request.input")
        if isinstance(parts, frozenset) and parts.isdisjoint(rule.parts):
            return None
        tested = ("request.input", *tested)
    if rule.source:
        tested = (*tested, rule.source)
        label = _named(known.get(rule.source, ABSENT), policy, absent_is_unknown=bool(rule.parts))
    if label is None:
        return None
    facts = tuple((name, known.get(name, ABSENT)) for name in tested)
    return LabelSource(label=label, rule=rule.id, at=rule.at, facts=facts)


def _named(value: Value, policy: Policy, *, absent_is_unknown: bool) -> str | None:
    """Read a fact as a label. What cannot be read is the top label; ABSENT says nothing."""
    if isinstance(value, str) and value in policy.labels.ranks:
        return value
    if value == ABSENT and not absent_is_unknown:
        return None
    return policy.on_unknown
