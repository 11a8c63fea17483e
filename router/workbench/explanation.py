"""What would be decided, without sending anything: the same core, the same account.

The question is a request body, read from its very bytes as the gateway reads it, or facts by name.
Whatever the policy does not know is an error here, also where the gateway would pass over it: who
asks wants to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from router.chat.facts import Caller, facts_of, key_facts
from router.chat.request import decoded, parse
from router.errors import InvalidApiKey, InvalidRequest
from router.loading.problems import hint, quoted
from router.policy.account import account, facts_account, facts_from, plain
from router.policy.alternatives import changed
from router.policy.decide import decide
from router.policy.dialects import KNOWN_FIELDS, NEEDS
from router.policy.facts import (
    HEADER_PREFIX,
    SENSITIVITY_HEADER,
    SPECS,
    SWITCH_PREFIX,
    TIER_HEADER,
    UNRULED,
    Facts,
    Kind,
)
from router.policy.keys import ANONYMOUS
from router.policy.state import QUIET
from router.policy.values import Word
from router.policy.whynot import smallest_change

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from router.policy.decision import Decision
    from router.policy.document import Policy
    from router.policy.keys import Key
    from router.policy.state import State

# `label` and `request.tier` follow from other facts; given, they stand for the header that asks.
SHORTHANDS: Final = {"label": SENSITIVITY_HEADER, "request.tier": TIER_HEADER}
# What a question that gives facts leaves out is that of a plain question in `auto` or any model.
PLAIN_FACTS: Final = {
    "request.input": ["text"],
    "request.output": ["text"],
    "request.tools": False,
    "request.json": False,
    "request.stream": False,
    "request.needs": [],
    "request.fields": [],
    "input_tokens_estimated": 100,
}
# What names a fact that cannot be given should be told instead.
INSTEAD: Final = {
    SWITCH_PREFIX: "a switch is state, not a fact of a request: use --switch",
    "time.": "times follow from received_at, in seconds since the epoch",
    "cost_usd_": "costs follow from input_tokens_estimated, request.max_output and each price",
    "target.": "it is another for each target",
    "output_tokens_estimated": "it follows from request.max_output and request.thinking",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to explain: `asked` is a request body (it has `messages`) or facts by name, as JSON.

    `headers` are `x-router-*`; `why_not` names a target.
    """

    asked: bytes = field(repr=False)
    key: Key = ANONYMOUS
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    received_at: float
    state: State = QUIET
    secret: bytes = field(default=b"explain", repr=False)
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The decision that would be made, and the facts and the state that it was made from."""

    decision: Decision
    facts: Facts
    why_not: dict[str, Any] | None

    def account(self) -> dict[str, Any]:
        """Return what the record would hold, with the facts and the answer to `why_not` beside."""
        told = account(self.decision)
        told["facts"] = facts_account(self.facts)
        if self.why_not is not None:
            told["why_not"] = self.why_not
        return told


def explain(question: Question, policy: Policy) -> Explanation:
    """Explain; ApiError where the gateway would not come to a decision, or a name is unknown."""
    if question.key.expired(question.received_at):
        raise InvalidApiKey("The key has expired.")
    for name in question.headers:
        check_name("header", name, _headers(policy))
    if question.why_not is not None:
        check_name("target", question.why_not, policy.targets)
    tree = decoded(question.asked)
    if "messages" in tree:
        caller = Caller(
            key=question.key,
            headers=question.headers,
            received_at=question.received_at,
            secret=question.secret,
        )
        facts = facts_of(parse(question.asked), caller, policy)
    else:
        facts = _facts(tree, question, policy)
    why_not = None
    if question.why_not is not None:
        why_not = smallest_change(question.why_not, facts, policy, question.state)
    decision = decide(facts, policy, question.state)
    return Explanation(decision=decision, facts=facts, why_not=why_not)


def check_name(noun: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of the known ones; InvalidRequest with the nearest."""
    names = set(known)
    if name not in names:
        raise InvalidRequest(f"There is no {noun} {quoted(name)}{hint(name, names)}")


def _headers(policy: Policy) -> set[str]:
    facts = (SENSITIVITY_HEADER, TIER_HEADER, *policy.names)
    return {name.removeprefix("header.") for name in facts if name.startswith(HEADER_PREFIX)}


def _facts(tree: Mapping[str, Any], question: Question, policy: Policy) -> Facts:
    """Return the facts of a plain question with those that are given in their place."""
    asked = {f"header.{name}": value for name, value in question.headers.items()}
    for name, value in tree.items():
        if SHORTHANDS.get(name, name) in asked:
            raise InvalidRequest(f"{name} is given twice, by its short name or as a header.")
        asked[SHORTHANDS.get(name, name)] = value
    known = _known(policy)
    # A field of a body first: then the whole is meant as one.
    for name in sorted(asked.keys() - known, key=lambda name: (name not in KNOWN_FIELDS, name)):
        raise InvalidRequest(_no_fact(name, known))
    key = {name: plain(value) for name, value in key_facts(question.key).items()}
    model = {"request.model": _any_model(policy), "received_at": question.received_at}
    try:
        given = facts_from(asked).values
        values = dict(facts_from({**PLAIN_FACTS, **model, **key}).values)
    except ValueError as error:
        raise InvalidRequest(f"{error}.") from None
    for name in sorted(given):
        _check_value(name, given[name], policy)
    # The needs first: what they say is said again by facts that may also be given themselves.
    for name in sorted(given, key=lambda name: name != "request.needs"):
        values = changed(values, name, given[name])
    parts = values.get("request.input")
    if isinstance(parts, frozenset):
        values["request.input"] = parts | {"text"}  # every request has that
    return Facts(values)


def _known(policy: Policy) -> set[str]:
    """Return the names of the facts that a request can have under this policy."""
    given = {name for name, spec in SPECS.items() if spec.given}
    return given | UNRULED.keys() | policy.names.keys()


def _no_fact(name: str, known: Iterable[str]) -> str:
    """Return why a name cannot be given as a fact; it may be a field of a request body."""
    for start, why in INSTEAD.items():
        if name.startswith(start):
            return f"{name} cannot be given: {why}."
    if name in KNOWN_FIELDS:
        return f"{name} is no fact but a field of a request body, and that must have messages."
    return f"{quoted(name)} is no fact of a request{hint(name, {*known, *SHORTHANDS})}"


def _any_model(policy: Policy) -> str:
    """Return the most open name for `model`: an alias that narrows nothing, else any alias."""
    open_first = sorted(policy.aliases.values(), key=lambda a: (a.only is not None, bool(a.tier)))
    return open_first[0].name if open_first else next(iter(policy.targets), "unknown")


def _check_value(name: str, value: object, policy: Policy) -> None:
    """Refuse a value that no request could have; InvalidRequest says what there is."""
    if value in list(Word):
        return
    allowed = _allowed(name, policy)
    values = value if isinstance(value, frozenset) else {value}
    for one in sorted(str(v) for v in values if isinstance(v, str)):
        if allowed is not None and one not in allowed:
            raise InvalidRequest(
                f"{name}: {quoted(one)} is unknown{hint(one, allowed)}", param=name
            )


def _allowed(name: str, policy: Policy) -> Collection[str] | None:
    """Return the names that a fact may have, None where any may be."""
    spec = SPECS.get(name)
    if spec is not None and spec.kind in {Kind.LABEL, Kind.TIER}:
        return (policy.labels if spec.kind is Kind.LABEL else policy.tiers).order
    if name in {"request.model", "key.models"}:
        # A record has `unknown` for a model that the policy does not have.
        return {*policy.aliases, *policy.targets, "unknown"}
    if name == "request.needs":
        return NEEDS
    if name == "request.fields":
        inner = {f"{of}.unknown" for of in ("messages", "parts")}
        return KNOWN_FIELDS | policy.pass_fields | inner | {"unknown"}
    if spec is not None and spec.choices:
        return spec.choices
    return policy.names.get(name)
