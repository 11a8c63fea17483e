"""What a refused decision, or a plan that was walked in vain, is answered with.

Messages tell the caller what to do and name the decision; they never name a target, and repeat an
upstream's own words only where the fault is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.errors import (
    ApiError,
    ContentRefused,
    ContextLengthExceeded,
    InvalidRequest,
    NoCapacity,
    UpstreamError,
    UpstreamTimeout,
)
from router.policy.decide import REFUSALS
from router.policy.decision import Stage
from router.upstreams.call import CallFailed, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.policy.decision import Decision

# The longest that a client is asked to wait, in seconds, and what it is asked where nobody knows.
RETRY_AFTER_MAX_S: Final = 60
RETRY_AFTER_S: Final = 5

# Faults that end the walk: another target would be asked the same wrong thing.
FINAL: Final = frozenset({Fault.CALLER, Fault.CONTENT})
WAITABLE: Final = frozenset({Fault.UNREACHABLE, Fault.FULL, Fault.THROTTLED, Fault.REMOVED})


def refusal_of(decision: Decision, decision_id: str) -> ApiError:
    """Return the error for a decision whose plan is empty."""
    refusal = decision.refusal
    if refusal is None:
        message = "a decision with a plan is no refusal"
        raise ValueError(message)
    text = refusal.message or _explained(decision, refusal.stage)
    wait = RETRY_AFTER_S if refusal.stage is Stage.STATE else None
    return REFUSALS[refusal.stage](f"{text} (decision {decision_id})", retry_after_s=wait)


def _explained(decision: Decision, stage: Stage) -> str:
    texts = {
        Stage.MODEL: "No such model for this key; GET /v1/models lists those that it may ask for.",
        Stage.CLEARANCE: f"The request is labelled {decision.label.value}, and no model that it "
        "may use is cleared for that.",
        Stage.CAPABILITY: f"No model that it may use can take the request: {_wanting(decision)}.",
        Stage.CONTEXT: f"The request is longer than every context that it may use: about "
        f"{decision.input_tokens} tokens, and {decision.shaped.max_output or 0} of output.",
        Stage.FORBID: "A rule of the routing policy forbids this request.",
        Stage.STATE: "No model can take this request now; try again later.",
    }
    return texts[stage]


def _wanting(decision: Decision) -> str:
    """Return what the targets lack, in the words of the closed lists of needs and schema fields."""
    wanting: dict[str, None] = {}
    for verdict in decision.verdicts.values():
        for reason in verdict.reasons:
            if reason.stage is not Stage.CAPABILITY:
                continue
            if reason.code in {"input", "output", "field"}:
                (_, beyond), *_ = reason.facts
                names = sorted(beyond) if isinstance(beyond, frozenset) else [str(beyond)]
                wanting |= dict.fromkeys(f"{reason.code} {name}" for name in names)
            else:
                wanting[reason.code] = None
    return ", ".join(wanting)


def answer_to(failures: Sequence[CallFailed], decision_id: str) -> ApiError:
    """Return the error for a plan that was walked in vain; `failures` in the order of the walk."""
    last = failures[-1]
    if last.fault in FINAL or all(f.fault is Fault.TOO_LONG for f in failures):
        return _callers_fault(last, decision_id)
    # One that is too short for the request is none that waiting, or mending, could help.
    faults = {failure.fault for failure in failures} - {Fault.TOO_LONG}
    if faults <= WAITABLE:
        return NoCapacity(
            f"Every model that this request may use is full or down (decision {decision_id}).",
            retry_after_s=_wait_s(failures),
        )
    if faults <= WAITABLE | {Fault.TIMEOUT}:
        return UpstreamTimeout(f"The model took too long (decision {decision_id}).")
    return UpstreamError(f"The model failed to answer (decision {decision_id}).")


def _callers_fault(failure: CallFailed, decision_id: str) -> ApiError:
    kinds: dict[Fault, type[ApiError]] = {
        Fault.TOO_LONG: ContextLengthExceeded,
        Fault.CONTENT: ContentRefused,
    }
    text = failure.message or "The model refuses this request."
    return kinds.get(failure.fault, InvalidRequest)(f"{text} (decision {decision_id})")


def _wait_s(failures: Iterable[CallFailed]) -> int:
    asked = [f.retry_after_s for f in failures if f.retry_after_s is not None]
    return min(max(asked, default=RETRY_AFTER_S), RETRY_AFTER_MAX_S)
