"""One call to one target: what goes in, what comes back, and all that can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from router.chat.request import ChatRequest
    from router.policy.decision import Shaped
    from router.policy.targets import Target


class Fault(StrEnum):
    """Whose fault a failed call is, and so what to do next."""

    CALLER = "caller"  # the request itself is wrong: answer 400, try nothing else
    TOO_LONG = "too_long"  # longer than this target's context: the next may be larger
    CONTENT = "content"  # the provider's inspection refused the content: answer 400
    ACCOUNT = "account"  # our key, account or bill: the next target
    CATALOG = "catalog"  # the target does not have the model that the catalog names
    THROTTLED = "throttled"  # a rate: the next target
    FULL = "full"  # no room now: the next target
    UNREACHABLE = "unreachable"  # no connection
    BROKEN = "broken"  # it failed, or hung up
    LIED = "lied"  # it answered with something that is not a completion, or with a redirect
    TIMEOUT = "timeout"  # one of its deadlines passed
    REMOVED = "removed"  # removed since the decision: nothing was sent


class CallFailed(Exception):
    """A call that gave no answer, or a stream that broke.

    `message` is the upstream's own text; it is set only for CALLER, TOO_LONG and CONTENT, is meant
    for the caller alone and goes into no record or log. `retry_after_s` is what the upstream asked.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        status: int | None = None,
        retry_after_s: int | None = None,
        message: str | None = None,
    ) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.status = status
        self.retry_after_s = retry_after_s
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the upstream counted them."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is asked of one target.

    `permit` is the last check (P1): the transport calls it immediately before the socket and again
    before the first byte; False means that nothing may be sent. `answer_model` is what the client
    reads in `model`.
    """

    target: Target
    chat: ChatRequest = field(repr=False)
    shaped: Shaped
    permit: Callable[[], bool]
    answer_model: str
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A complete answer in the client's dialect, encoded."""

    body: bytes = field(repr=False)
    usage: Usage | None
    served_model: str | None = field(repr=False)
    finish_reason: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event of a stream, in the client's dialect.

    `frame` is ready for the client, None where the client gets nothing (a usage chunk that it did
    not ask for). `commits` marks a delta after which an answer cannot be taken back: content,
    reasoning, refusal, a tool call; or the end of an empty answer.
    """

    frame: bytes | None = field(repr=False)
    commits: bool = False
    usage: Usage | None = None
    served_model: str | None = field(default=None, repr=False)
    finish_reason: str | None = field(default=None, repr=False)


class Upstream(Protocol):
    """The code that talks to one kind of target."""

    async def whole(self, call: Call) -> Whole:
        """Return the whole answer; CallFailed where there is none."""

    def stream(self, call: Call) -> AsyncGenerator[Event, None]:
        """Yield the answer's events; CallFailed, also in the middle. Closing it ends the call.

        It enforces the target's connect, first-token and idle deadlines and `call.total_s`.
        """
