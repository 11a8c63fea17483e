"""The account of a decision: plain JSON values, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from router.policy.account import (
    account,
    facts_account,
    facts_from,
    kind_of,
    state_account,
    state_from,
)
from router.policy.facts import Kind
from router.policy.state import State
from router.policy.values import ABSENT, OTHER, UNKNOWN
from tests.policy.builders import decided, facts
from tests.policy.contract import CI_HOME

if TYPE_CHECKING:
    from router.policy.values import Value


def test_account_of_a_decision() -> None:
    """The account says label, plan and every verdict, and is what JSON can hold."""
    made = account(decided({"key.group": "ci", "request.model": "paid-max"}, forbids=(CI_HOME,)))
    reason = made["targets"]["paid-max"]["reasons"][0]

    assert made == json.loads(json.dumps(made))
    assert made["policy"] == "sha256:test"
    assert made["label"] == {
        "value": "internal",
        "because": [{"label": "internal", "rule": "labels.default", "at": None, "facts": {}}],
    }
    assert made["plan"] == []
    assert made["refusal"] == {
        "code": "policy_refused",
        "http_status": 403,
        "stage": "forbid",
        "message": "CI uses our own models",
    }
    assert made["fired"] == ["ci-never-pays", "default"]
    assert reason == {
        "stage": "forbid",
        "code": "forbid",
        "rule": "ci-never-pays",
        "at": "cost.yaml:1",
        "facts": {"key.group": "ci"},
    }


def test_account_of_a_plan() -> None:
    """An eligible target has its costs as exact text, USD; nothing is refused."""
    made = account(decided())

    assert made["refusal"] is None
    assert made["plan"] == ["own", "paid-plus", "paid-max"]
    assert made["targets"]["paid-max"] == {
        "verdict": "eligible",
        "cost_usd_p50_estimated": "0.01525",
        "cost_usd_p95_estimated": "0.12025",
    }
    assert made["targets"]["preview"]["cost_usd_p95_estimated"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"key.team": OTHER, "key.product": ABSENT, "request.input": UNKNOWN},
        {"request.thinking": False, "request.max_output": 12, "request.user": "0123456789abcdef"},
        {"request.metadata.purpose": "eval", "header.x-router-app": OTHER},
        {"key.models": frozenset({"b", "a"}), "received_at": 1.5},
    ],
)
def test_facts_come_back(changes: dict[str, Value]) -> None:
    """Facts survive JSON: sets, words, numbers and truth values alike."""
    made = facts(changes)

    assert made == facts_from(json.loads(json.dumps(facts_account(made))))


def test_state_comes_back() -> None:
    """The state snapshot survives JSON."""
    state = State(
        switches=frozenset({"b", "a"}),
        suspended=frozenset({"own"}),
        unrecorded=True,
        first_token_ms={"own": 120},
    )

    assert state == state_from(json.loads(json.dumps(state_account(state))))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "public"),  # derived, so not for anybody to state
        ("switch.all_home", True),
        ("target.name", "own"),
        ("nonsense", 1),
        ("request.input", "text"),
        ("request.input", ["text", 1]),
        ("request.json", "true"),
        ("request.bucket", True),
        ("request.bucket", "3"),
        ("input_tokens_estimated", -1),
        ("input_tokens_estimated", float("nan")),
        ("key.product", 3),
        ("key.min_label", None),
    ],
)
def test_wrong_facts_are_refused(name: str, value: Any) -> None:
    """A fact that is unknown, derived or of a wrong type is a ValueError that names it."""
    with pytest.raises(ValueError, match=name):
        facts_from({name: value})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("key.models", Kind.SET),
        ("request.n", Kind.NUMBER),
        ("request.metadata.anything", Kind.NAME),
        ("header.x-router-app", Kind.NAME),
        ("header.x-router-tier", Kind.TIER),
        ("time.hour", None),
    ],
)
def test_kind_of(name: str, kind: Kind | None) -> None:
    """Facts that come with a request have a kind, derived ones have none here."""
    assert kind_of(name) is kind
