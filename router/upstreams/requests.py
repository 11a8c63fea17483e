"""The body that goes upstream: a new tree from the scanned one, value for value. Pure.

The client's tree is shared and never changed: what a dialect does not rewrite is the same object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.policy.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.chat.schema import Tree
    from router.upstreams.call import Call

# The names under which an earlier turn's reasoning comes back in a history.
REASONING_KEYS: Final = ("reasoning_content", "reasoning")
# Written from the decision or by the dialect, never copied.
WRITTEN: Final = frozenset(
    {"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "enable_thinking"}
)


def fields_taken(call: Call) -> Tree:
    """Return the top-level fields that the target's dialect takes, without the ones we write.

    What it may drop is left out, and so is a null for a field that it does not take: a target that
    cannot take a field with a value was removed by the decision.
    """
    target = call.target
    taken = DIALECTS[target.upstream].takes | target.pass_fields
    tree = call.chat.tree
    return {name: tree[name] for name in tree if name in taken and name not in WRITTEN}


def write_common(body: Tree, call: Call) -> None:
    """Write what every dialect says alike: the model, and a stream that tells its usage."""
    tree = call.chat.tree
    body["model"] = call.target.model
    if call.chat.stream:
        body["stream"] = True
        body["stream_options"] = {**(tree.get("stream_options") or {}), "include_usage": True}


def write_max_output(body: Tree, call: Call) -> None:
    """Write the decided limit under the name that the client used, else today's name."""
    if call.shaped.max_output is None:
        return
    tree = call.chat.tree
    old = tree.get("max_tokens") is not None and tree.get("max_completion_tokens") is None
    body["max_tokens" if old else "max_completion_tokens"] = call.shaped.max_output


def switches_thinking(call: Call) -> bool:
    """Tell whether the target has a thinking switch."""
    return call.target.can.thinking == "switchable"


def rewritten(messages: list[Tree], rewrite: Callable[[Tree], Tree]) -> list[Tree]:
    """Return the messages with `rewrite` applied; the same list where none is changed."""
    result = [rewrite(message) for message in messages]
    same = all(new is old for new, old in zip(result, messages, strict=True))
    return messages if same else result


def with_reasoning_as(message: Tree, name: str | None) -> Tree:
    """Return a message whose reasoning stands under `name` only, or nowhere; itself if so already.

    A client that keeps the reasoning under both names sends it twice; the first one counts.
    """
    found = [key for key in REASONING_KEYS if key in message]
    if not found or found == [name]:
        return message
    kept: dict[str, Any] = {k: v for k, v in message.items() if k not in REASONING_KEYS}
    values = [message[key] for key in found if message[key] is not None]
    if name is not None and values:
        kept[name] = values[0]
    return kept
