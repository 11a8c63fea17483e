"""Conditions over values that are absent, other or unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from router.policy.conditions import COMPARISONS, OPERATORS, ORDER, Atom
from router.policy.values import ABSENT, OTHER, UNKNOWN
from tests.policy.builders import EXTERNAL, LABELS, forbid, named, when
from tests.policy.contract import ALL, CANNOT, CI, NO_SUCH_MODEL, TOO_LONG, Row, cases, check, only

if TYPE_CHECKING:
    from router.policy.conditions import Literal
    from router.policy.values import Value


WEB = "header.x-router-app"
PURPOSE = "request.metadata.purpose"

VALUES = [
    Row(
        name="absent/is-unequal-to-every-literal",
        policy=only(forbid({"key.group": {"ne": "prod"}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="absent/is-in-no-list",
        policy=only(forbid({"key.group": {"not_in": ["prod", "ci"]}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="absent/is-outside-every-order",
        facts={"request.bucket": None},
        policy=only(
            forbid(
                {"any": [{"request.bucket": {"lt": 100}}, {"request.bucket": {"gte": 0}}]}, EXTERNAL
            )
        ),
        plan=ALL,
    ),
    Row(
        name="absent/label-is-outside-the-order",
        policy=only(forbid({"key.media_label": {"lte": "restricted"}}, EXTERNAL)),
        plan=ALL,
    ),
    Row(
        name="other/behaves-as-absent",
        facts={PURPOSE: OTHER},
        policy=only(forbid({PURPOSE: {"not_in": ["eval", "chat"]}}, EXTERNAL)),
        plan=("own",),
    ),
    Row(
        name="other/equals-nothing",
        facts={PURPOSE: OTHER, WEB: ABSENT},
        policy=only(forbid({"any": [{PURPOSE: {"eq": "eval"}}, {WEB: {"eq": "web"}}]}, EXTERNAL)),
        plan=ALL,
    ),
    Row(
        name="unknown/both-a-test-and-its-negation-fire",
        facts={"key.group": UNKNOWN},
        policy=only(
            forbid({"key.group": {"eq": "ci"}}, named("paid-max"), rule="a"),
            forbid({"not": {"key.group": {"eq": "ci"}}}, named("paid-plus"), rule="b"),
        ),
        plan=("own",),
    ),
    Row(
        name="unknown/a-false-part-settles-all",
        facts={"key.group": UNKNOWN, "key.product": "shop"},
        policy=only(forbid({**CI, "key.product": {"eq": "hr"}}, EXTERNAL)),
        plan=ALL,
    ),
    Row(
        name="unknown/needs",
        facts={"request.needs": UNKNOWN},
        refused=CANNOT,
        removed={"own": ("capability/unknown",)},
    ),
    Row(name="unknown/fields", facts={"request.fields": UNKNOWN}, refused=CANNOT),
    Row(name="unknown/input", facts={"request.input": UNKNOWN}, refused=CANNOT),
    Row(name="unknown/output", facts={"request.output": UNKNOWN}, refused=CANNOT),
    Row(name="unknown/length", facts={"input_tokens_estimated": UNKNOWN}, refused=TOO_LONG),
    Row(name="unknown/asked-output", facts={"request.max_output": UNKNOWN}, refused=TOO_LONG),
    Row(
        name="unknown/length-of-another-type",
        facts={"input_tokens_estimated": 3e5},
        refused=TOO_LONG,
        removed={"own": ("context/unknown",)},
    ),
    Row(name="unknown/model", facts={"request.model": UNKNOWN}, refused=NO_SUCH_MODEL),
    Row(name="unknown/key-models", facts={"key.models": UNKNOWN}, refused=NO_SUCH_MODEL),
]


@cases([*VALUES])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)


TEXT = frozenset({"text", "image"})
OPERATORS_TABLE = [
    ("eq", "shop", "shop", True),
    ("eq", "shop", "hr", False),
    ("eq", True, True, True),
    ("eq", 1, True, False),  # a truth value is no number
    ("ne", 0, False, True),
    ("ne", "shop", "hr", True),
    ("in", ("shop", "hr"), "hr", True),
    ("not_in", ("shop", "hr"), "hr", False),
    ("lt", 5, 4, True),
    ("lt", 5, 5, False),
    ("lte", 5, 5, True),
    ("gt", 5, Decimal("5.01"), True),
    ("gte", Decimal("0.50"), Decimal("0.5"), True),
    ("lt", 5, "4", False),
    ("gte", "2026-11-01", "2026-11-01", True),
    ("lt", "2026-11-01", "2026-10-31", True),
    ("gt", "2026-11-01", OTHER, False),
    ("gt", "2026-11-01", ABSENT, False),
    ("gt", "2026-11-01", 3, False),
    ("has", "image", TEXT, True),
    ("has", "audio", TEXT, False),
    ("has_any", ("audio", "image"), TEXT, True),
    ("has_any", ("audio", "video"), TEXT, False),
    ("has_all", ("text", "image"), TEXT, True),
    ("has_all", ("text", "audio"), TEXT, False),
    ("has", "text", ABSENT, False),
    ("has_all", ("text",), "text", False),
    ("eq", "shop", ABSENT, False),
    ("ne", "shop", ABSENT, True),
    ("not_in", ("shop",), ABSENT, True),
    ("gte", 0, ABSENT, False),
]


@pytest.mark.parametrize(("op", "literal", "value", "expected"), OPERATORS_TABLE)
def test_operator(op: str, literal: Literal, value: Value, *, expected: bool) -> None:
    """Each operator compares one fact with its literal; UNKNOWN is UNKNOWN to each."""
    atom = Atom(fact="f", op=op, literal=literal)

    assert expected is atom.truth({"f": value})
    assert atom.truth({"f": UNKNOWN}) is None


@pytest.mark.parametrize("op", ORDER)
@pytest.mark.parametrize("literal", LABELS.order)
@pytest.mark.parametrize("value", LABELS.order)
def test_a_scale_orders_its_names(op: str, literal: str, value: str) -> None:
    """Labels compare by their place on the scale, not by their spelling."""
    atom = Atom(fact="label", op=op, literal=literal, scale=LABELS)

    assert COMPARISONS[op](LABELS.rank(value), LABELS.rank(literal)) is atom.truth({"label": value})


def test_a_name_off_the_scale_is_outside_its_order() -> None:
    """No comparison on a scale is true of a word that is not on it."""
    truths = {
        Atom(fact="label", op=op, literal="public", scale=LABELS).truth({"label": value})
        for op in ORDER
        for value in ("bogus", ABSENT, OTHER)
    }

    assert truths == {False}


def test_a_missing_fact_is_absent() -> None:
    """A fact that is not in the mapping compares as ABSENT."""
    assert Atom(fact="key.team", op="ne", literal="x").truth({}) is True


def test_every_operator_is_tested() -> None:
    """The table above and the scales cover the closed list of operators."""
    assert set(OPERATORS) == {row[0] for row in OPERATORS_TABLE}


def test_a_condition_yields_its_atoms() -> None:
    """`all`, `any` and `not` yield the atoms inside, left to right."""
    condition = when(
        {"all": [{"a": {"eq": 1}}, {"any": [{"b": {"eq": 1}}, {"not": {"c": {"eq": 1}}}]}]}
    )

    assert [atom.fact for atom in condition.atoms()] == ["a", "b", "c"]
