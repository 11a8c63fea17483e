"""Deciding a recorded decision again: same facts, policy and state, same account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from router.policy.account import account, facts_from, state_from
from router.policy.decide import decide

if TYPE_CHECKING:
    from router.policy.document import Policy
    from router.policy.facts import Facts
    from router.policy.state import State

Plain = Any


class Recorded(NamedTuple):
    """What one `decision.made` says that `decide` was given, and what it said."""

    facts: Facts
    digest: str
    state: State
    account: dict[str, Plain]


def recorded_decision(record: dict[str, Plain]) -> Recorded:
    """Return the arguments and the account of a recorded `decision.made`.

    Raises ValueError or KeyError for a record that is none, or names facts that we do not know.
    """
    said = record["decision"]
    return Recorded(
        facts=facts_from(record["facts"]),
        digest=said["policy"],
        state=state_from(record["state"]),
        account=said,
    )


def redecide(record: dict[str, Plain], policy: Policy) -> tuple[str, ...]:
    """Decide again; return the paths at which the account differs, none where it is the same.

    Where a rule stood (`at`, file:line) is left out: it is no part of a decision's identity.
    """
    recorded = recorded_decision(record)
    again = account(decide(recorded.facts, policy, recorded.state))
    return tuple(_differences("", recorded.account, again))


def _differences(path: str, one: Plain, other: Plain) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted((one.keys() | other.keys()) - {"at"})
        missing = object()
        return [
            found
            for key in keys
            for found in _differences(
                f"{path}.{key}" if path else key, one.get(key, missing), other.get(key, missing)
            )
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found
            for index, (this, that) in enumerate(zip(one, other, strict=True))
            for found in _differences(f"{path}[{index}]", this, that)
        ]
    # True == 1 in Python, not in JSON.
    same = one == other and isinstance(one, bool) == isinstance(other, bool)
    return [] if same else [path]
