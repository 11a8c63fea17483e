"""Answers in the client's dialect, whoever gave them. Pure: bytes in, values out.

One dialect for all: `reasoning_content`, the model by the name that we answer with, usage once and
only where it was asked for. What is not known here passes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.upstreams.call import CallFailed, Event, Fault, Usage, Whole
from router.upstreams.faults import complaint_of, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from router.upstreams.call import Call
    from router.upstreams.faults import Complaint

Tree = dict[str, Any]

DONE: Final = b"[DONE]"
DONE_FRAME: Final = b"data: [DONE]\n\n"
# What of a delta an answer cannot be taken back after.
COMMITTING: Final = (
    "content",
    "reasoning_content",
    "tool_calls",
    "refusal",
    "function_call",
    "audio",
)
# What is more is no count of tokens, and would be a price that no record can hold.
MOST_TOKENS: Final = 2**40
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode


def tree_of(raw: bytes, *, status: int | None = None) -> Tree:
    """Return a JSON object; CallFailed(LIED) where it is none."""
    try:
        tree = _DECODE(raw)
    except (msgspec.DecodeError, RecursionError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        raise CallFailed(Fault.LIED, status=status)
    return tree


def usage_of(tree: Any) -> Usage | None:
    """Return the tokens of a usage object, None where the two counts that matter are not there."""
    if not isinstance(tree, dict):
        return None
    tokens_in, tokens_out = _count(tree, "prompt_tokens"), _count(tree, "completion_tokens")
    if tokens_in is None or tokens_out is None:
        return None
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_input_tokens=_count(tree.get("prompt_tokens_details"), "cached_tokens") or 0,
        reasoning_tokens=_count(tree.get("completion_tokens_details"), "reasoning_tokens") or 0,
    )


def _count(tree: Any, name: str) -> int | None:
    value = tree.get(name) if isinstance(tree, dict) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    return None


def _with_counts(tree: Tree) -> Tree:
    """Return a usage object that has the three counts which the SDKs require; itself if it has."""
    counts = [_count(tree, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    if None not in counts:
        return tree
    prompt, completion = counts[0] or 0, counts[1] or 0
    total = prompt + completion if counts[2] is None else counts[2]
    return {
        **tree,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
    }


def whole_of(tree: Tree, answer_model: str) -> Whole:
    """Return a completion for the client; CallFailed(LIED) where it is no completion.

    The tree is the caller's own and is changed.
    """
    choices = tree.get("choices")
    if not isinstance(choices, list) or not choices:
        raise CallFailed(Fault.LIED)
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise CallFailed(Fault.LIED)
        _one_reasoning_name(message)
    served, usage = tree.get("model"), tree.get("usage")
    tree["model"] = answer_model
    if isinstance(usage, dict):
        tree["usage"] = _with_counts(usage)
    return Whole(
        body=_ENCODE(tree),
        usage=usage_of(usage),
        served_model=served if isinstance(served, str) else None,
        finish_reason=_text(choices[0].get("finish_reason")),
    )


def _one_reasoning_name(message: Tree) -> None:
    if "reasoning" in message:
        reasoning = message.pop("reasoning")
        if message.get("reasoning_content") is None:
            message["reasoning_content"] = reasoning


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _looked_at(choice: Any) -> tuple[bool, str | None]:
    """Return whether a chunk's choice commits, and why it ended; its reasoning gets one name."""
    if not isinstance(choice, dict):
        raise CallFailed(Fault.LIED)
    reason = _text(choice.get("finish_reason"))
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return reason is not None, reason
    if "reasoning" in delta:
        _one_reasoning_name(delta)
    for name in COMMITTING:
        if delta.get(name):
            return True, reason
    return reason is not None, reason


class Chunks:
    """The chunks of one streamed answer, translated in order.

    `judge` says whose fault an error event is. Usage that comes with a chunk of text is held back
    until the end: the client gets one usage chunk, with `choices: []`, if it asked for one.
    """

    __slots__ = (
        "_answer_model",
        "_include_usage",
        "_judge",
        "_last",
        "_seen",
        "_usage_told",
        "_usage_tree",
        "done",
        "finished",
    )

    def __init__(self, call: Call, judge: Callable[[Complaint], Fault]) -> None:
        self._answer_model = call.answer_model
        self._include_usage = call.chat.include_usage
        self._judge = judge
        self._seen = False
        self._usage_tree: Tree | None = None
        self._usage_told = False
        self._last: Mapping[str, Any] = {}
        self.finished = False
        self.done = False

    def take(self, data: bytes) -> tuple[Event, ...]:
        """Return what one event becomes; CallFailed where it is an error, or no chunk."""
        if data == DONE:
            self.done = True
            return (*self.end(), Event(frame=DONE_FRAME, commits=True))
        return (self.chunk(tree_of(data)),)

    def chunk(self, tree: Tree) -> Event:
        """Return what one chunk becomes; the tree is the caller's own and is changed."""
        if tree.get("error"):
            raise failed(complaint_of(200, tree), self._judge)
        choices = tree.get("choices")
        if not isinstance(choices, list):
            raise CallFailed(Fault.LIED)
        served = tree.get("model")
        tree["model"] = self._answer_model
        told = tree.pop("usage", None)
        usage = usage_of(told) if told else None
        if not choices and isinstance(told, dict):
            return self._usage_chunk(tree, told, usage, _text(served))
        if isinstance(told, dict):
            self._usage_tree, self._last = told, tree
        self._seen = self._seen or bool(choices)
        commits, finish_reason = False, None
        for choice in choices:
            began, reason = _looked_at(choice)
            commits = commits or began
            if reason is not None:
                finish_reason = reason
                self.finished = True
        return Event(
            frame=b"data: %b\n\n" % _ENCODE(tree),
            commits=commits,
            usage=usage,
            served_model=_text(served),
            finish_reason=finish_reason,
        )

    def _usage_chunk(
        self, tree: Tree, told: Tree, usage: Usage | None, served: str | None
    ) -> Event:
        frame = None
        if self._include_usage and not self._usage_told:
            self._usage_told = True
            tree["usage"] = _with_counts(told)
            frame = b"data: %b\n\n" % _ENCODE(tree)
        return Event(frame=frame, usage=usage, served_model=served)

    def end(self) -> tuple[Event, ...]:
        """Return what is still owed at the end; CallFailed where this is no end of an answer.

        An answer that never had a choice is a lie; one that stops without a reason and without
        [DONE] was cut off.
        """
        if not self._seen:
            raise CallFailed(Fault.LIED if self.done else Fault.BROKEN)
        if not (self.done or self.finished):
            raise CallFailed(Fault.BROKEN)
        if self._usage_tree is None or self._usage_told or not self._include_usage:
            return ()
        kept = {k: v for k, v in self._last.items() if k != "choices"}
        tree = {**kept, "choices": []}
        return (self._usage_chunk(tree, self._usage_tree, usage_of(self._usage_tree), None),)
