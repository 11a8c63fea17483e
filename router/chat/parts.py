"""The content parts of a request: modalities, unknown keys, what a server would fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.chat.schema import Tree

# The modality of each kind of content part. A kind that is not here cannot be read: a file.
PART_MODALITY: Final = {
    "text": "text",
    "refusal": "text",
    "image_url": "image",
    "input_audio": "audio",
    "video_url": "video",
    "video": "video",
    "file": "file",
}


def content_parts(messages: list[Tree]) -> Iterator[tuple[str, Tree]]:
    """Yield every content part with its place, `messages[2].content[0]`."""
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for j, part in enumerate(content):
                yield f"messages[{i}].content[{j}]", part


def modalities(messages: list[Tree]) -> tuple[frozenset[str], set[str]]:
    """Return the modalities of all parts, and what they need beyond that."""
    kinds: set[str] = set()
    needs: set[str] = set()
    for place, part in content_parts(messages):
        kind = part.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest(f"{place}.type must be a string.", param=f"{place}.type")
        for key in ("text", "refusal"):
            if (kind == key or key in part) and not isinstance(part.get(key), str):
                raise InvalidRequest(f"{place}.{key} must be a string.", param=f"{place}.{key}")
        modality = PART_MODALITY.get(kind)
        if modality is None:
            needs.add("unknown_part")
        kinds.add(modality or "file")
        # A key that belongs to another kind of part would be scanned and sent all the same, but a
        # server may act on it: every part's media is looked at, whatever its type says.
        if any(_is_remote(text) for text in _media_texts(part)):
            needs.add("media_url")
        kinds.update(PART_MODALITY[key] for key in part.keys() & PART_MODALITY.keys() - {"text"})
    if any(message.get("audio") is not None for message in messages):
        kinds.add("audio")
    return frozenset(kinds), needs


def _media_texts(part: Tree) -> Iterator[tuple[str, str]]:
    """Yield (key path's last key, text) of every string in a part's media."""
    stack: list[tuple[str, Any]] = [
        (key, value) for key, value in part.items() if key not in {"type", "text", "refusal"}
    ]
    while stack:
        key, value = stack.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            stack.extend(value.items())
        elif isinstance(value, list):
            stack.extend((key, item) for item in value)


def _is_remote(text: tuple[str, str]) -> bool:
    """Tell whether a media string makes a server fetch: any address that is not inline `data:`."""
    key, value = text
    start = value.lstrip()[:64].lower()
    if start.startswith("data:"):
        return False
    addresses = key.endswith("url") or key in {"video", "file_id"}
    return addresses or "://" in start or start.startswith(("file:", "//"))
