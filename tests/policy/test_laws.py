"""Laws that hold of every decision, whatever the policy, the facts and the state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.policy.account import (
    account,
    facts_account,
    facts_from,
    state_account,
    state_from,
)
from router.policy.decide import decide
from router.policy.facts import Facts
from router.policy.values import ABSENT, OTHER, UNKNOWN
from tests.policy.builders import CATALOG, EXTERNAL, LABELS, forbid, policy
from tests.policy.strategies import (
    CONCRETE,
    FINDINGS,
    FORBIDS,
    STATES,
    WORDS,
    changed,
    policies,
    sections,
    some_facts,
)

if TYPE_CHECKING:
    from router.policy.document import Policy
    from router.policy.rules import Forbid, Raise
    from router.policy.state import State

FACTS = some_facts(UNKNOWN)
# Rules that cap output depending on the label or on what is unknown change the estimated cost, and
# so what a rule about cost removes: the laws about raising and knowing leave shapes out.
UNSHAPED = sections(shapes=False)
law = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def _planned(facts: Facts, rules: Policy, state: State) -> set[str]:
    return set(decide(facts, rules, state).plan)


@law
@given(FACTS, policies(), STATES)
def test_the_plan_is_what_is_eligible(facts: Facts, rules: Policy, state: State) -> None:
    """Every target has one verdict; the plan holds each eligible one once, and nothing else."""
    decision = decide(facts, rules, state)
    eligible = {name for name, verdict in decision.verdicts.items() if verdict.eligible}

    assert list(decision.verdicts) == sorted(target.name for target in CATALOG)
    assert set(decision.plan) == eligible
    assert len(decision.plan) == len(eligible)
    assert (decision.refusal is None) is bool(decision.plan)


@law
@given(FACTS, policies(), STATES)
def test_same_arguments_same_decision(facts: Facts, rules: Policy, state: State) -> None:
    """Deciding twice gives equal decisions and equal accounts, byte for byte."""
    first, second = decide(facts, rules, state), decide(facts, rules, state)

    assert first == second
    assert repr(account(first)) == repr(account(second))


@law
@given(FACTS, policies(), STATES)
def test_a_recorded_decision_decides_again(facts: Facts, rules: Policy, state: State) -> None:
    """Facts and state out of the record give the decision that was recorded."""
    again = decide(facts_from(facts_account(facts)), rules, state_from(state_account(state)))

    assert decide(facts, rules, state) == again


@law
@given(FACTS, policies(), STATES)
def test_nothing_above_its_clearance(facts: Facts, rules: Policy, state: State) -> None:
    """No planned target may see less than the request's label."""
    decision = decide(facts, rules, state)

    assert all(
        LABELS.rank(rules.targets[name].clearance) >= LABELS.rank(decision.label.value)
        for name in decision.plan
    )


@law
@given(FACTS, sections(), st.sampled_from(FORBIDS), STATES)
def test_a_forbid_never_adds(
    facts: Facts, rules: dict[str, Any], added: Forbid, state: State
) -> None:
    """One more forbid never adds a target, and what it speaks of is gone unless it is FALSE."""
    before = policy(**rules)
    after = policy(**(rules | {"forbids": (*rules["forbids"], added)}))

    assert _planned(facts, after, state) <= _planned(facts, before, state)


@law
@given(some_facts(), sections(), STATES)
def test_a_forbidden_target_never_appears(
    facts: Facts, rules: dict[str, Any], state: State
) -> None:
    """What an unconditional forbid names is in no plan, whatever is asked, down or preferred."""
    gone = forbid(targets=EXTERNAL, rule="gone")
    decision = decide(facts, policy(**(rules | {"forbids": (*rules["forbids"], gone)})), state)

    assert set(decision.plan) <= {"own"}
    assert "gone" in {r.rule for r in decision.verdicts["paid-max"].reasons}


@law
@given(FACTS, UNSHAPED, st.sampled_from(FINDINGS), STATES)
def test_a_raise_never_adds(
    facts: Facts, rules: dict[str, Any], added: Raise, state: State
) -> None:
    """One more rule that finds something never lowers the label and never adds a target."""
    before = policy(**rules)
    after = policy(**(rules | {"raises": (*rules["raises"], added)}))
    labels = [decide(facts, each, state).label.value for each in (before, after)]

    assert labels == sorted(labels, key=LABELS.rank)
    assert _planned(facts, after, state) <= _planned(facts, before, state)


@law
@given(
    FACTS,
    UNSHAPED,
    st.sampled_from(("key.min_label", "header.x-router-sensitivity", "key.media_label")),
    st.lists(st.sampled_from(LABELS.order), min_size=2, max_size=2).map(sorted),
    STATES,
)
def test_raising_a_source_never_adds(
    facts: Facts, rules: dict[str, Any], source: str, labels: list[str], state: State
) -> None:
    """A higher label from any source never adds a target."""
    low, high = sorted(labels, key=LABELS.rank)
    made = policy(**rules)

    assert _planned(changed(facts, {source: high}), made, state) <= _planned(
        changed(facts, {source: low}), made, state
    )


@law
@given(FACTS, policies(), STATES, STATES)
def test_state_only_narrows(facts: Facts, rules: Policy, state: State, more: State) -> None:
    """Suspending, losing the record and turning a switch on never add a target."""
    narrowed = replace(
        state,
        switches=state.switches | more.switches,
        suspended=state.suspended | more.suspended,
        unrecorded=state.unrecorded or more.unrecorded,
    )

    assert _planned(facts, rules, narrowed) <= _planned(facts, rules, state)


@law
@given(FACTS, sections(), STATES, st.randoms(use_true_random=False))
def test_the_order_of_rules_that_commute_is_nothing(
    facts: Facts, rules: dict[str, Any], state: State, chance: Any
) -> None:
    """Forbids, raises and the catalog in another order give the identical decision and account."""
    shuffled = dict(rules)
    for name in ("forbids", "raises", "invariants"):
        shuffled[name] = chance.sample(rules[name], len(rules[name]))
    targets = {target.name: target for target in chance.sample(CATALOG, len(CATALOG))}
    one = decide(facts, policy(**rules), state)
    other = decide(facts, policy(**shuffled, targets=targets), state)

    assert one == other
    assert repr(account(one)) == repr(account(other))


@law
@given(
    some_facts(),
    UNSHAPED,
    STATES,
    st.sampled_from(sorted(CONCRETE)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(CONCRETE[name]))
    ),
)
def test_not_knowing_never_adds(
    facts: Facts, rules: dict[str, Any], state: State, fact: tuple[str, Any]
) -> None:
    """A fact made UNKNOWN plans nothing that any value it could have had would not."""
    name, value = fact
    made = policy(**rules)

    assert _planned(changed(facts, {name: UNKNOWN}), made, state) <= _planned(
        changed(facts, {name: value}), made, state
    )


@law
@given(some_facts(), UNSHAPED, STATES, st.sampled_from(("key.group", "request.metadata.purpose")))
def test_other_is_as_absent(facts: Facts, rules: dict[str, Any], state: State, name: str) -> None:
    """A value outside the vocabulary decides as one that is not there."""
    made = policy(**rules)

    assert _planned(changed(facts, {name: OTHER}), made, state) == _planned(
        changed(facts, {name: ABSENT}), made, state
    )


@law
@given(
    st.dictionaries(
        st.sampled_from(sorted(CONCRETE)),
        st.one_of(
            st.text(max_size=4),
            st.integers(-(10**20), 10**20),
            st.floats(),
            st.booleans(),
            st.frozensets(st.sampled_from(("text", "image", "odd"))),
            st.sampled_from(WORDS),
        ),
    ),
    policies(),
    STATES,
)
def test_odd_values_raise_nothing(values: dict[str, Any], rules: Policy, state: State) -> None:
    """Facts of any type are decided: refused or planned, never an exception."""
    decision = decide(Facts(values), rules, state)

    assert decision.verdicts.keys() == rules.targets.keys()
