"""What a stand-in answers: that it is one, which model it stands for and how much it read. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from router.chat.tokens import tokens_of

Tree = dict[str, Any]

TOKENS_PER_MEDIUM: Final = 1_000
MAX_DEPTH: Final = 16
CHARS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One choice before it is put into a dialect. `finish_reason` is OpenAI's."""

    content: str
    reasoning: str | None
    tool_call: Tree | None
    finish_reason: str
    input_tokens: int

    @property
    def output_tokens(self) -> int:
        """An estimate, as everything here."""
        said = (self.content, self.reasoning or "", json.dumps(self.tool_call or ""))
        return max(1, round(sum(map(tokens_of, said))))


def input_tokens(body: Tree) -> int:
    """Estimate the tokens of a request: its texts, and a flat count for each piece of media."""
    total = 1.0
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"text": content or ""}]:
            text = part.get("text")
            total += tokens_of(text) if isinstance(text, str) else TOKENS_PER_MEDIUM
    for schema in (body.get("tools"), body.get("response_format")):
        total += tokens_of(json.dumps(schema)) if schema else 0
    return int(total)


def reply_to(body: Tree, *, thinking: bool) -> Reply:
    """Return the answer to a request."""
    tokens = input_tokens(body)
    notice = (
        f"This is a stand-in for {body['model']}: no real model ran. "
        f"It was given {tokens} input tokens."
    )
    tool_call = _tool_call(body, notice)
    text = notice if tool_call else _in_format(body.get("response_format"), notice)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    cut = limit is not None and len(text) > limit * CHARS_PER_TOKEN
    reason = "tool_calls" if tool_call else "length" if cut else "stop"
    return Reply(
        content=text[: limit * CHARS_PER_TOKEN] if limit and cut else text,
        reasoning="A stand-in does not think; no real model ran." if thinking else None,
        tool_call=tool_call,
        finish_reason=reason,
        input_tokens=tokens,
    )


def _tool_call(body: Tree, notice: str) -> Tree | None:
    """Return a call of the first tool, or of the named one, unless its result is there already."""
    tools, choice = body.get("tools") or [], body.get("tool_choice", "auto")
    if not tools or choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    functions = [tool["function"] for tool in tools]
    function = next((f for f in functions if f["name"] == named), functions[0])
    arguments = sample(function.get("parameters") or {"type": "object"}, notice)
    return {
        "id": "call_stand_in",
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": json.dumps(arguments, ensure_ascii=False),
        },
    }


def _in_format(wanted: Tree | None, notice: str) -> str:
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return json.dumps(sample(schema, notice), ensure_ascii=False)
        case {"type": "json_object" | "json_schema"}:
            return json.dumps({"stand_in": notice}, ensure_ascii=False)
    return notice


def sample(schema: Any, notice: str, root: Any = None, depth: int = 0) -> Any:
    """Return a value that satisfies a JSON schema of the common keywords; strings hold the notice.

    `pattern` and `format` are not looked at.
    """
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return notice
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    inner = next((schema[k][0] for k in ("anyOf", "oneOf", "allOf") if schema.get(k)), None)
    if isinstance(schema.get("$ref"), str):
        inner = _referred(root, schema["$ref"])
    if inner is not None:
        return sample(inner, notice, root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        # Only what is required below the top, so that a recursive schema ends.
        names = [name for name in properties if not depth or name in schema.get("required", ())]
        return {n: sample(properties[n], notice, root, depth + 1) for n in names}
    if kind == "array":
        count = min(max(1, schema.get("minItems", 1)), schema.get("maxItems", 1_000))
        return [sample(schema.get("items", {}), notice, root, depth + 1)] * count
    return _scalar(kind, schema, notice)


def _scalar(kind: str, schema: Tree, notice: str) -> Any:
    if kind in {"integer", "number"}:
        return _number(schema)
    if kind == "string":
        text = notice.ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]
    return None if kind == "null" else False


def _number(schema: Tree) -> Any:
    """Return the least number that is allowed, else the greatest, else 0."""
    for key, step in (("minimum", 0), ("exclusiveMinimum", 1), ("maximum", 0)):
        if key in schema:
            return schema[key] + step
    return schema["exclusiveMaximum"] - 1 if "exclusiveMaximum" in schema else 0


def _referred(root: Any, pointer: str) -> Any:
    """Return the part of the schema that a local `$ref` names."""
    found = root
    for step in pointer.removeprefix("#/").split("/"):
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return found
