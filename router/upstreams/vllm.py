"""vLLM's dialect, as of 0.32.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.upstreams.call import Fault
from router.upstreams.faults import Complaint, by_status
from router.upstreams.requests import (
    fields_taken,
    rewritten,
    switches_thinking,
    with_reasoning_as,
    write_common,
    write_max_output,
)

if TYPE_CHECKING:
    from router.chat.schema import Tree
    from router.upstreams.call import Call


def request(call: Call) -> Tree:
    """Return the body for vLLM.

    An earlier turn's reasoning is read under `reasoning` only:
    https://github.com/vllm-project/vllm/issues/38488
    """
    body = fields_taken(call)
    write_common(body, call)
    write_max_output(body, call)
    budget = body.pop("thinking_budget", None)
    if budget is not None:
        body["thinking_token_budget"] = budget
    if switches_thinking(call) and call.shaped.thinking is not None:
        given = body.get("chat_template_kwargs") or {}
        body["chat_template_kwargs"] = {**given, "enable_thinking": call.shaped.thinking}
    body["messages"] = rewritten(body["messages"], _message)
    return body


def _message(message: Tree) -> Tree:
    return with_reasoning_as(message, "reasoning")


def judge(complaint: Complaint) -> Fault:
    """Return whose fault an error is.

    Too long is a 400 that names `input_tokens` (0.32) or says so (earlier, and llama.cpp's code);
    a queue that is full (`--max-num-queued-reqs`) is a 503.
    """
    told = (
        complaint.param == "input_tokens"
        or complaint.kind == "exceed_context_size_error"
        or "maximum context length" in complaint.message
    )
    if complaint.status in {400, 413, 422} and told:
        return Fault.TOO_LONG
    return by_status(complaint)
