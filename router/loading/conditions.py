"""`when:` and `never:` → a condition, every fact, operator and literal checked.

The parts of a condition are put into one order, whatever their order in the file: the digest does
not see that order, so a decision may not show it either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from router.loading.fields import Reader, Refused, Report, boolean, each, mapping
from router.loading.literals import literal, possible
from router.loading.nodes import Listing, Node, Place, Scalar, Table, canonical
from router.loading.problems import hint, quoted
from router.policy.conditions import OPERATORS, All, AnyOf, Atom, Condition, Not
from router.policy.facts import OPERATORS_OF, SWITCH_PREFIX, UNRULED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.loading.vocabulary import Vocabulary
    from router.policy.facts import Spec

JOINTS: Final = ("all", "any", "not")
LATER_PREFIXES: Final = ("found.", "budget.")
LATER_FACTS: Final = ("target.healthy", "target.saturated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Where a condition stands, which says what it may name. `barred`: facts, and why not."""

    noun: str
    per_target: bool = False
    switches: bool = False
    barred: Mapping[str, str] = field(default_factory=dict)


_AFTER_SHAPE = {"output_tokens_estimated": "it is known only after shape"}
RAISE: Final = Use(noun="raise", barred={"label": "it is what raise decides", **_AFTER_SHAPE})
SHAPE: Final = Use(noun="shape", barred=_AFTER_SHAPE)
FORBID: Final = Use(noun="forbid", per_target=True, switches=True)
PREFER: Final = Use(noun="prefer")
INVARIANTS: Final = Use(noun="invariants", per_target=True)


def condition(use: Use, words: Vocabulary) -> Reader[Condition]:
    """Return the reader of a condition in that use."""
    grammar = _Grammar(use, words)

    def read(node: Node, report: Report) -> Condition:
        return grammar.conjunction(node, report, negated=False)

    return read


@dataclass(frozen=True, slots=True)
class _Grammar:
    use: Use
    words: Vocabulary

    def conjunction(self, node: Node, report: Report, *, negated: bool) -> Condition:
        """Read `{fact: test, …}`: all of them."""
        table = mapping(node, report)
        if not table.entries:
            report.refuse(node, "the condition is empty")
        parts: list[Condition] = []
        broken = False
        for key in sorted(table.entries):
            at, value, here = table.keys[key], table.entries[key], report.key(key)
            try:
                if key in JOINTS:
                    parts.append(self.joint(key, value, here, negated=negated))
                else:
                    parts.extend(self.tests(key, at, value, report, negated=negated))
            except Refused:
                broken = True
        if broken:
            raise Refused
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def joint(self, key: str, node: Node, report: Report, *, negated: bool) -> Condition:
        """Read the value of `all`, `any` or `not`."""
        if key == "not":
            return Not(self.conjunction(node, report, negated=True))
        if not isinstance(node, Listing):
            report.refuse(node, "must be a list of conditions")
        if not node.items:
            report.refuse(node, "the list is empty")

        def part(item: Node, here: Report) -> tuple[str, Condition]:
            return canonical(item), self.conjunction(item, here, negated=negated)

        parts = each(((item, report.item(i)) for i, item in enumerate(node.items)), part)
        ordered = tuple(read for _, read in sorted(parts, key=lambda pair: pair[0]))
        if len(ordered) == 1:
            return ordered[0]
        return All(ordered) if key == "all" else AnyOf(ordered)

    def tests(
        self, fact: str, at: Place, node: Node, report: Report, *, negated: bool
    ) -> tuple[Atom, ...]:
        """Read `fact: literal` or `fact: {operator: literal, …}`."""
        spec = self.fact(fact, at, report)
        report = report.key(fact)
        if isinstance(node, Scalar):
            node = Table(node.at, {"eq": node}, {"eq": node.at})
        table = mapping(node, report)
        if not table.entries:
            report.refuse(node, "the test is empty")
        if fact.startswith(SWITCH_PREFIX):
            self.switch(table, report, negated=negated)

        def test(value: Node, here: Report) -> Atom:
            op = here.path.removeprefix(f"{report.path}.")
            return self.atom(fact, spec, op, value, here, table.keys[op])

        ops = sorted(table.entries)
        atoms = each(((table.entries[op], report.key(op)) for op in ops), test)
        if not possible(spec, atoms, self.words):
            report.refuse(node, "can never be true")
        return atoms

    def atom(self, fact: str, spec: Spec, op: str, node: Node, report: Report, at: Place) -> Atom:
        """Read one operator with its literal."""
        fitting = OPERATORS_OF[spec.kind]
        if op not in OPERATORS:
            report.note(at, f"unknown operator {quoted(op)}{hint(op, fitting)}")
            raise Refused
        if op not in fitting:
            takes = f"{fact} is {spec.kind.value} and takes {', '.join(fitting)}"
            report.note(at, f"{op} does not fit: {takes}")
            raise Refused
        value = literal(fact, spec, op, self.words)(node, report)
        return Atom(fact=fact, op=op, literal=value, scale=self.words.scale(spec.kind))

    def fact(self, fact: str, at: Place, report: Report) -> Spec:
        """Return what the fact is; refuse one that does not exist or may not stand here."""
        use = self.use
        if fact.startswith(LATER_PREFIXES) or fact in LATER_FACTS:
            report.note(at, f"{fact} is not supported by this version; take it out")
            raise Refused
        spec = self.words.spec(fact)
        why = None
        if spec is None:
            why = f"unknown fact {quoted(fact)}{hint(fact, (*self.words.facts(), *JOINTS))}"
            if fact in UNRULED:
                why = f"{fact} is a fact that no rule may test"
        elif fact.startswith(SWITCH_PREFIX) and not use.switches:
            why = f"{fact} may stand in forbid only, so that a switch only ever tightens"
        elif spec.per_target and not use.per_target:
            why = f"{fact} is judged target by target: it may stand in forbid and invariants only"
        elif fact in use.barred:
            why = f"{fact} may not stand in {use.noun}: {use.barred[fact]}"
        elif fact.startswith("time.") and not self.words.timed:
            why = f"{fact} needs time_zone in the head"
        if why is not None or spec is None:
            report.note(at, why or "")
            raise Refused
        return spec

    def switch(self, table: Table, report: Report, *, negated: bool) -> None:
        """Refuse whatever would let a flipped switch loosen: `not`, `ne`, `eq: false`."""
        # INVARIANT: a forbid is monotone in every switch, so flipping one on only removes targets.
        if negated:
            report.refuse(table, "a switch may not stand under not: it may only tighten")
        if set(table.entries) != {"eq"} or not boolean(table.entries["eq"], report):
            report.refuse(table, "a switch is tested by eq: true only: it may only tighten")
