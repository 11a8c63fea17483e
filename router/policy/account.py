"""The account of a decision: plain values for JSON, the same object for `explain` and the record.

And back: facts and state as they were recorded, so that a recorded decision can be decided again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from router.policy.facts import HEADER_PREFIX, METADATA_PREFIX, SPECS, UNRULED, Facts, Kind
from router.policy.state import State
from router.policy.values import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.policy.decision import Decision, LabelSource, Reason, Verdict
    from router.policy.values import Value

Plain = Any  # what JSON can hold

# A GPU price divides and never ends; what lies below this is no money.
SMALLEST_USD: Final = Decimal("1e-12")


def account(decision: Decision) -> dict[str, Plain]:
    """Return the decision as plain JSON values. Decimals are strings, USD."""
    shaped, by, refusal = decision.shaped, decision.order, decision.refusal
    return {
        "policy": decision.policy,
        "label": {
            "value": decision.label.value,
            "because": [_source(source) for source in decision.label.because],
        },
        "tier": decision.tier,
        "shape": {
            "thinking": shaped.thinking,
            "max_output": shaped.max_output,
            "rules": list(shaped.rules),
        },
        "estimate": {
            "input_tokens": decision.input_tokens,
            "output_tokens_p50": decision.output_tokens_p50,
            "output_tokens_p95": decision.output_tokens_p95,
        },
        "targets": {name: _verdict(verdict) for name, verdict in decision.verdicts.items()},
        "order": {
            "rule": by.rule,
            "at": by.at,
            "objective": list(by.objective) if isinstance(by.objective, tuple) else by.objective,
            "min_tier": by.min_tier,
        },
        "plan": list(decision.plan),
        "degraded": list(decision.degraded),
        "fired": list(decision.fired),
        "refusal": refusal
        and {
            "code": refusal.code,
            "http_status": refusal.http_status,
            "stage": refusal.stage.value,
            "message": refusal.message,
        },
    }


def _source(source: LabelSource) -> dict[str, Plain]:
    return {
        "label": source.label,
        "rule": source.rule,
        "at": source.at,
        "facts": _facts(source.facts),
    }


def _verdict(verdict: Verdict) -> dict[str, Plain]:
    costs = {
        "cost_usd_p50_estimated": _usd(verdict.cost_usd_p50),
        "cost_usd_p95_estimated": _usd(verdict.cost_usd_p95),
    }
    if verdict.eligible:
        return {"verdict": "eligible", **costs}
    return {"verdict": "removed", "reasons": [_reason(r) for r in verdict.reasons], **costs}


def _reason(reason: Reason) -> dict[str, Plain]:
    return {
        "stage": reason.stage.value,
        "code": reason.code,
        "rule": reason.rule,
        "at": reason.at,
        "facts": _facts(reason.facts),
    }


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else usd(amount)


def usd(amount: Decimal) -> str:
    """Return an amount of USD as plain text, to a millionth of a millionth."""
    return format(amount.quantize(SMALLEST_USD).normalize(), "f")


def _facts(facts: Iterable[tuple[str, Value]]) -> dict[str, Plain]:
    return {name: plain(value) for name, value in facts}


def plain(value: Value) -> Plain:
    """Return one fact's value for JSON: sets as sorted lists, decimals as USD text."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Decimal):
        return _usd(value)
    return str(value) if isinstance(value, str) else value


def facts_account(facts: Facts) -> dict[str, Plain]:
    """Return the facts for the record, by name."""
    return {name: plain(value) for name, value in sorted(facts.values.items())}


def state_account(state: State) -> dict[str, Plain]:
    """Return the state snapshot for the record."""
    return {
        "switches": sorted(state.switches),
        "suspended": sorted(state.suspended),
        "unrecorded": state.unrecorded,
        "first_token_ms": dict(sorted(state.first_token_ms.items())),
    }


def facts_from(recorded: Mapping[str, Plain]) -> Facts:
    """Return facts from plain values; ValueError names one that is unknown or of a wrong type."""
    return Facts({name: _value(name, value) for name, value in recorded.items()})


def state_from(recorded: Mapping[str, Plain]) -> State:
    """Return the state snapshot from its account."""
    return State(
        switches=frozenset(recorded["switches"]),
        suspended=frozenset(recorded["suspended"]),
        unrecorded=recorded["unrecorded"],
        first_token_ms=recorded["first_token_ms"],
    )


def kind_of(name: str) -> Kind | None:
    """Return the kind of a fact that comes with a request, None for any other name."""
    if name in UNRULED:
        return UNRULED[name]
    if name in SPECS:
        return SPECS[name].kind if SPECS[name].given else None
    return Kind.NAME if name.startswith((HEADER_PREFIX, METADATA_PREFIX)) else None


def _value(name: str, value: Plain) -> Value:
    kind = kind_of(name)
    if kind is None:
        message = f"{name} is no fact of a request"
        raise ValueError(message)
    if isinstance(value, str) and value in list(Word):
        return Word(value)
    if kind is Kind.SET and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return frozenset(value)
    if kind is Kind.BOOL and isinstance(value, bool):
        return value
    if kind is Kind.NUMBER and isinstance(value, int | float) and not isinstance(value, bool):
        if value >= 0:  # which NaN is not either
            return value
        message = f"{name} must not be negative"
        raise ValueError(message)
    if kind in {Kind.NAME, Kind.LABEL, Kind.TIER} and isinstance(value, str):
        return value
    message = f"{name} must be {kind.value}"
    raise ValueError(message)
