"""What went wrong, as a closed list: library errors and upstream error bodies to `CallFailed`.

Whatever an upstream says in an error is read here and nowhere else. Its text survives only where
the fault is the caller's own, and then only towards that caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from router.upstreams.call import CallFailed, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


MAX_MESSAGE = 1_000
MAX_RETRY_AFTER_S = 60
# Faults whose upstream text is for the caller.
TOLD: Final = frozenset({Fault.CALLER, Fault.TOO_LONG, Fault.CONTENT})

# The first class that fits tells the fault: subclasses stand before their parents.
LIBRARY_FAULTS: Final[tuple[tuple[type[BaseException], Fault], ...]] = (
    (aiohttp.ClientHttpProxyError, Fault.UNREACHABLE),
    (aiohttp.ClientConnectorError, Fault.UNREACHABLE),  # DNS, TLS and the proxy's address too
    (aiohttp.ServerTimeoutError, Fault.TIMEOUT),
    (TimeoutError, Fault.TIMEOUT),
    (aiohttp.ClientResponseError, Fault.LIED),  # a head that is not HTTP
    (aiohttp.InvalidURL, Fault.CATALOG),
    (aiohttp.ClientPayloadError, Fault.BROKEN),
    (aiohttp.ClientConnectionError, Fault.BROKEN),
    (aiohttp.ClientError, Fault.BROKEN),
    (OSError, Fault.BROKEN),
)

# 408 is a server that waited for us in vain. Everything else is broken.
STATUS_FAULTS: Final = {
    400: Fault.CALLER,
    401: Fault.ACCOUNT,
    402: Fault.ACCOUNT,
    403: Fault.ACCOUNT,
    404: Fault.CATALOG,
    405: Fault.CATALOG,
    408: Fault.TIMEOUT,
    410: Fault.CATALOG,
    413: Fault.CALLER,
    422: Fault.CALLER,
    429: Fault.THROTTLED,
    503: Fault.FULL,
    504: Fault.TIMEOUT,
}


def library_fault(error: BaseException) -> Fault | None:
    """Return the fault that a library's error stands for, None where it is no network error."""
    return next((fault for kind, fault in LIBRARY_FAULTS if isinstance(error, kind)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """An upstream's error, whatever its shape: the HTTP status and what the body says of it.

    `code`, `kind` and `param` are lower case and empty where they are not said. A numeric `code`
    is read as the status where the error came inside a 200.
    """

    status: int
    code: str = field(default="", repr=False)
    kind: str = field(default="", repr=False)
    param: str = field(default="", repr=False)
    message: str = field(default="", repr=False)


def complaint_of(status: int, body: Any) -> Complaint:
    """Read an error body: OpenAI's shape, vLLM's bare string, FastAPI's `detail`, or nothing."""
    if not isinstance(body, dict):
        return Complaint(status=status)
    error = body.get("error", body)
    if isinstance(error, str):
        return Complaint(status=status, message=error)
    if not isinstance(error, dict):
        return Complaint(status=status)
    code = error.get("code")
    if isinstance(code, int) and not isinstance(code, bool):
        # vLLM and llama.cpp say the status here, also in the event of a stream under HTTP 200.
        status = code if status < 400 <= code < 600 else status
        code = None
    message = error.get("message")
    return Complaint(
        status=status,
        code=_word(code),
        kind=_word(error.get("type")),
        param=_word(error.get("param")),
        message=message if isinstance(message, str) else "",
    )


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


def decoded(raw: bytes) -> Any:
    """Return a body as JSON, None where it is none."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def failed(
    complaint: Complaint,
    judge: Callable[[Complaint], Fault],
    headers: Mapping[str, str] | None = None,
) -> CallFailed:
    """Return the failure that a complaint amounts to in one dialect."""
    fault = judge(complaint)
    message = complaint.message[:MAX_MESSAGE] if fault in TOLD else ""
    return CallFailed(
        fault,
        status=complaint.status or None,
        retry_after_s=retry_after_s(headers or {}),
        message=message or None,
    )


def by_status(complaint: Complaint) -> Fault:
    """Judge by the HTTP status alone: what every dialect falls back to."""
    return STATUS_FAULTS.get(complaint.status, Fault.BROKEN)


def retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Return Retry-After in whole seconds, 0 to 60 (RFC 9110 10.2.3: seconds or an HTTP date)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = int((moment - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0, min(seconds, MAX_RETRY_AFTER_S))
