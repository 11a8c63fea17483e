"""The dialect of Alibaba Cloud Model Studio (DashScope), OpenAI-compatible mode.

https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-openai-chat-completions
https://www.alibabacloud.com/help/en/model-studio/error-code
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.upstreams.call import Fault
from router.upstreams.faults import Complaint, by_status
from router.upstreams.requests import (
    fields_taken,
    rewritten,
    switches_thinking,
    with_reasoning_as,
    write_common,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.chat.schema import Tree
    from router.upstreams.call import Call

# A reply that the provider cut off at its own time limit (180 to 300 s) carries this header.
PARTIAL_HEADER: Final = "x-dashscope-partialresponse"

FAULTS: Final = {
    "arrearage": Fault.ACCOUNT,
    "data_inspection_failed": Fault.CONTENT,
    "datainspectionfailed": Fault.CONTENT,
    "invalid_parameter_error": Fault.CALLER,
    "invalidparameter": Fault.CALLER,
    "invalid_api_key": Fault.ACCOUNT,
    "invalidapikey": Fault.ACCOUNT,
    "model_not_found": Fault.CATALOG,
    "modelnotfound": Fault.CATALOG,
    "limit_requests": Fault.THROTTLED,
    "limit_burst_rate": Fault.THROTTLED,
    # Tokens per minute here, not billing as with OpenAI.
    "insufficient_quota": Fault.THROTTLED,
    "prepaidbilloverdue": Fault.ACCOUNT,
    "postpaidbilloverdue": Fault.ACCOUNT,
    "commoditynotpurchased": Fault.ACCOUNT,
    "internal_error": Fault.BROKEN,
    "requesttimeout": Fault.TIMEOUT,
    "modelservingerror": Fault.FULL,
    "modelunavailable": Fault.FULL,
}
# Beginnings of families of codes, `AccessDenied.Unpurchased` and the like.
FAMILIES: Final = {
    "accessdenied": Fault.ACCOUNT,
    "allocationquota": Fault.ACCOUNT,
    "throttling": Fault.THROTTLED,
}


def request(call: Call) -> Tree:
    """Return the body for DashScope.

    - The limit is `max_tokens`: `max_completion_tokens` is ignored, or refused when it is not
      above the default thinking budget.
    - Parallel tool calls are off by default there and on everywhere else: one conversation sees
      one behaviour, OpenAI's.
    - JSON, and a named tool, are refused while thinking, and thinking is on by default: unless it
      was asked for, it is switched off for them.
      https://github.com/cloudwego/eino/issues/994
    """
    body = fields_taken(call)
    write_common(body, call)
    if call.shaped.max_output is not None:
        body["max_tokens"] = call.shaped.max_output
    if body.get("tools") and body.get("parallel_tool_calls") is None:
        body["parallel_tool_calls"] = True
    if switches_thinking(call):
        thinking = call.shaped.thinking
        if thinking is None and (call.chat.json or isinstance(body.get("tool_choice"), dict)):
            thinking = False
        if thinking is not None:
            body["enable_thinking"] = thinking
    body["messages"] = rewritten(body["messages"], _message(call))
    return body


def _message(call: Call) -> Callable[[Tree], Tree]:
    text_only = call.target.can.input == {"text"}

    def rewrite(message: Tree) -> Tree:
        message = with_reasoning_as(message, "reasoning_content")
        if message["role"] == "developer":
            message = {**message, "role": "system"}
        content = message.get("content")
        if text_only and isinstance(content, list):
            # Text-only models refuse a list; parts of another kind removed the target before.
            # Parts are joined as Qwen's own chat template joins them: without a separator.
            message = {**message, "content": "".join(_text(part) for part in content)}
        return message

    return rewrite


def _text(part: Tree) -> str:
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else ""


def judge(complaint: Complaint) -> Fault:
    """Return whose fault an error is, by its code, by what it says of the length, by its status."""
    fault = FAULTS.get(complaint.code)
    if fault is None:
        family = complaint.code.partition(".")[0]
        fault = FAMILIES.get(family) or FAULTS.get(family)
    if fault in {Fault.CALLER, None} and "Range of input length" in complaint.message:
        return Fault.TOO_LONG
    return fault or by_status(complaint)
