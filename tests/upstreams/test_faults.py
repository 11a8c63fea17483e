"""Whose fault an error is: every row that the vendors document, and bodies that make no sense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.upstreams import dashscope, openai, vllm
from router.upstreams.call import Fault
from router.upstreams.faults import (
    MAX_MESSAGE,
    TOLD,
    complaint_of,
    decoded,
    failed,
    retry_after_s,
)
from router.upstreams.openai_shaped import SPEECHES
from tests.scripted import Answer, scripted
from tests.upstreams.calls import call, failure, target

SECRET = "canary-7f3a"

# (HTTP status, code, fault): https://www.alibabacloud.com/help/en/model-studio/error-code
DASHSCOPE = [
    (400, "Arrearage", Fault.ACCOUNT),
    (400, "data_inspection_failed", Fault.CONTENT),
    (400, "DataInspectionFailed", Fault.CONTENT),
    (400, "invalid_parameter_error", Fault.CALLER),
    (400, "InvalidParameter", Fault.CALLER),
    (400, "something_new", Fault.CALLER),
    (401, "invalid_api_key", Fault.ACCOUNT),
    (403, "AccessDenied.Unpurchased", Fault.ACCOUNT),
    (403, "AllocationQuota.FreeTierOnly", Fault.ACCOUNT),
    (404, "model_not_found", Fault.CATALOG),
    (404, "ModelNotFound", Fault.CATALOG),
    (408, "RequestTimeOut", Fault.TIMEOUT),
    (413, "", Fault.CALLER),
    (429, "limit_requests", Fault.THROTTLED),
    (429, "limit_burst_rate", Fault.THROTTLED),
    (429, "insufficient_quota", Fault.THROTTLED),
    (429, "Throttling.AllocationQuota", Fault.THROTTLED),
    (429, "PrepaidBillOverdue", Fault.ACCOUNT),
    (429, "PostpaidBillOverdue", Fault.ACCOUNT),
    (429, "CommodityNotPurchased", Fault.ACCOUNT),
    (500, "internal_error", Fault.BROKEN),
    (500, "InternalError.Algo", Fault.BROKEN),
    (500, "RequestTimeOut", Fault.TIMEOUT),
    (503, "ModelServingError", Fault.FULL),
    (503, "ModelUnavailable", Fault.FULL),
    (502, "", Fault.BROKEN),
]


@pytest.mark.parametrize(("status", "code", "expected"), DASHSCOPE)
def test_each_dashscope_error_has_its_fault(status: int, code: str, expected: Fault) -> None:
    """Codes beat statuses: a dead account is a 400, an unpaid bill a 429."""
    body = {
        "error": {"code": code, "message": SECRET, "param": None, "type": code},
        "request_id": "r",
    }
    seen = failed(complaint_of(status, body), dashscope.judge)

    assert seen.fault is expected
    assert seen.status == status
    assert seen.message == (SECRET if expected in TOLD else None)


def test_too_long_for_dashscope() -> None:
    """A length out of range is the length's fault, not the caller's: the next may be longer."""
    message = "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 9]"
    body = {"error": {"code": "invalid_parameter_error", "message": message}}

    assert failed(complaint_of(400, body), dashscope.judge).fault is Fault.TOO_LONG


VLLM: list[tuple[int, Any, Fault]] = [
    (
        503,
        {
            "error": {
                "message": "The engine is currently busy",
                "type": "Service Unavailable",
                "param": None,
                "code": 503,
            }
        },
        Fault.FULL,
    ),
    (
        200,  # the only event of a stream
        {"error": {"message": "busy", "type": "Service Unavailable", "param": None, "code": 503}},
        Fault.FULL,
    ),
    (200, {"error": {"message": "x", "type": "InternalServerError", "code": 500}}, Fault.BROKEN),
    (200, {"error": {"message": "x", "type": "BadRequestError", "code": 400}}, Fault.CALLER),
    (200, {"error": {"message": "x"}}, Fault.BROKEN),
    (
        400,
        {
            "error": {
                "message": "too many",
                "type": "BadRequestError",
                "param": "input_tokens",
                "code": 400,
            }
        },
        Fault.TOO_LONG,
    ),
    (
        400,
        {"error": {"message": "This model's maximum context length is 4096 tokens", "code": 400}},
        Fault.TOO_LONG,
    ),
    (
        400,  # llama-server
        {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error", "n_ctx": 1}},
        Fault.TOO_LONG,
    ),
    (400, {"error": {"message": "is not a multimodal model", "code": 400}}, Fault.CALLER),
    (400, {"object": "error", "message": "old shape", "code": 400}, Fault.CALLER),
    (401, {"error": "Unauthorized"}, Fault.ACCOUNT),
    (401, {"error": {"type": "authentication_error", "code": 401}}, Fault.ACCOUNT),
    (404, {"error": {"message": "x", "type": "NotFoundError", "code": 404}}, Fault.CATALOG),
    (422, {"detail": [{"loc": ["body"], "msg": SECRET}]}, Fault.CALLER),
    (503, {"error": {"type": "unavailable_error", "message": "Loading model"}}, Fault.FULL),
    (500, {"error": {"type": "server_error", "code": 500}}, Fault.BROKEN),
    (418, None, Fault.BROKEN),
]


@pytest.mark.parametrize(("status", "body", "expected"), VLLM)
def test_each_vllm_error_has_its_fault(status: int, body: Any, expected: Fault) -> None:
    """Numbers for codes, a bare string, another object: each is read for what it is."""
    assert failed(complaint_of(status, body), vllm.judge).fault is expected


OPENAI = [
    (400, "context_length_exceeded", Fault.TOO_LONG),
    (400, "content_filter", Fault.CONTENT),
    (400, "content_policy_violation", Fault.CONTENT),
    (400, "unsupported_value", Fault.CALLER),
    (401, "invalid_api_key", Fault.ACCOUNT),
    (403, "unsupported_country_region_territory", Fault.ACCOUNT),
    (403, "model_not_found", Fault.CATALOG),
    (404, "model_not_found", Fault.CATALOG),
    (429, "rate_limit_exceeded", Fault.THROTTLED),
    (429, "insufficient_quota", Fault.ACCOUNT),
    (500, None, Fault.BROKEN),
    (503, None, Fault.FULL),
]


@pytest.mark.parametrize(("status", "code", "expected"), OPENAI)
def test_each_openai_error_has_its_fault(status: int, code: str | None, expected: Fault) -> None:
    """Here an insufficient quota is an unpaid bill."""
    body = {"error": {"message": "x", "type": "t", "param": None, "code": code}}

    assert failed(complaint_of(status, body), openai.judge).fault is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("error"), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("dialect", SPEECHES)
@settings(max_examples=40)
@given(status=st.integers(200, 599), body=JSON)
def test_any_body_gives_a_fault(dialect: str, status: int, body: Any) -> None:
    """Nothing that an upstream can say makes us raise anything but its failure."""
    seen = failed(complaint_of(status, body), SPEECHES[dialect].judge)

    assert seen.fault in Fault
    assert seen.message is None or seen.fault in TOLD


@given(st.binary())
def test_any_bytes_are_read_or_not(raw: bytes) -> None:
    """A body that is no JSON is none, and no error of ours."""
    decoded(raw)


def test_an_upstreams_text_is_bounded_and_in_no_rendering() -> None:
    """What is told is cut at its limit, and a failure's own text is its fault's name."""
    body = {"error": {"message": SECRET * 1_000}}
    seen = failed(complaint_of(400, body), openai.judge)

    assert seen.message is not None
    assert len(seen.message) == MAX_MESSAGE
    assert str(seen) == "caller"
    assert SECRET not in repr(seen)
    assert SECRET not in repr(complaint_of(400, body))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("3600", 60),
        ("9" * 40, 60),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2970 00:00:00 GMT", 60),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, expected: int | None) -> None:
    """It is read in both forms, and kept between 0 and 60 seconds."""
    assert retry_after_s({"Retry-After": value}) == expected


def test_a_date_soon_is_seconds() -> None:
    """A date in half a minute is about half a minute."""
    moment = datetime.now(UTC) + timedelta(seconds=30)
    seconds = retry_after_s({"Retry-After": format_datetime(moment, usegmt=True)})

    assert seconds is not None
    assert 20 <= seconds <= 30


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_on_the_wire(upstreams: Any, stream: bool) -> None:
    """Status, Retry-After and fault arrive; the text of an account's error does not."""
    body = {"error": {"message": SECRET, "code": "insufficient_quota"}}
    async with scripted(Answer.error(429, body, headers={"Retry-After": "9"})) as server:
        asked = call(
            target(server.url, upstream="dashscope", location="external"), {"stream": stream}
        )
        seen = await failure(upstreams, asked)

    assert (seen.fault, seen.status, seen.retry_after_s) == (Fault.THROTTLED, 429, 9)
    assert seen.message is None
    assert seen.__context__ is None
