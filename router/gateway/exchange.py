"""One request under way: its decision, its attempts, its permits and its one finish."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast, get_args

from router.chat.facts import facts_of
from router.errors import InternalError, InvalidRequest
from router.policy.account import account, facts_account, state_account, usd
from router.policy.decide import ENGINE_REVISION, decide
from router.policy.keys import ANONYMOUS
from router.records import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from router.chat.facts import Caller
    from router.chat.request import ChatRequest
    from router.errors import ApiError
    from router.ledger.controls import Held
    from router.loading import Snapshot
    from router.policy.decision import Decision
    from router.policy.facts import Facts
    from router.policy.keys import Key
    from router.policy.state import State
    from router.policy.targets import Target
    from router.upstreams.call import CallFailed, Event, Usage, Whole

FINISH_REASONS = frozenset(get_args(schema.FinishReason))

# Until detection works, records say that nothing was scanned.
DETECTORS_REVISION = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a decision was made under, compared by identity: the loaded policy and the controls."""

    snapshot: Snapshot
    held: Held


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One call to one target. Times are seconds of the performance counter."""

    target: Target
    started: float
    first_token: float | None = None
    ended: float | None = None
    contacted: bool = False
    failure: CallFailed | None = None

    def account(self, arrived: float) -> schema.Attempt:
        """Return the attempt for the record."""
        failure = self.failure
        return schema.Attempt(
            target=self.target.name,
            fault=failure.fault.value if failure else None,
            http_status=failure.status if failure else self._answered(),
            contacted=self.contacted,
            started_ms=_ms(arrived, self.started),
            first_token_ms=_ms(self.started, self.first_token) if self.first_token else None,
            duration_ms=_ms(self.started, self.ended or time.perf_counter()),
        )

    def _answered(self) -> int | None:
        return None if self.first_token is None and self.ended is None else 200


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request from its decision to its finish."""

    id: str
    request_id: str
    chat: ChatRequest = field(repr=False)
    caller: Caller = field(repr=False)
    facts: Facts = field(repr=False)
    moment: Moment = field(repr=False)
    state: State
    decision: Decision
    arrived: float
    attempts: list[Attempt] = field(default_factory=list)
    usage: Usage | None = None
    served_model: str | None = field(default=None, repr=False)
    finish_reason: str | None = field(default=None, repr=False)
    outcome: schema.Outcome | None = None
    http_status: int | None = None
    code: str | None = None

    @property
    def target(self) -> Target | None:
        """The target that answered, or was answering when the client left."""
        last = self.attempts[-1] if self.attempts else None
        return last.target if last and last.failure is None else None

    def permits(self, attempt: Attempt, now: Callable[[], Moment]) -> bool:
        """Tell whether the attempt's target may be contacted now: the last check (P1).

        INVARIANT: a target is contacted only if the decision planned it *and* the newest policy,
        keys and switches leave the very same target eligible for the same request.
        """
        permitted = attempt.target.name in self.decision.plan and self._still(attempt.target, now())
        attempt.contacted = attempt.contacted or permitted
        return permitted

    def _still(self, target: Target, newest: Moment) -> bool:
        key = self.caller.key
        if newest.snapshot is not self.moment.snapshot:
            found = key if key is ANONYMOUS else newest.snapshot.keyring.by_id(key.id)
            if found is None or newest.snapshot.policy.targets.get(target.name) != target:
                return False
            key = found
        elif newest.held is self.moment.held:
            return not key.expired(time.time())
        return not key.expired(time.time()) and self._eligible(target, key, newest)

    def _eligible(self, target: Target, key: Key, newest: Moment) -> bool:
        policy = newest.snapshot.policy
        try:
            facts = facts_of(self.chat, replace(self.caller, key=key), policy)
        except InvalidRequest:
            return False
        # The writer's state is left out: this request is on record already.
        state = replace(
            self.state,
            switches=newest.held.switches,
            suspended=newest.held.suspended,
            unrecorded=False,
        )
        return decide(facts, policy, state).verdicts[target.name].eligible

    def degraded(self) -> tuple[str, ...]:
        """Return the wishes that the answering target does not meet."""
        target, tiers = self.target, self.moment.snapshot.policy.tiers
        if target is None:
            return ()
        got = target.tier_for(self.chat.input, tiers)
        return ("tier",) if tiers.rank(got) < tiers.rank(self.decision.tier) else ()

    def begin(self, target: Target) -> Attempt:
        """Note that a target is about to be called."""
        attempt = Attempt(target=target, started=time.perf_counter())
        self.attempts.append(attempt)
        return attempt

    def saw(self, answer: Event | Whole) -> None:
        """Keep what an answer, or a part of one, says of itself."""
        self.usage = answer.usage or self.usage
        self.served_model = answer.served_model or self.served_model
        self.finish_reason = answer.finish_reason or self.finish_reason

    def ends(
        self, outcome: schema.Outcome, *, status: int | None, error: ApiError | None = None
    ) -> None:
        """Say how it ended."""
        self.outcome = outcome
        self.http_status = status
        self.code = error.code if error else None

    def left(self) -> None:
        """Say that the client left, unless the end came first."""
        self.outcome = self.outcome or "abandoned"

    def made(self) -> schema.DecisionMade:
        """Return the record of the decision."""
        return schema.DecisionMade(
            at=schema.time_text(time.time()),
            id=self.id,
            request_id=self.request_id,
            engine=ENGINE_REVISION,
            detectors=DETECTORS_REVISION,
            facts=facts_account(self.facts),
            state=state_account(self.state),
            decision=account(self.decision),
        )

    def finished(self) -> schema.DecisionFinished:
        """Return the record of the end."""
        target = self.target
        attempts = [attempt.account(self.arrived) for attempt in self.attempts]
        duration_ms = _ms(self.arrived, time.perf_counter())
        overhead_ms = max(duration_ms - sum(attempt.duration_ms for attempt in attempts), 0.0)
        return schema.DecisionFinished(
            at=schema.time_text(time.time()),
            id=self.id,
            # What ends without saying how is our own fault.
            outcome=self.outcome or "failed",
            http_status=self.http_status,
            code=self.code if self.outcome else InternalError.code,
            target=target.name if target else None,
            sent_model=target.model if target else None,
            served_model=self._served(),
            attempts=attempts,
            finish_reason=_finish_reason(self.finish_reason),
            usage=self._usage(),
            cost_usd=self.cost_usd(),
            stream=self.chat.stream,
            first_token_ms=self._first_token_ms(),
            duration_ms=duration_ms,
            overhead_ms=round(overhead_ms, 3),
        )

    def cost_usd(self) -> str | None:
        """Return the list price of what was used, in USD; None where the target did not count."""
        if self.usage is None or self.target is None or self.target.price is None:
            return None
        return usd(self.target.price.usd(self.usage.input_tokens, self.usage.output_tokens))

    def _first_token_ms(self) -> float | None:
        seen = self.attempts[-1].first_token if self.attempts else None
        return None if seen is None else _ms(self.arrived, seen)

    def _served(self) -> str | None:
        models = {target.model for target in self.moment.snapshot.policy.targets.values()}
        return _one_of(self.served_model, models)

    def _usage(self) -> schema.Usage | None:
        if self.usage is None:
            return None
        return schema.Usage(
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            cached_input_tokens=self.usage.cached_input_tokens,
            reasoning_tokens=self.usage.reasoning_tokens,
            estimated=False,
        )


def _one_of(text: str | None, known: Container[str]) -> str | None:
    """Return an upstream's word only where it is one that we know (P6)."""
    return text if text is None or text in known else "other"


def _finish_reason(text: str | None) -> schema.FinishReason | None:
    if text is None:
        return None
    return cast("schema.FinishReason", text if text in FINISH_REASONS else "other")


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
