"""litellm's import, and its one way out: our transport.

litellm makes HTTP clients of its own whenever it likes: for a retry after a lost connection, for a
fallback, for media. So the two classes that make them are told, once and for the process, to make
clients that can only pass through here; and here nothing passes without a call of ours around it.
Its aiohttp sessions, which no such client carries, are barred. What is left are providers with code
of their own that dials: the loader lets none of them in (`policy.dialects.LITELLM_PROVIDERS`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httpx

from router.upstreams.call import CallFailed, Fault
from router.upstreams.faults import Complaint, complaint_of, decoded
from router.upstreams.transport import MAX_BODY_BYTES, MAX_ERROR_BYTES, Sending

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

    from router.upstreams.call import Call
    from router.upstreams.transport import Reply, Transport

# Headers that our transport writes itself, or that would make it keep state.
OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "user-agent", "accept-encoding", "connection", "cookie"}
)
# Set for the import: without them it downloads a price list and reads a `.env`.
IMPORT_ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
}
# What may be logged, counted, fetched or tried again behind our back.
SILENCED: Final = {
    "suppress_debug_info": True,
    "telemetry": False,
    "turn_off_message_logging": True,
    "redact_messages_in_exceptions": True,
    "disable_streaming_logging": True,
    "disable_hf_tokenizer_download": True,
    "drop_params": False,
    "modify_params": False,
    "num_retries": 0,
}
LOGGERS: Final = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "litellm")


class Passage:
    """One call's way through litellm: what it opened, and how our side of it ended.

    litellm turns errors into its own; `failure` and `complaint` keep what they were.
    """

    __slots__ = ("_asked", "_replies", "call", "complaint", "failure", "headers", "transport")

    def __init__(self, call: Call, transport: Transport) -> None:
        self.call = call
        self.transport = transport
        self.complaint: Complaint | None = None
        self.failure: CallFailed | None = None
        self.headers: dict[str, str] = {}
        self._asked = False
        self._replies: list[Reply] = []

    async def open(self, request: httpx.Request) -> Reply:
        """Send a request of litellm's; CallFailed, kept too, where it has no reply."""
        body = await request.aread()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in OWN_HEADERS}
        if self._asked or self.failure:
            # INVARIANT: one call is one request. A second one is litellm's own idea of a retry,
            # also where the first one had no reply.
            self.fail(CallFailed(Fault.BROKEN))
        self._asked = True
        try:
            reply = await self.transport.open(
                Sending(
                    target=self.call.target,
                    headers=headers,
                    body=body,
                    permit=self.call.permit,
                    total_s=self.call.total_s,
                    stream=self.call.chat.stream,
                    url=str(request.url),
                    method=request.method,
                )
            )
        except CallFailed as failure:
            self.fail(failure)
        self._replies.append(reply)
        return reply

    def fail(self, failure: CallFailed) -> NoReturn:
        """Keep the first failure, and raise it."""
        self.failure = self.failure or failure
        raise failure

    def attest(self) -> None:
        """CallFailed(LIED) where litellm has an answer that came by no reply of ours."""
        if not self._replies:
            self.fail(CallFailed(Fault.LIED))

    def commit(self) -> None:
        """Note the first committing event: idle time counts from here on."""
        for reply in self._replies:
            reply.watch.commit()

    def close(self) -> None:
        """End whatever is open."""
        for reply in self._replies:
            reply.close()


# INVARIANT: without a passage in the context litellm reaches nothing.
PASSAGE: ContextVar[Passage | None] = ContextVar("passage", default=None)


class Door(httpx.AsyncBaseTransport):
    """The httpx transport under every asynchronous client of litellm's."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send over our transport; CallFailed for everything that is not an answer."""
        passage = PASSAGE.get()
        if passage is None:
            raise CallFailed(Fault.REMOVED)
        reply = await passage.open(request)
        if reply.status < 400 and reply.status != 200:
            passage.fail(CallFailed(Fault.LIED, status=reply.status))
        headers = {"content-type": reply.headers.get("Content-Type", "")}
        if reply.status == 200:
            return httpx.Response(200, headers=headers, stream=_Body(reply, passage))
        try:
            raw = await reply.read(MAX_ERROR_BYTES)
        except CallFailed:
            raw = b""
        passage.complaint = complaint_of(reply.status, decoded(raw))
        passage.headers = dict(reply.headers)
        return httpx.Response(reply.status, headers=headers, content=raw)


class _Body(httpx.AsyncByteStream):
    def __init__(self, reply: Reply, passage: Passage) -> None:
        self._reply = reply
        self._passage = passage

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            while piece := await self._reply.next():
                size += len(piece)
                if size > MAX_BODY_BYTES and not self._passage.call.chat.stream:
                    self._passage.fail(CallFailed(Fault.LIED))
                yield piece
        except CallFailed as failure:
            self._passage.fail(failure)

    async def aclose(self) -> None:
        self._reply.close()


class _Shut(httpx.BaseTransport):
    """The transport under every synchronous client of litellm's: nothing passes."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - httpx's
        raise CallFailed(Fault.REMOVED)


def _async_client(*_: Any, **__: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Door(), trust_env=False, follow_redirects=False)


def _sync_client(*_: Any, **__: Any) -> httpx.Client:
    return httpx.Client(transport=_Shut(), trust_env=False, follow_redirects=False)


def _barred(fault: Fault) -> Callable[..., NoReturn]:
    """Return what stands in for a way around the door: it fails the call, also if swallowed."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        failure = CallFailed(fault)
        if (passage := PASSAGE.get()) is not None:
            passage.fail(failure)
        raise failure

    return refuse


def _bar() -> None:
    """Bar what would dial, or look up a name, without an httpx client: aiohttp, and media.

    A provider that wants aiohttp is none for us; a picture by address is the client's own fault.
    litellm looks up a picture's host before it fetches it: the name alone already tells something.
    """
    from litellm.litellm_core_utils import url_utils  # noqa: PLC0415
    from litellm.llms.custom_httpx import (  # noqa: PLC0415
        aiohttp_handler,
        aiohttp_transport,
        http_handler,
    )

    catalog, caller = _barred(Fault.CATALOG), _barred(Fault.CALLER)
    sessions: Any = aiohttp_handler.BaseLLMAIOHTTPHandler
    sessions._get_async_client_session = catalog  # noqa: SLF001
    wires: Any = aiohttp_transport.LiteLLMAiohttpTransport
    wires.handle_async_request = catalog
    makers: Any = http_handler.AsyncHTTPHandler
    makers._create_async_transport = staticmethod(catalog)  # noqa: SLF001
    media: Any = url_utils
    media.validate_url = caller


def litellm_available() -> bool:
    """Tell whether the `litellm` extra is installed, without importing it."""
    return importlib.util.find_spec("litellm") is not None


_LOADED: list[ModuleType] = []


def load() -> ModuleType:
    """Return litellm, imported once (2 s, 170 MB), silenced, with our door in front.

    CallFailed(CATALOG) where the extra is not installed: a catalog that names such a target should
    have been refused at the start.
    """
    if _LOADED:
        return _LOADED[0]
    if not litellm_available():
        raise CallFailed(Fault.CATALOG)
    os.environ.update(IMPORT_ENVIRONMENT)
    import litellm  # noqa: PLC0415 - the one lazily imported door
    from litellm.llms.custom_httpx import http_handler  # noqa: PLC0415

    for name, value in SILENCED.items():
        setattr(litellm, name, value)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = False
        logger.disabled = True
    handlers: Any = http_handler
    handlers.AsyncHTTPHandler.create_client = _async_client
    handlers.HTTPHandler.create_client = _sync_client
    _bar()
    module: Any = litellm
    module.aclient_session = _async_client()
    module.client_session = _sync_client()
    module.module_level_aclient = handlers.AsyncHTTPHandler()
    module.module_level_client = handlers.HTTPHandler()
    _LOADED.append(litellm)
    return litellm
