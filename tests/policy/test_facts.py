"""Facts by name, and the table of those that a rule may name."""

from __future__ import annotations

import pytest

from router.policy.facts import OPERATORS_OF, SPECS, UNRULED, Facts, Kind
from router.policy.values import ABSENT, UNKNOWN

FACTS = Facts({"s": frozenset({"a"}), "b": False, "n": 3, "f": 3.0, "u": UNKNOWN})


def test_a_missing_fact_is_absent() -> None:
    """A name that is not there is ABSENT, and empty, None or None by type."""
    assert FACTS.get("x") == ABSENT
    assert FACTS.names("x") == frozenset()
    assert FACTS.flag("x") is FACTS.count("x") is None


def test_facts_are_read_by_type() -> None:
    """A fact of another type, or UNKNOWN, reads as nothing."""
    assert FACTS.names("s") == {"a"}
    assert FACTS.flag("b") is False
    assert FACTS.count("n") == 3
    assert FACTS.names("u") == FACTS.names("n") == frozenset()
    assert FACTS.flag("u") is FACTS.flag("n") is None
    assert FACTS.count("u") is FACTS.count("f") is FACTS.count("b") is None


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_operators(kind: Kind) -> None:
    """Each kind has operators; names on a scale, numbers and dates are ordered."""
    ordered = {Kind.LABEL, Kind.TIER, Kind.NUMBER, Kind.DATE}

    assert OPERATORS_OF[kind]
    assert ("lt" in OPERATORS_OF[kind]) is (kind in ordered)


def test_no_fact_is_ruled_and_unruled() -> None:
    """A fact that no rule may name is not in the table of those that it may."""
    assert not SPECS.keys() & UNRULED.keys()


def test_per_target_facts_are_derived() -> None:
    """What is judged target by target never comes with a request."""
    assert {name for name, spec in SPECS.items() if spec.per_target and spec.given} == set()
