"""Every error a client can be answered with: one class, one fault, one HTTP status, one code.

    ApiError
    ├── InvalidRequest         400  the caller's body or headers are wrong
    │   ├── UnsupportedCapability     no target takes this modality, feature or field
    │   ├── ContextLengthExceeded     longer than every context
    │   └── ContentRefused            the provider refuses the content
    ├── InvalidApiKey          401
    ├── AdminForbidden         403  the admin token is missing or wrong
    ├── PolicyRefused          403  a label above every clearance, or a forbid
    ├── NotFound               404  no such path or decision
    ├── ModelNotFound          404
    ├── MethodNotAllowed       405
    ├── RequestTimeout         408
    ├── RequestTooLarge        413
    ├── InternalError          500  our own fault
    ├── UpstreamError          502
    ├── NoCapacity             503
    └── UpstreamTimeout        504

`retryable` is what `x-should-retry` says: the OpenAI SDKs retry 408, 409, 429 and every status from
500 on twice by themselves unless that header stops them. None leaves the choice to the client.

This module imports nothing of ours and knows nothing of HTTP frameworks.
"""

from __future__ import annotations

from typing import ClassVar


class ApiError(Exception):
    """An answer to a client that is not a completion.

    `message` is shown to the caller only; it must never repeat text of the request. `param` names
    the part of the request at fault, by schema name or index. `retry_after_s`: `Retry-After`.
    """

    status: ClassVar[int]
    type: ClassVar[str]
    code: ClassVar[str]
    retryable: ClassVar[bool | None]

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error in OpenAI's shape, `{"error": {message, type, param, code}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class InvalidRequest(ApiError):
    """The body or a header is malformed, or names something that does not exist."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    retryable = None


class UnsupportedCapability(InvalidRequest):
    """No target takes this modality, feature or field."""

    code = "unsupported_capability"


class ContextLengthExceeded(InvalidRequest):
    """The request is longer than the context of every target that could take it."""

    code = "context_length_exceeded"


class ContentRefused(InvalidRequest):
    """The provider's own inspection refused the content; trying again gives the same answer."""

    code = "content_filter"


class InvalidApiKey(ApiError):
    """The key is missing, unknown or expired."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    retryable = None


class AdminForbidden(ApiError):
    """An admin call without the admin token."""

    status = 403
    type = "permission_error"
    code = "admin_forbidden"
    retryable = None


class PolicyRefused(ApiError):
    """The label is above every clearance, or a rule forbids the rest."""

    status = 403
    type = "permission_error"
    code = "policy_refused"
    retryable = None


class NotFound(ApiError):
    """No such path, or no such decision of this key."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    retryable = None


class ModelNotFound(ApiError):
    """The model is no alias or target that this key may ask for."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"
    retryable = None


class MethodNotAllowed(ApiError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    retryable = None


class RequestTimeout(ApiError):
    """The body did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    retryable = None


class RequestTooLarge(ApiError):
    """The body is larger than the gateway takes."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    retryable = None


class InternalError(ApiError):
    """Our own fault. The cause is in our log, not in the answer."""

    status = 500
    type = "server_error"
    code = "internal_error"
    retryable = False


class UpstreamError(ApiError):
    """Every allowed target broke or answered with something that is not a completion."""

    status = 502
    type = "server_error"
    code = "upstream_error"
    retryable = False


class NoCapacity(ApiError):
    """Every allowed target is full, down, suspended or draining, or we are."""

    status = 503
    type = "server_error"
    code = "no_capacity"
    retryable = None


class UpstreamTimeout(ApiError):
    """Every allowed target was too slow."""

    status = 504
    type = "server_error"
    code = "upstream_timeout"
    retryable = False
