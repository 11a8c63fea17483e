"""The story of a request, told once: decide, record, walk the plan, answer, finish.

Nothing here chooses: `for name in decision.plan` is the only loop over targets.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from router.chat.facts import facts_of
from router.chat.request import parse
from router.errors import NoCapacity
from router.gateway.answers import FINAL, RETRY_AFTER_S, answer_to, refusal_of
from router.gateway.counting import count
from router.gateway.exchange import Exchange, Moment
from router.gateway.out import headers_of
from router.policy.decide import decide
from router.policy.state import State
from router.records.schema import Malformed
from router.records.writer import QueueFull, RecordError, Unwritten
from router.telemetry import log
from router.upstreams.call import Call, CallFailed, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from router.chat.facts import Caller
    from router.chat.request import ChatRequest
    from router.gateway.exchange import Attempt
    from router.gateway.out import Out
    from router.gateway.recent import Recent
    from router.ledger.controls import Controls
    from router.loading import Live
    from router.records.writer import RecordWriter
    from router.telemetry import Metrics
    from router.upstreams.call import Event
    from router.upstreams.outlets import Upstreams

# How much one new time weighs in the running mean time to the first token.
FIRST_TOKEN_WEIGHT = 0.2
# What a stream may say before its first token: a role and little else.
MOST_HELD_BYTES = 1024 * 1024
# A body above this is parsed in a thread, one at a time: streams go on meanwhile.
LARGE_BODY_BYTES = 256 * 1024


class Gateway:
    """Decides and forwards. It owns no client and no task: `app` builds what it is given."""

    def __init__(
        self,
        *,
        live: Live,
        controls: Controls,
        writer: RecordWriter,
        upstreams: Upstreams,
        metrics: Metrics,
        recent: Recent,
        durable_label: str | None,
    ) -> None:
        """Take the parts; `durable_label` as in the settings."""
        self._large_body = asyncio.Semaphore(1)
        self._live = live
        self._controls = controls
        self._writer = writer
        self._upstreams = upstreams
        self._metrics = metrics
        self._recent = recent
        self._durable_label = durable_label
        self._first_token_ms: dict[str, int] = {}

    def moment(self) -> Moment:
        """Return what a decision is made under now."""
        return Moment(snapshot=self._live.current, held=self._controls.held)

    def state(self) -> State:
        """Return the state snapshot of now."""
        held = self._controls.held
        return State(
            switches=held.switches,
            suspended=held.suspended,
            unrecorded=not self._writer.can_write,
            first_token_ms=dict(self._first_token_ms),
        )

    async def answer(self, raw: bytes, caller: Caller, request_id: str, out: Out) -> None:
        """Answer one request on `out`.

        ApiError where it ends before there is a decision. A cancelled call is a client that left:
        whatever is under way is closed, and the record says `abandoned`.
        """
        arrived = time.perf_counter()
        chat = await self._read(raw)
        exchange = await self._decided(chat, caller, request_id, arrived)
        try:
            if exchange.decision.refusal:
                error = refusal_of(exchange.decision, exchange.id)
                exchange.ends("refused", status=error.status, error=error)
                await out.error(error, headers_of(exchange))
            elif exchange.chat.stream:
                await self._stream(exchange, out)
            else:
                await self._whole(exchange, out)
        except asyncio.CancelledError:
            exchange.left()
            raise
        finally:
            self._finish(exchange)

    async def _read(self, raw: bytes) -> ChatRequest:
        if len(raw) < LARGE_BODY_BYTES:
            return parse(raw)
        async with self._large_body:
            return await asyncio.to_thread(parse, raw)

    async def _decided(
        self, chat: ChatRequest, caller: Caller, request_id: str, arrived: float
    ) -> Exchange:
        """Decide and put the decision on record; NoCapacity where that cannot be done (P2)."""
        exchange = self._decide(chat, caller, request_id, arrived)
        try:
            try:
                await self._record(exchange)
            except Unwritten:
                # The writer broke under this very decision, so no external target may see the
                # request: it is decided again with that in the state.
                exchange = self._decide(chat, caller, request_id, arrived, unrecorded=True)
                await self._record(exchange)
        except (QueueFull, Unwritten) as error:
            raise NoCapacity(
                "Decisions cannot be recorded now; try again later.", retry_after_s=RETRY_AFTER_S
            ) from error
        return exchange

    def _decide(
        self,
        chat: ChatRequest,
        caller: Caller,
        request_id: str,
        arrived: float,
        *,
        unrecorded: bool = False,
    ) -> Exchange:
        moment, state = self.moment(), self.state()
        if unrecorded:
            state = replace(state, unrecorded=True)
        facts = facts_of(chat, caller, moment.snapshot.policy)
        return Exchange(
            id=new_decision_id(),
            request_id=request_id,
            chat=chat,
            caller=caller,
            facts=facts,
            moment=moment,
            state=state,
            decision=decide(facts, moment.snapshot.policy, state),
            arrived=arrived,
        )

    async def _record(self, exchange: Exchange) -> None:
        record = exchange.made()
        if self._must_be_written(exchange):
            try:
                await self._writer.written(record)
            except asyncio.CancelledError:
                # The client left meanwhile; the record stands all the same, so it gets its finish.
                exchange.left()
                self._finish(exchange)
                raise
        else:
            self._writer.accept(record)
        self._recent.made(record)

    def _must_be_written(self, exchange: Exchange) -> bool:
        """Tell whether write(2) must have returned before a byte leaves (P2)."""
        policy, decision = exchange.moment.snapshot.policy, exchange.decision
        if any(policy.targets[name].location == "external" for name in decision.plan):
            return True
        level = self._durable_label
        ranks = policy.labels.ranks
        # A level that this policy does not have cannot be compared, so everything is written.
        return level is not None and ranks[decision.label.value] >= ranks.get(level, 0)

    async def _whole(self, exchange: Exchange, out: Out) -> None:
        failures: list[CallFailed] = []
        for name in exchange.decision.plan:
            attempt, call = self._begin(exchange, name)
            try:
                whole = await self._upstreams.of(attempt.target).whole(call)
            except CallFailed as failure:
                if self._failed(attempt, failure, failures):
                    break
                continue
            attempt.ended = time.perf_counter()
            exchange.saw(whole)
            exchange.ends("served", status=200)
            await out.whole(200, headers_of(exchange), whole.body)
            return
        await self._in_vain(exchange, failures, out)

    async def _stream(self, exchange: Exchange, out: Out) -> None:
        failures: list[CallFailed] = []
        for name in exchange.decision.plan:
            attempt, call = self._begin(exchange, name)
            async with aclosing(self._upstreams.of(attempt.target).stream(call)) as events:
                try:
                    held = await self._until_commit(exchange, attempt, events)
                except CallFailed as failure:
                    if self._failed(attempt, failure, failures):
                        break
                    continue
                await self._relay(exchange, held, events, out)
                return
        await self._in_vain(exchange, failures, out)

    def _begin(self, exchange: Exchange, name: str) -> tuple[Attempt, Call]:
        policy = exchange.moment.snapshot.policy
        attempt = exchange.begin(policy.targets[name])
        longest = max(policy.targets[n].deadlines.total_s for n in exchange.decision.plan)
        spent = time.perf_counter() - exchange.arrived
        call = Call(
            target=attempt.target,
            chat=exchange.chat,
            shaped=exchange.decision.shaped,
            permit=lambda: exchange.permits(attempt, self.moment),
            answer_model=name,
            total_s=max(longest - spent, 0.0),
        )
        return attempt, call

    async def _until_commit(
        self, exchange: Exchange, attempt: Attempt, events: AsyncGenerator[Event, None]
    ) -> list[bytes]:
        """Read up to the commit point and return the frames so far; before it nothing is sent."""
        held: list[bytes] = []
        size = 0
        async for event in events:
            exchange.saw(event)
            if event.frame is not None:
                held.append(event.frame)
                size += len(event.frame)
            if size > MOST_HELD_BYTES:
                raise CallFailed(Fault.LIED)
            if event.commits:
                attempt.first_token = time.perf_counter()
                self._timed(attempt)
                return held
        raise CallFailed(Fault.LIED)

    async def _relay(
        self, exchange: Exchange, held: list[bytes], events: AsyncGenerator[Event, None], out: Out
    ) -> None:
        """Pass the committed stream on; from here a failure ends it with an error event."""
        attempt = exchange.attempts[-1]
        try:
            await out.start(headers_of(exchange))
            for frame in held:
                await out.frame(frame)
            async for event in events:
                exchange.saw(event)
                if event.frame is not None:
                    await out.frame(event.frame)
        except CallFailed as failure:
            attempt.failure = failure
            error = answer_to([failure], exchange.id)
            exchange.ends("failed", status=200, error=error)
            await out.broken(error)
        else:
            exchange.ends("served", status=200)
            await out.end()
        finally:
            attempt.ended = time.perf_counter()

    def _timed(self, attempt: Attempt) -> None:
        """Move the running mean time to the first token of a target."""
        if attempt.first_token is None:
            return
        seen = (attempt.first_token - attempt.started) * 1000
        name = attempt.target.name
        mean = self._first_token_ms.get(name, seen)
        self._first_token_ms[name] = round(mean + (seen - mean) * FIRST_TOKEN_WEIGHT)
        self._metrics.first_token.labels(name).observe(seen / 1000)

    def _failed(self, attempt: Attempt, failure: CallFailed, failures: list[CallFailed]) -> bool:
        """Note a failed attempt; tell whether it ends the walk."""
        attempt.failure = failure
        attempt.ended = time.perf_counter()
        failures.append(failure)
        return failure.fault in FINAL

    async def _in_vain(self, exchange: Exchange, failures: list[CallFailed], out: Out) -> None:
        error = answer_to(failures, exchange.id)
        exchange.ends("failed", status=error.status, error=error)
        await out.error(error, headers_of(exchange))

    def _finish(self, exchange: Exchange) -> None:
        """Complete the record and the metrics: once, and without waiting for anything."""
        record = exchange.finished()
        try:
            self._writer.accept(record)
        except (RecordError, Malformed) as error:
            # The client has its answer; `decisions verify` lists the decision as unfinished.
            log().error("record.not_accepted", exc_info=error)
        self._recent.finished(record)
        count(self._metrics, exchange.decision, record)


def new_decision_id() -> str:
    """Return an id that sorts by time: milliseconds in hex, then 40 random bits."""
    return f"dec_{int(time.time() * 1000):011x}{secrets.token_hex(5)}"
