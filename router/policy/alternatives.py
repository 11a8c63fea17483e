"""The values that a fact could have had instead: what `whynot` tries.

Of values that no rule can tell apart, and that nothing but rules reads, one stands for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.policy.facts import SPECS, Facts, Kind
from router.policy.values import ABSENT, Number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router.policy.conditions import Atom
    from router.policy.document import Policy
    from router.policy.values import Value

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
# A length that will do is looked for by halving, down to one in a million.
HALVINGS: Final = 20
BUCKETS: Final = 100


# The needs that a truth value of these facts stands for; the first is the plainest of them.
FLAGS: Final[dict[str, dict[bool, tuple[str, ...]]]] = {
    "request.tools": {True: ("tools", "tool_choice_required")},
    "request.json": {True: ("json_object", "json_schema", "json_without_word")},
    "request.thinking": {True: ("thinking_on",), False: ("thinking_off",)},
}


def changed(values: Mapping[str, Value], name: str, to: Value) -> dict[str, Value]:
    """Return the values with one fact changed, and those that say the same of a request with it.

    `request.needs` says again what `request.tools`, `request.json` and `request.thinking` say.
    """
    after = {**values, name: to}
    if to == ABSENT:
        del after[name]
    needs = after.get("request.needs")
    if not isinstance(needs, frozenset):
        return after
    if name in FLAGS and (isinstance(to, bool) or to == ABSENT):
        for flag, said in FLAGS[name].items():
            if flag is not to:
                needs -= set(said)
            elif needs.isdisjoint(said):
                needs |= {said[0]}
        after["request.needs"] = needs
    elif name == "request.needs":
        after["request.tools"] = "tools" in needs
        after["request.json"] = not needs.isdisjoint(("json_object", "json_schema"))
        after.pop("request.thinking", None)
        for flag, said in FLAGS["request.thinking"].items():
            if not needs.isdisjoint(said):
                after["request.thinking"] = flag
    return after


def alternatives(name: str, facts: Facts, policy: Policy, target: str) -> Iterator[Value]:
    """Yield what could stand there instead for `target`'s sake, the nearest first.

    What is there now may be among them. Nothing for a fact that no request can have otherwise.
    """
    was = facts.get(name)
    able = policy.targets[target].can
    if name == "request.model":
        yield target
        yield from policy.aliases
    elif name == "key.models":
        yield facts.names(name) | {str(facts.get("request.model"))}
        yield facts.names(name) | {target}
        yield ABSENT
    elif name == "input_tokens_estimated":
        yield from _bounds(name, policy)
        yield from _halves(was if isinstance(was, int) else able.context)
    elif name == "request.max_output":
        yield from (able.max_output, ABSENT)
        yield from _halves(was if isinstance(was, int) else able.max_output)
    elif name == "request.n":
        yield ABSENT
    elif name == "received_at":
        yield from _times(was)
    elif isinstance(was, frozenset):
        yield from _sets(name, was, policy, target)
    elif name in policy.names or (name in SPECS and SPECS[name].given):
        yield from _of_kind(name, policy)


def _of_kind(name: str, policy: Policy) -> Iterator[Value]:
    kind = SPECS[name].kind if name in SPECS else Kind.NAME
    if kind is Kind.LABEL:
        # From the highest down, so that the request gives up as little as it must.
        yield from reversed(policy.labels.order)
    elif kind is Kind.TIER:
        yield from reversed(policy.tiers.order)
    elif kind is Kind.BOOL:
        yield from (False, True)
    elif kind is Kind.NUMBER:
        yield from (n for n in _bounds(name, policy) if name != "request.bucket" or n < BUCKETS)
        return
    elif kind is Kind.NAME:
        yield from _told_apart(name, policy)
    yield ABSENT


def _told_apart(name: str, policy: Policy) -> Iterator[Value]:
    """Yield names that are declared, or that rules speak of: one of those no rule tells apart."""
    atoms = _atoms(name, policy)
    spoken = (n for atom in atoms for n in _literals(atom) if isinstance(n, str))
    seen: set[tuple[object, ...]] = set()
    for value in sorted(policy.names.get(name, frozenset()) or set(spoken)):
        truths = tuple(atom.truth({name: value}) for atom in atoms)
        if truths not in seen:
            seen.add(truths)
            yield value


def _sets(name: str, was: frozenset[str], policy: Policy, target: str) -> Iterator[Value]:
    """Yield what the target can take of a set, the set less one, and with one that a rule asks."""
    able = policy.targets[target]
    keep = {
        "request.input": able.can.input,
        "request.output": able.can.output,
        "request.needs": was - able.lacks,
        "request.fields": able.handles,
    }.get(name, was)
    yield was & keep
    for part in sorted(was):
        yield was - {part}
    spoken = {str(n) for atom in _atoms(name, policy) for n in _literals(atom)}
    yield was - spoken
    for part in sorted(spoken - was):
        yield was | {part}
    yield was | spoken


def _halves(length: int) -> Iterator[int]:
    """Yield ever shorter lengths."""
    for power in range(1, HALVINGS):
        shorter = length >> power
        if shorter < 1:
            return
        yield shorter


def _times(was: Value) -> Iterator[float]:
    """Yield the next 24 hours and the next six days, in seconds since the epoch."""
    if isinstance(was, Number):
        yield from (float(was) + hours * HOUR_S for hours in range(1, 25))
        yield from (float(was) + days * DAY_S for days in range(2, 8))


def _bounds(name: str, policy: Policy) -> Iterator[int]:
    """Yield the numbers at both sides of every bound that a rule sets for this fact."""
    for atom in _atoms(name, policy):
        for literal in _literals(atom):
            if isinstance(literal, Number) and not isinstance(literal, bool):
                bound = int(literal)
                yield from (n for n in (bound, bound - 1, bound + 1) if n >= 0)


def _atoms(name: str, policy: Policy) -> list[Atom]:
    """Return every test of a fact in the rules that can remove a target or raise a label."""
    rules = (*policy.forbids, *policy.raises, *policy.invariants, *policy.shapes)
    return [atom for rule in rules for atom in rule.when.atoms() if atom.fact == name]


def _literals(atom: Atom) -> tuple[Value, ...]:
    return atom.literal if isinstance(atom.literal, tuple) else (atom.literal,)
