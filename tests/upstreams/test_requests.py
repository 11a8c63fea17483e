"""What goes upstream: golden bodies by dialect, and the laws that hold for all of them.

`REGOLD=1 pytest tests/upstreams/test_requests.py` writes the golden files anew; review the diff.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.decision import Shaped
from router.upstreams import dashscope, openai, vllm
from tests.upstreams.calls import call, capabilities, target

GOLDEN = Path(__file__).parent / "golden"
DIALECTS = {"vllm": vllm.request, "dashscope": dashscope.request, "openai": openai.request}
MODELS = {"vllm": "Qwen/Qwen3.6-27B", "dashscope": "qwen3.7-max", "openai": "gpt"}


def sent(dialect: str, case: dict[str, Any]) -> dict[str, Any]:
    """Return the body that one dialect's target gets."""
    to = target(
        "http://127.0.0.1:1/v1",
        upstream=dialect,
        model=MODELS[dialect],
        can=capabilities(**{k: _set(v) for k, v in case.get("can", {}).items()}),
        pass_fields=frozenset(case.get("pass_fields", ())),
    )
    shaped = Shaped(**case["shaped"]) if "shaped" in case else None
    return DIALECTS[dialect](call(to, case["client"], shaped=shaped))


def _set(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list) else value


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_is_sent_as_the_golden_file_says(path: Path, dialect: str) -> None:
    """One client request, and the body that each dialect's target gets for it."""
    case = json.loads(path.read_text())
    body = sent(dialect, case)
    if os.environ.get("REGOLD"):
        case.setdefault("sent", {})[dialect] = body
        path.write_text(json.dumps(case, indent=2, ensure_ascii=False) + "\n")

    assert body == case["sent"][dialect]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_the_clients_tree_is_never_changed(path: Path, dialect: str) -> None:
    """The tree that was scanned stays as it was; what is not rewritten is the same object."""
    case = json.loads(path.read_text())
    asked = call(
        target("http://127.0.0.1:1", upstream=dialect, model=MODELS[dialect]), case["client"]
    )
    before = copy.deepcopy(asked.chat.tree)
    body = DIALECTS[dialect](asked)

    assert asked.chat.tree == before
    if "tools" in body:
        assert body["tools"] is asked.chat.tree["tools"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(schema=st.dictionaries(st.text(), JSON, max_size=3), text=st.text())
def test_values_pass_as_they_are(dialect: str, schema: dict[str, Any], text: str) -> None:
    """Tool schemas and texts arrive value for value, whatever they hold."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    messages = [{"role": "user", "content": text}]
    body = sent(dialect, {"client": {"messages": messages, "tools": tools}})
    arrived = msgspec.json.decode(msgspec.json.encode(body))

    assert arrived["tools"] == tools
    assert arrived["messages"] == messages
