"""From a body to a request: what is refused, what is read, and that nothing is changed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.chat.request import STEERING, ChatRequest, parse
from router.chat.tokens import PART_TOKENS, tokens_of
from router.errors import InvalidRequest

HELLO = [{"role": "user", "content": "hello"}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def body(**changes: Any) -> dict[str, Any]:
    """Build a small body."""
    return {"model": "auto", "messages": HELLO} | changes


def read(tree: Any) -> ChatRequest:
    """Parse a tree sent as compact JSON."""
    return parse(msgspec.json.encode(tree))


def refusal(raw: bytes) -> InvalidRequest:
    """Return why a body is refused."""
    with pytest.raises(InvalidRequest) as caught:
        parse(raw)
    return caught.value


def complaint(raw: bytes) -> str:
    """Return what is said of a body, nothing where it is good. Any other exception passes."""
    try:
        parse(raw)
    except InvalidRequest as error:
        return error.message
    return ""


def said(part: dict[str, Any]) -> ChatRequest:
    """Parse a body whose one message has one part."""
    return read(body(messages=[{"role": "user", "content": [part]}]))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"3",
        b"null",
        b'{"model":"auto","messages":[]}x',
        b"{'model':'auto'}",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"model":"auto"}',
        "{}".encode("utf-16"),
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: repr(raw[:16]),
)
def test_bad_json(raw: bytes) -> None:
    """What is no JSON object is refused, however deep, long or encoded."""
    assert refusal(raw).status == 400


@pytest.mark.parametrize("space", [b"", b" ", b"\n\t"])
@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"auto","messages":[{"role":"user","content":"a"}],"model":"best"}',
        b'{"model":"auto","mode\\u006c":"best","messages":[{"role":"user","content":"a"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"a","content":"b"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"a"}],"tools":[{"a":{"b":1,"b":1}}]}',
    ],
    ids=["top", "escaped", "message", "deep"],
)
def test_a_duplicate_key_is_refused(raw: bytes, space: bytes) -> None:
    """An object that could be read in two ways is refused at any depth, compact and spaced."""
    error = refusal(raw.replace(b":", b":" + space))

    assert error.message == "An object in the body has a duplicate key; send each key once."


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": 3}, "model"),
        ({"model": None}, "model"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*HELLO, {"role": "user", "content": 3}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": 3}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "messages[0].tool_calls[0].function",
        ),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 0}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"tools": {}}, "tools"),
        ({"logit_bias": {"canary": "x"}}, "logit_bias[...]"),
        ({"metadata": {"canary": 1}}, "metadata[...]"),
        ({"metadata": []}, "metadata"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"modalities": []}, "modalities"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        (
            {"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}},
            "enable_thinking",
        ),
    ],
)
def test_a_wrong_type_names_its_place(changes: dict[str, Any], param: str) -> None:
    """What is wrong is refused under the path of the schema where it stands."""
    error = refusal(msgspec.json.encode(body(**changes)))

    assert (error.param, error.code) == (param, "invalid_request")


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field(field: str) -> None:
    """Model and messages are required; what is missing has no place to name."""
    tree = body()
    del tree[field]
    error = refusal(msgspec.json.encode(tree))

    assert field in error.message
    assert error.param is None


@pytest.mark.parametrize("knob", sorted(STEERING))
@pytest.mark.parametrize("value", [None, True, "x"])
def test_steering_is_refused(knob: str, value: Any) -> None:
    """Knobs that would steer the gateway are refused by name, even when they are empty."""
    error = refusal(msgspec.json.encode(body(**{knob: value})))

    assert error.param == knob


REMOTE = [
    "http://example.com/a.png",
    "https://example.com/a.png",
    "HTTPS://example.com/a.png",
    "   https://example.com/a.png",
    " " * 100 + "https://example.com/a.png",
    "\n\thttps://example.com/a.png",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "//example.com/a.png",
    "ftp://example.com/a.png",
    "s3://bucket/key",
]


@pytest.mark.parametrize("url", REMOTE, ids=repr)
@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "URL"}},
        {"type": "image_url", "image_url": "URL"},
        {"type": "video_url", "video_url": {"url": "URL"}},
        {"type": "video", "video": ["data:image/png;base64,aa", "URL"]},
        {"type": "video", "video": "URL"},
        {"type": "input_audio", "input_audio": {"data": "URL", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"url": "URL"}},
        {"type": "file", "file": {"file_data": "URL"}},
        {"type": "file", "file": {"file_url": "URL"}},
        {"type": "text", "text": "look", "image_url": {"url": "URL"}},
        {"type": "image_url", "image_url": {"deep": [{"er": "URL"}]}},
        {"type": "strange", "thing": "URL"},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_remote_media(part: dict[str, Any], url: str) -> None:
    """An address in any part, of whatever kind and spelling, needs a target that may fetch."""
    chat = said(json.loads(json.dumps(part).replace('"URL"', json.dumps(url))))

    assert "media_url" in chat.needs


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "/etc/passwd"}},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "file", "file": {"file_id": "file-123"}},
        {"type": "video", "video": ["a.png"]},
    ],
)
def test_a_bare_reference_is_remote(part: dict[str, Any]) -> None:
    """Where an address is expected, whatever is not inline may be fetched or looked up."""
    assert "media_url" in said(part).needs


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "see https://example.com and file:///etc/passwd"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "  DATA:image/png;base64,aa"}},
        {"type": "video", "video": [PIXEL, PIXEL]},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aa", "filename": "a"}},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_inline_media_is_not_remote(part: dict[str, Any]) -> None:
    """Inline data is no address, and neither is an address in a text."""
    assert "media_url" not in said(part).needs


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        ({"type": "text", "text": "a"}, {"text"}),
        ({"type": "image_url", "image_url": {"url": PIXEL}}, {"text", "image"}),
        ({"type": "input_audio", "input_audio": {"data": "aa"}}, {"text", "audio"}),
        ({"type": "video_url", "video_url": {"url": PIXEL}}, {"text", "video"}),
        ({"type": "video", "video": [PIXEL]}, {"text", "video"}),
        ({"type": "file", "file": {}}, {"text", "file"}),
        ({"type": "text", "text": "a", "image_url": {"url": PIXEL}}, {"text", "image"}),
        ({"type": "hologram"}, {"text", "file"}),
    ],
)
def test_modalities(part: dict[str, Any], kinds: set[str]) -> None:
    """The modalities are those of every part and every media key; what is not known is a file."""
    assert kinds == said(part).input


def test_spoken_history_is_audio() -> None:
    """An assistant's spoken answer in the history is audio."""
    spoken = {"role": "assistant", "audio": {"id": "audio_1"}}

    assert "audio" in read(body(messages=[*HELLO, spoken])).input


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [{"type": "function"}]}, {"tools"}),
        ({"tool_choice": "required"}, {"tool_choice_required"}),
        ({"tool_choice": "auto"}, set()),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_schema"}}, {"json_schema"}),
        ({"response_format": {"type": "json_object"}}, {"json_object", "json_without_word"}),
        (
            {
                "response_format": {"type": "json_object"},
                "messages": [{"role": "user", "content": "as JSON"}],
            },
            {"json_object"},
        ),
        ({"enable_thinking": True}, {"thinking_on"}),
        ({"enable_thinking": False}, {"thinking_off"}),
        ({"messages": [{"role": "user", "content": [{"type": "x"}]}]}, {"unknown_part"}),
    ],
)
def test_needs(changes: dict[str, Any], needs: set[str]) -> None:
    """What a request needs beyond its fields is read from it."""
    assert needs == read(body(**changes)).needs


@pytest.mark.parametrize(
    ("changes", "thinking"),
    [
        ({}, None),
        ({"enable_thinking": None}, None),
        ({"enable_thinking": True}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {}}, None),
        ({"chat_template_kwargs": {"enable_thinking": None}, "enable_thinking": True}, True),
        ({"chat_template_kwargs": {"enable_thinking": True}, "enable_thinking": True}, True),
    ],
)
def test_thinking_is_read_in_either_spelling(
    changes: dict[str, Any], *, thinking: bool | None
) -> None:
    """Both spellings are one switch, and neither is a field then."""
    chat = read(body(**changes))

    assert chat.thinking is thinking
    assert not chat.fields & {"enable_thinking", "chat_template_kwargs"}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"temperature": 0.5, "top_p": None}, {"temperature"}),
        ({"chat_template_kwargs": {"enable_thinking": True, "x": 1}}, {"chat_template_kwargs"}),
        ({"enable_search": True}, {"enable_search"}),
        ({"messages": [{"role": "user", "content": "a", "partial": True}]}, {"messages.partial"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "", "fps": 2}]}]},
            {"parts.fps"},
        ),
        ({"parts.fps": 1}, {"unknown"}),
        ({"tools": [{"type": "web_search"}]}, {"tools", "unknown"}),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, {"tools"}),
        ({"tools": [{"type": "function"}]}, {"tools", "unknown"}),
        (
            {"tools": [{"type": "function", "function": {}, "googleSearch": {}}]},
            {"tools", "unknown"},
        ),
        ({"tool_choice": {"type": "web_search"}}, {"tool_choice", "unknown"}),
        ({"response_format": {"type": "text", "grammar": "x"}}, {"response_format", "unknown"}),
    ],
)
def test_fields(changes: dict[str, Any], fields: set[str]) -> None:
    """Every key that says something is a field, inner ones with their prefix."""
    assert fields | {"model", "messages"} == read(body(**changes)).fields


def test_limits_and_streaming() -> None:
    """The lower of both output limits counts, and usage is asked for explicitly."""
    chat = read(
        body(
            max_tokens=50,
            max_completion_tokens=20,
            n=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert (chat.max_output, chat.answers) == (20, 3)
    assert (chat.stream, chat.include_usage) == (True, True)
    assert (read(body()).max_output, read(body()).answers) == (None, 1)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("word " * 1000, 1000, 1500),
        ("今天天气很好" * 1000, 3000, 6000),
        ("слово " * 1000, 1500, 4000),
        ("😀" * 1000, 500, 2000),
        ("é" * 1000, 250, 1000),
    ],
)
def test_tokens_of_a_text(text: str, least: int, most: int) -> None:
    """The estimate is in the right range for narrow and for wide scripts."""
    assert least <= tokens_of(text) <= most


def test_tokens_of_everything_that_is_sent() -> None:
    """Text, parts, tool calls, tools and schemas count; media count flat, with or without text."""
    long = "word " * 800
    call = {"function": {"name": "f", "arguments": long}}
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    bodies = [
        body(messages=[{"role": "user", "content": long}]),
        body(messages=[{"role": "user", "content": [{"type": "text", "text": long}]}]),
        body(messages=[{"role": "assistant", "tool_calls": [call]}]),
        body(tools=[{"type": "function", "function": {"description": long}}]),
        body(response_format={"type": "json_schema", "json_schema": {"description": long}}),
        body(messages=[{"role": "user", "content": [image]}]),
        body(messages=[{"role": "user", "content": [image | {"text": ""}]}]),
    ]

    assert all(read(tree).tokens_estimated >= 1000 for tree in bodies)
    assert read(bodies[-2]).tokens_estimated == PART_TOKENS["image"] + 1


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FREE = st.dictionaries(st.text(max_size=8).map(lambda name: "x_" + name), TREES, max_size=3)


@settings(max_examples=100)
@given(FREE, st.text(max_size=20), st.sampled_from([None, 2]), st.booleans())
def test_what_is_sent_is_what_came(
    extra: dict[str, Any], text: str, indent: int | None, ascii_only: bool
) -> None:
    """The tree encodes back to the same values, whatever spelling of JSON they came in."""
    tree = {"model": text, "messages": [{"role": "user", "content": text, "x": extra}]} | extra
    raw = json.dumps(tree, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    sent = msgspec.json.encode(parse(raw).tree)

    assert json.loads(sent) == tree
    assert list(json.loads(sent)) == list(tree)


@settings(max_examples=100)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_raise_nothing_else(raw: bytes) -> None:
    """Whatever comes is parsed or refused."""
    bodies = (raw, b"{" + raw + b"}", b'{"model":"a","messages":[' + raw + b"]}")

    assert all(complaint(sent).isprintable() for sent in bodies)


KNOWN_KEYS = st.sampled_from(
    "type text image_url input_audio video url role content tool_calls function arguments name "
    "messages model tools metadata response_format stream_options chat_template_kwargs "
    "enable_thinking modalities user n max_tokens".split()
)
KNOWN_WORDS = st.sampled_from(
    ["user", "assistant", "text", "image_url", "json_object", "required", PIXEL, "auto"]
)
SHAPED = st.recursive(
    st.one_of(KNOWN_WORDS, SCALARS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(KNOWN_KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    st.dictionaries(KNOWN_KEYS, SHAPED, max_size=3),
    st.lists(st.dictionaries(KNOWN_KEYS, SHAPED, max_size=3), max_size=2),
)
def test_arbitrary_trees_raise_nothing_else(
    top: dict[str, Any], parts: list[dict[str, Any]]
) -> None:
    """Bodies made of the schema's own words in wrong places are parsed or refused."""
    trees = (top, body(messages=[{"role": "user", "content": parts}]) | top)

    assert all(complaint(msgspec.json.encode(tree)).isprintable() for tree in trees)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "refusal", "refusal": "word " * 4000}]},
        {"role": "assistant", "content": None, "refusal": "word " * 4000},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "word " * 4000}},
        {"role": "user", "name": "word " * 4000, "content": "a"},
        {"role": "user", "content": "data:" + "word " * 4000},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"detail": "word " * 4000}}],
        },
    ],
)
def test_text_counts_wherever_it_stands(message: dict[str, Any]) -> None:
    """No place in a message hides its length from the rules on cost and context."""
    assert read(body(messages=[message])).tokens_estimated >= 5000


def test_inline_media_count_as_a_part() -> None:
    """The base64 of a picture is no text."""
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}

    assert read(body(messages=[{"role": "user", "content": [part]}])).tokens_estimated < 1100


@pytest.mark.parametrize(
    "raw", [b'{"tools":[' + b"{}," * 500_000 + b"{}]}", b"[" + b"1," * 2_000_001]
)
def test_what_would_fill_memory_is_not_parsed(raw: bytes) -> None:
    """A body of very many tiny things is refused before it is taken apart."""
    with pytest.raises(InvalidRequest, match="too many"):
        parse(raw)


def test_answers_are_bounded() -> None:
    """More answers than the schema allows are an error, and no number that breaks a price."""
    with pytest.raises(InvalidRequest, match="at most 128"):
        read(body(n=2**62))
