"""A recorded decision, decided again, is the same decision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.account import account, facts_account, state_account
from router.policy.decide import decide
from router.policy.facts import Facts
from router.policy.rules import Forbid
from router.policy.state import State
from router.policy.targets import Everything
from router.policy.values import ABSENT, OTHER, UNKNOWN, Value
from router.records.reading import records
from router.records.replaying import recorded_decision, redecide
from tests.records.samples import FACTS, POLICY, STATE, VALUES, made, write_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """Return a decision as it was read back from a file."""
    write_all(tmp_path / "r.jsonl", [made()])
    return next(r for r in records([tmp_path / "r.jsonl"]) if r["event"] == "decision.made")


def test_everything_comes_back(record: dict[str, Any]) -> None:
    """Facts, state and digest of a record are those that were decided on."""
    facts, digest, state, said = recorded_decision(record)

    assert facts == FACTS
    assert (digest, state) == (POLICY.digest, STATE)
    assert said == record["decision"]


def test_the_same_again(record: dict[str, Any]) -> None:
    """Deciding a record again differs nowhere."""
    assert redecide(record, POLICY) == ()


def test_moved_lines_are_the_same(record: dict[str, Any]) -> None:
    """file:line is no part of a decision."""
    moved = replace(POLICY, forbids=tuple(replace(f, at="cost.yaml:99") for f in POLICY.forbids))

    assert redecide(record, moved) == ()


def test_another_policy_differs_where_it_decides_otherwise(record: dict[str, Any]) -> None:
    """What differs is named by its path."""
    closed = Forbid(id="closed", at="cost.yaml:9", targets=Everything())
    other = replace(POLICY, digest="other", forbids=(*POLICY.forbids, closed))

    paths = redecide(record, other)

    assert {"plan", "policy", "refusal", "targets.qwen-open.verdict"} <= set(paths)


def test_a_number_is_no_truth_value(record: dict[str, Any]) -> None:
    """1 in place of true is another decision."""
    record["facts"]["input_tokens_estimated"] = 1
    record["decision"]["estimate"]["input_tokens"] = True

    assert "estimate.input_tokens" in redecide(record, POLICY)


facts = st.fixed_dictionaries(
    {},
    optional={
        "key.group": st.sampled_from(["ci", "prod", ABSENT, UNKNOWN]),
        "key.min_label": st.sampled_from([*POLICY.labels.order, ABSENT, UNKNOWN]),
        "key.max_tier": st.sampled_from([*POLICY.tiers.order, ABSENT]),
        "request.thinking": st.sampled_from([True, False, ABSENT]),
        "request.input": st.frozensets(st.sampled_from(["text", "image", "audio"])),
        "request.max_output": st.integers(1, 100_000),
        "request.metadata.purpose": st.sampled_from(["eval", OTHER, ABSENT]),
        "input_tokens_estimated": st.integers(0, 2_000_000) | st.just(UNKNOWN),
        "received_at": st.floats(0, 4e9) | st.integers(0, 2**32),
    },
)
states = st.builds(
    State,
    switches=st.frozensets(st.just("all_home")),
    suspended=st.frozensets(st.sampled_from(["qwen-open", "qwen-max"])),
    unrecorded=st.booleans(),
    first_token_ms=st.dictionaries(st.sampled_from(["qwen-open", "qwen-max"]), st.integers(0, 9)),
)


@given(some=facts, state=states)
def test_any_decision_is_the_same_again(
    tmp_path_factory: pytest.TempPathFactory, some: dict[str, Value], state: State
) -> None:
    """P3 over the file: written, read back and decided again, it is the same, always."""
    given_facts = Facts(VALUES | some)
    one = made()
    decided = type(one)(
        at=one.at,
        id=one.id,
        request_id=one.request_id,
        engine=one.engine,
        detectors=one.detectors,
        facts=facts_account(given_facts),
        state=state_account(state),
        decision=account(decide(given_facts, POLICY, state)),
    )
    file = tmp_path_factory.mktemp("p3") / "r.jsonl"
    write_all(file, [decided])

    *_, read_back = records([file])

    assert redecide(read_back, POLICY) == ()
