"""The upstream for every target that speaks OpenAI's shape over HTTP: one story, three dialects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from router.upstreams import dashscope, openai, vllm
from router.upstreams.call import CallFailed, Fault
from router.upstreams.credentials import secret_of
from router.upstreams.faults import complaint_of, decoded, failed
from router.upstreams.replies import DONE, Chunks, tree_of, whole_of
from router.upstreams.sse import Events, EventTooLargeError
from router.upstreams.transport import MAX_ERROR_BYTES, Sending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from router.chat.schema import Tree
    from router.upstreams.call import Call, Event, Whole
    from router.upstreams.faults import Complaint
    from router.upstreams.transport import Reply, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """One dialect: how to ask, whose fault an error is, the header of a cut-off answer."""

    request: Callable[[Call], Tree]
    judge: Callable[[Complaint], Fault]
    partial_header: str | None = None


SPEECHES: Final = {
    "vllm": Speech(request=vllm.request, judge=vllm.judge),
    "dashscope": Speech(
        request=dashscope.request,
        judge=dashscope.judge,
        partial_header=dashscope.PARTIAL_HEADER,
    ),
    "openai": Speech(request=openai.request, judge=openai.judge),
}


class OpenAIShaped:
    """An `Upstream` over the shared transport, in one dialect."""

    def __init__(self, transport: Transport, speech: Speech) -> None:
        self._transport = transport
        self._speech = speech

    async def whole(self, call: Call) -> Whole:
        """Return the whole answer; CallFailed where there is none."""
        reply = await self._transport.open(self._sending(call))
        try:
            await self._refuse_errors(reply)
            raw = await reply.read()
        finally:
            reply.close()
        if self._speech.partial_header and reply.headers.get(self._speech.partial_header) == "true":
            raise CallFailed(Fault.TIMEOUT, status=reply.status)
        tree = tree_of(raw, status=reply.status)
        if tree.get("error"):
            raise failed(complaint_of(reply.status, tree), self._speech.judge, reply.headers)
        return whole_of(tree, call.answer_model)

    async def stream(self, call: Call) -> AsyncGenerator[Event, None]:
        """Yield the answer's events; CallFailed, also in the middle. Closing it ends the call."""
        reply = await self._transport.open(self._sending(call))
        try:
            await self._refuse_errors(reply)
            if not reply.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise await self._not_a_stream(reply)
            chunks, events = Chunks(call, self._speech.judge), Events()
            committed = False
            while not chunks.done:
                packet = await reply.next()
                for event in _translated(packet, events, chunks):
                    if event.commits and not committed:
                        committed = True
                        reply.watch.commit()
                    yield event
                if not packet:
                    return
            # What follows [DONE] is not relayed; its end is read so that the connection lives.
            reply.watch.linger()
            while await reply.next():
                pass
        except EventTooLargeError:
            raise CallFailed(Fault.LIED, status=reply.status) from None
        finally:
            reply.close()

    def _sending(self, call: Call) -> Sending:
        stream = call.chat.stream
        headers = {"Accept": "text/event-stream" if stream else "application/json"}
        if call.target.api_key is not None:
            headers["Authorization"] = "Bearer " + secret_of(call.target.api_key)
        return Sending(
            target=call.target,
            headers=headers,
            body=msgspec.json.encode(self._speech.request(call)),
            permit=call.permit,
            total_s=call.total_s,
            stream=stream,
        )

    async def _refuse_errors(self, reply: Reply) -> None:
        """Raise CallFailed unless the status is 200."""
        if reply.status == 200:
            return
        if reply.status < 400:
            raise CallFailed(Fault.LIED, status=reply.status)
        raise await self._complaint(reply)

    async def _not_a_stream(self, reply: Reply) -> CallFailed:
        """Return the failure of a 200 that is no stream: an error that it holds, else a lie."""
        raw = decoded(await reply.read(MAX_ERROR_BYTES))
        if isinstance(raw, dict) and raw.get("error"):
            return failed(complaint_of(reply.status, raw), self._speech.judge, reply.headers)
        return CallFailed(Fault.LIED, status=reply.status)

    async def _complaint(self, reply: Reply) -> CallFailed:
        """Return the failure of an error status; a body that breaks off says nothing more."""
        try:
            raw = await reply.read(MAX_ERROR_BYTES)
        except CallFailed:
            raw = b""
        complaint = complaint_of(reply.status, decoded(raw))
        return failed(complaint, self._speech.judge, reply.headers)


def _translated(packet: bytes, events: Events, chunks: Chunks) -> Iterator[Event]:
    """Yield what a packet becomes; an empty one is the body's end."""
    for data in events.feed(packet) if packet else _rest(events):
        yield from chunks.take(data)
        if chunks.done:
            return
    if not packet:
        yield from chunks.end()


def _rest(events: Events) -> tuple[bytes, ...]:
    """Return the last event of a body that ended without a blank line; BROKEN where it is cut."""
    last = events.end()
    if last is None:
        return ()
    if last != DONE and decoded(last) is None:
        raise CallFailed(Fault.BROKEN)
    return (last,)
