"""How many tokens a request holds, estimated: text by its script, media by a flat count a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.chat.parts import PART_MODALITY, content_parts

if TYPE_CHECKING:
    from router.chat.schema import Tree


# Tokens that one part of a kind is taken to hold until it is looked into.
PART_TOKENS: Final = {"image": 1_000, "audio": 1_000, "video": 10_000, "file": 10_000}
CHARS_PER_TOKEN: Final = 4.0
TOKENS_PER_WIDE_CHAR: Final = 0.7


def tokens_estimated(tree: Tree) -> int:
    """Estimate the input tokens: text by its script, media by a flat count a part."""
    total = 0.0
    for message in tree["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            total += tokens_of(content)
        for earlier in ("reasoning_content", "reasoning"):
            if isinstance(thought := message.get(earlier), str):
                total += tokens_of(thought)
        if calls := message.get("tool_calls"):
            total += tokens_of(msgspec.json.encode(calls).decode())
    for _, part in content_parts(tree["messages"]):
        modality = PART_MODALITY.get(part["type"], "file")
        text = part.get("text")
        total += PART_TOKENS.get(modality, 0) + (tokens_of(text) if isinstance(text, str) else 0)
    for schema in (tree.get("tools"), tree.get("response_format")):
        if schema:
            total += tokens_of(msgspec.json.encode(schema).decode())
    return int(total) + 1


def tokens_of(text: str) -> float:
    """Estimate the tokens of a text: four narrow characters a token, a wide one 0.7 tokens."""
    if text.isascii():
        return len(text) / CHARS_PER_TOKEN
    # A CJK character is three bytes of UTF-8, so this counts it once, a Cyrillic one half.
    wide = (len(text.encode()) - len(text)) / 2
    return max(len(text) - wide, 0) / CHARS_PER_TOKEN + wide * TOKENS_PER_WIDE_CHAR
