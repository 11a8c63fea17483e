"""Keys that the schema does not know, wherever a server could act on them.

A vendor's knob may hide inside a message, a tool or an option as well as at the top. What stands
below a JSON schema (`parameters`, `schema`) is the caller's own and is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.chat.parts import content_parts
from router.policy.dialects import MESSAGE_KEYS, PART_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.chat.schema import Tree

# The closed objects of the schema, by place: their keys.
TOOL: Final = frozenset({"type", "function"})
TOOL_FUNCTION: Final = frozenset({"name", "description", "parameters", "strict"})
CHOSEN_FUNCTION: Final = frozenset({"name"})
CALL: Final = frozenset({"id", "type", "function", "index"})
CALL_FUNCTION: Final = frozenset({"name", "arguments"})
STREAM_OPTIONS: Final = frozenset({"include_usage", "include_obfuscation"})
RESPONSE_FORMAT: Final = frozenset({"type", "json_schema"})
JSON_SCHEMA: Final = frozenset({"name", "description", "schema", "strict"})


def content_strangers(messages: list[Tree]) -> set[str]:
    """Return the unknown keys of messages and parts, as `messages.KEY` and `parts.KEY`."""
    found: set[str] = set()
    for message in messages:
        found.update("messages." + key for key in message.keys() - MESSAGE_KEYS)
    for _, part in content_parts(messages):
        found.update("parts." + key for key in part.keys() - PART_KEYS)
    return found


def has_strangers(tree: Tree) -> bool:
    """Tell whether a tool, a tool call or an option has a key, or is of a kind, that is unknown.

    A tool that is no function runs on the vendor's side: it is a knob of its own.
    """
    return any(
        not isinstance(value, dict) or value.keys() - known for value, known in _closed(tree)
    )


def _closed(tree: Tree) -> Iterator[tuple[Any, frozenset[str]]]:
    """Yield every closed object with the keys that it may have."""
    for tool in tree.get("tools") or ():
        yield tool, TOOL if tool.get("type") == "function" else frozenset()
        yield tool.get("function"), TOOL_FUNCTION
    choice = tree.get("tool_choice")
    if isinstance(choice, dict):
        yield choice, TOOL if choice.get("type") == "function" else frozenset()
        yield choice.get("function"), CHOSEN_FUNCTION
    for message in tree["messages"]:
        for call in message.get("tool_calls") or ():
            yield call, CALL
            yield call.get("function") or {}, CALL_FUNCTION
        yield message.get("function_call") or {}, CALL_FUNCTION
    yield tree.get("stream_options") or {}, STREAM_OPTIONS
    wanted = tree.get("response_format") or {}
    yield wanted, RESPONSE_FORMAT
    yield wanted.get("json_schema") or {}, JSON_SCHEMA
