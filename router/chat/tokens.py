"""How many tokens a request holds, estimated: text by its script, media by a flat count a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.chat.parts import PART_MODALITY, content_parts
from router.policy.dialects import MESSAGE_KEYS, PART_KEYS

if TYPE_CHECKING:
    from router.chat.schema import Tree


# Tokens that one part of a kind is taken to hold until it is looked into.
PART_TOKENS: Final = {"image": 1_000, "audio": 1_000, "video": 10_000, "file": 10_000}
CHARS_PER_TOKEN: Final = 4.0
TOKENS_PER_WIDE_CHAR: Final = 0.7
# Fields besides the messages that become text of the prompt.
SCHEMAS: Final = ("tools", "functions", "response_format")
# The schema's own keys and words cost next to nothing; those that the caller made up are text.
UNCOUNTED: Final = frozenset({"role", "type"})
FREE_KEYS: Final = MESSAGE_KEYS | PART_KEYS | {"function", "arguments", "url", "id"}
# Where inline media stand: base64, or a `data:` address. They count as a part.
DATA_KEYS: Final = frozenset({"data", "file_data"})
MEDIA_KEYS: Final = DATA_KEYS | {"url", "image_url", "video_url", "video", "file_url"}


def tokens_estimated(tree: Tree) -> int:
    """Estimate the input tokens: every string and key that is sent, and each part of media."""
    total = sum(_weight(message) for message in tree["messages"])
    total += sum(_weight(tree.get(field)) for field in SCHEMAS)
    for _, part in content_parts(tree["messages"]):
        total += PART_TOKENS.get(PART_MODALITY.get(part["type"], "file"), 0)
    return int(total) + 1


def _weight(value: Any) -> float:
    """Return the tokens of all strings and keys below a value, inline media left out."""
    total = 0.0
    stack = [("", value)]
    while stack:
        key, item = stack.pop()
        if isinstance(item, str):
            if key not in MEDIA_KEYS or not (key in DATA_KEYS or item.startswith("data:")):
                total += tokens_of(item)
        elif isinstance(item, dict):
            for name, inner in item.items():
                if name not in UNCOUNTED:
                    total += 0 if name in FREE_KEYS else tokens_of(name)
                    stack.append((name, inner))
        elif isinstance(item, list):
            stack.extend((key, inner) for inner in item)
    return total


def tokens_of(text: str) -> float:
    """Estimate the tokens of a text: four narrow characters a token, a wide one 0.7 tokens."""
    if text.isascii():
        return len(text) / CHARS_PER_TOKEN
    # A CJK character is three bytes of UTF-8, so this counts it once, a Cyrillic one half.
    wide = (len(text.encode()) - len(text)) / 2
    return max(len(text) - wide, 0) / CHARS_PER_TOKEN + wide * TOKENS_PER_WIDE_CHAR
