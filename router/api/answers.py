"""Errors and heads as ASGI wants them; every error in OpenAI's shape, whatever raised it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from router.api.door import request_id
from router.errors import ApiError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from router.telemetry import log

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

RawHeaders = list[tuple[bytes, bytes]]

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"


def raw(headers: dict[str, str], content_type: bytes) -> RawHeaders:
    """Return response headers as ASGI wants them."""
    return [
        (b"content-type", content_type),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
    ]


def error_headers(error: ApiError) -> dict[str, str]:
    """Return the headers that tell a client whether and when to try again."""
    headers: dict[str, str] = {}
    if error.retryable is not None:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 408:
        # RFC 9110, 15.5.9: what is left of the body is not waited for.
        headers["connection"] = "close"
    return headers


def encoded(error: ApiError) -> bytes:
    """Return the body of an error."""
    return msgspec.json.encode(error.body())


def answer_errors(app: FastAPI) -> None:
    """Make an app answer every error in one shape: ours, the framework's, our own fault."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, ApiError):
            raise error
        headers = {"x-request-id": request_id(request.scope["headers"]), **error_headers(error)}
        return JSONResponse(error.body(), error.status, headers=headers)

    async def theirs(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 400
        answer = await ours(request, framework_error(status))
        if isinstance(error, HTTPException) and error.headers:
            answer.headers.update(error.headers)  # Allow, beside a 405
        return answer

    async def nobodys(request: Request, error: Exception) -> JSONResponse:
        log().error("request.crashed", exc_info=error)
        return await ours(
            request, InternalError("The gateway failed; the operators have the cause.")
        )

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(HTTPException, theirs)
    app.add_exception_handler(RequestValidationError, theirs)
    app.add_exception_handler(Exception, nobodys)


def framework_error(status: int) -> ApiError:
    """Return our error for a status that the framework answers with; it repeats no input."""
    if status == NotFound.status:
        return NotFound("No such path. Chat completions are at POST /v1/chat/completions.")
    if status == MethodNotAllowed.status:
        return MethodNotAllowed("This path does not take that method.")
    return InvalidRequest("The request is malformed; see /openapi.json for what this path takes.")
