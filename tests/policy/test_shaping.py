"""Defaults and caps."""

from __future__ import annotations

from router.policy.values import UNKNOWN
from tests.policy.builders import shape
from tests.policy.contract import ALL, CI, Row, cases, check

SHAPES = [
    Row(name="shape/none", shape=(None, None)),
    Row(
        name="shape/default",
        policy={"shapes": (shape(default_thinking=False),)},
        shape=(False, None),
    ),
    Row(
        name="shape/caller-before-default",
        facts={"request.thinking": True},
        policy={"shapes": (shape(default_thinking=False),)},
        shape=(True, None),
    ),
    Row(
        name="shape/first-default-wins",
        policy={"shapes": (shape(default_thinking=True), shape(default_thinking=False))},
        shape=(True, None),
    ),
    Row(
        name="shape/cap",
        facts={"request.max_output": 4000},
        policy={"shapes": (shape(cap_max_output=800),)},
        shape=(None, 800),
    ),
    Row(
        name="shape/cap-never-raises",
        facts={"request.max_output": 100},
        policy={"shapes": (shape(cap_max_output=800),)},
        shape=(None, 100),
    ),
    Row(
        name="shape/lowest-cap-wins",
        policy={
            "shapes": (
                shape(cap_max_output=800),
                shape(cap_max_output=300),
                shape(cap_max_output=500),
            )
        },
        shape=(None, 300),
    ),
    Row(
        name="shape/default-under-a-cap",
        policy={"shapes": (shape(default_max_output=2000, cap_max_output=800),)},
        shape=(None, 800),
    ),
    Row(
        name="shape/default-needs-true",
        facts={"key.group": UNKNOWN},
        policy={"shapes": (shape(CI, default_thinking=False),)},
        shape=(None, None),
    ),
    Row(
        name="shape/cap-unless-false",
        facts={"key.group": UNKNOWN},
        policy={"shapes": (shape(CI, cap_max_output=800),)},
        shape=(None, 800),
    ),
    Row(
        name="shape/comes-before-the-context",
        facts={"request.max_output": 70_000},
        policy={"shapes": (shape(cap_max_output=800),)},
        plan=ALL,
    ),
]


@cases([*SHAPES])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)
