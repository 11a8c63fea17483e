"""OpenAI's own dialect: the client's words as they are.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.upstreams.call import Fault
from router.upstreams.faults import Complaint, by_status
from router.upstreams.requests import (
    fields_taken,
    rewritten,
    with_reasoning_as,
    write_common,
    write_max_output,
)

if TYPE_CHECKING:
    from router.chat.schema import Tree
    from router.upstreams.call import Call


def request(call: Call) -> Tree:
    """Return the body for an OpenAI-shaped server: its schema has no reasoning in a history."""
    body = fields_taken(call)
    write_common(body, call)
    write_max_output(body, call)
    body["messages"] = rewritten(body["messages"], _message)
    return body


def _message(message: Tree) -> Tree:
    return with_reasoning_as(message, None)


def judge(complaint: Complaint) -> Fault:
    """Return whose fault an error is.

    https://platform.openai.com/docs/guides/error-codes: a 429 `insufficient_quota` is an unpaid
    bill here; `model_not_found` also comes as a 403.
    """
    match complaint.code:
        case "context_length_exceeded":
            return Fault.TOO_LONG
        case "content_filter" | "content_policy_violation":
            return Fault.CONTENT
        case "insufficient_quota" | "billing_hard_limit_reached" | "account_deactivated":
            return Fault.ACCOUNT
        case "model_not_found":
            return Fault.CATALOG
    return by_status(complaint)
