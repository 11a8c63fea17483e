"""The upstream for providers that are not OpenAI-shaped, through litellm and over our transport.

litellm translates and does nothing else: no retries, no fallbacks, no dropped parameters, no
logging. https://docs.litellm.ai/docs/completion/input
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.upstreams.call import CallFailed, Fault
from router.upstreams.credentials import secret_of
from router.upstreams.faults import by_status, failed
from router.upstreams.litellm_door import PASSAGE, Passage, load
from router.upstreams.replies import DONE, Chunks, whole_of
from router.upstreams.requests import (
    fields_taken,
    rewritten,
    with_reasoning_as,
    write_common,
    write_max_output,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from router.chat.schema import Tree
    from router.upstreams.call import Call, Event, Whole
    from router.upstreams.faults import Complaint
    from router.upstreams.transport import Transport

# litellm's exceptions by name, most particular first: they are OpenAI's tree with its own leaves.
FAULTS: Final = {
    "MidStreamFallbackError": Fault.BROKEN,  # a stream that broke, whatever broke it
    "ContextWindowExceededError": Fault.TOO_LONG,
    "ContentPolicyViolationError": Fault.CONTENT,
    "UnsupportedParamsError": Fault.CALLER,
    "AuthenticationError": Fault.ACCOUNT,
    "PermissionDeniedError": Fault.ACCOUNT,
    "NotFoundError": Fault.CATALOG,
    "RateLimitError": Fault.THROTTLED,
    "Timeout": Fault.TIMEOUT,
    "ServiceUnavailableError": Fault.FULL,
    "UnprocessableEntityError": Fault.CALLER,
    "BadRequestError": Fault.CALLER,
    "JSONSchemaValidationError": Fault.LIED,
    "APIResponseValidationError": Fault.LIED,
}


class LiteLLM:
    """An `Upstream` over litellm."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def whole(self, call: Call) -> Whole:
        """Return the whole answer; CallFailed where there is none."""
        passage = Passage(call, self._transport)
        litellm, arguments = load(), _arguments(call)
        try:
            tree = await _within(passage, _only(passage, litellm.acompletion(**arguments)))
            return whole_of(tree, call.answer_model)
        finally:
            passage.close()

    async def stream(self, call: Call) -> AsyncGenerator[Event, None]:
        """Yield the answer's events; CallFailed, also in the middle. Closing it ends the call."""
        passage = Passage(call, self._transport)
        litellm, arguments = load(), _arguments(call)
        chunks = Chunks(call, _judge)
        committed = False
        try:
            answer = await _within(passage, litellm.acompletion(**arguments))
            while (tree := await _within(passage, _next(passage, answer))) is not None:
                event = chunks.chunk(tree)
                if event.commits and not committed:
                    committed = True
                    passage.commit()
                yield event
            for event in chunks.take(DONE):
                yield event
        finally:
            passage.close()


async def _within(passage: Passage, step: Any) -> Any:
    """Await one step of litellm's with our passage around it; CallFailed where it fails.

    The context is set for each step alone: between steps the generator may be anybody's.
    """
    token = PASSAGE.set(passage)
    try:
        result = await step
    except Exception as error:  # noqa: BLE001 - a foreign door: it raises whatever it likes
        failure = _failure(error, passage)
    else:
        if passage.failure is None:
            return result
        # litellm took the end of a broken connection for the end of the answer.
        failure = passage.failure
    finally:
        PASSAGE.reset(token)
    raise failure


async def _only(passage: Passage, step: Any) -> Tree:
    """Return the whole answer."""
    answer = await step
    passage.attest()
    tree: Tree = answer.model_dump(exclude_none=True)
    return tree


async def _next(passage: Passage, answer: Any) -> Tree | None:
    """Return the next chunk, None after the last."""
    try:
        chunk = await answer.__anext__()
    except StopAsyncIteration:
        chunk = None
    # Not before: litellm may send only when it is asked for the first chunk.
    passage.attest()
    if chunk is None:
        return None
    tree: Tree = chunk.model_dump(exclude_none=True)
    return tree


def _arguments(call: Call) -> dict[str, Any]:
    body = fields_taken(call)
    write_common(body, call)
    write_max_output(body, call)
    body["messages"] = rewritten(body["messages"], _message)
    # A copy, because litellm changes messages in place and the client's tree is shared.
    arguments: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    arguments |= {
        "api_base": call.target.base_url,
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": False,
        "timeout": min(call.target.deadlines.total_s, call.total_s),
        "client": load().module_level_aclient,
    }
    # A target without a key says so aloud: without one litellm looks into the environment.
    key = call.target.api_key
    arguments["api_key"] = "none" if key is None else secret_of(key)
    return arguments


def _message(message: Tree) -> Tree:
    return with_reasoning_as(message, None)


def _failure(error: Exception, passage: Passage) -> CallFailed:
    """Return what a failure was: our own, the provider's answer, or litellm's opinion."""
    if passage.failure is not None:
        return passage.failure
    names = {kind.__name__ for kind in type(error).__mro__}
    opinion = next((fault for name, fault in FAULTS.items() if name in names), None)
    complaint = passage.complaint
    if complaint is None:
        return CallFailed(opinion or Fault.BROKEN)
    if opinion in {Fault.TOO_LONG, Fault.CONTENT}:
        return failed(complaint, lambda _: opinion, passage.headers)
    return failed(complaint, _judge, passage.headers)


def _judge(complaint: Complaint) -> Fault:
    """Judge by status, and by the two kinds that Anthropic names so.

    https://docs.anthropic.com/en/api/errors: 529 is `overloaded_error`.
    """
    if complaint.status == 529 or complaint.kind == "overloaded_error":
        return Fault.FULL
    return by_status(complaint)
