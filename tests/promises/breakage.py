"""Answers of an upstream that are faults, or lies, with a canary in all that they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.gateways import chunk, completion
from tests.scripted import Answer, HangUp, Reset, Send, head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.promises.canaries import Canaries

ERROR_STATUSES = (401, 402, 403, 404, 405, 408, 409, 410, 418, 429, 500, 502, 503, 504, 599)
RETRY_AFTER = (
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2026 00:00:00 +99999999999999999",
    "-1",
    "9" * 400,
)


def error(c: Canaries, where: str) -> dict[str, Any]:
    """Return an error body in which everything is a canary."""
    told = {name: c(f"{where}: {name}") for name in ("message", "type", "param", "code")}
    return {"error": told | {c(f"{where}: key"): 1}, "request_id": c(f"{where}: request id")}


def strange_headers(c: Canaries, where: str) -> dict[str, str]:
    """Return response headers that hold canaries."""
    names = ("X-Request-Id", "Set-Cookie", "Server", "Via", "X-Router-Target", "Retry-After")
    return {name: c(f"{where}: {name}") for name in names} | {
        f"X-{c(f'{where}: header name')}": "1"
    }


def full_completion(c: Canaries, where: str) -> dict[str, Any]:
    """Return a good answer in which all text is a canary."""
    called = {"name": c(f"{where}: tool"), "arguments": json.dumps({c(f"{where}: arg"): 1})}
    answer = completion(c(f"{where}: text"), model=c(f"{where}: model"))
    answer["id"] = c(f"{where}: id")
    answer["system_fingerprint"] = c(f"{where}: fingerprint")
    answer[c(f"{where}: key")] = c(f"{where}: value")
    answer["choices"][0]["finish_reason"] = c(f"{where}: finish reason")
    answer["choices"][0]["message"] |= {
        "reasoning": c(f"{where}: reasoning"),
        "refusal": c(f"{where}: refusal"),
        "tool_calls": [{"id": c(f"{where}: call id"), "type": "function", "function": called}],
    }
    return answer


def full_stream(c: Canaries, where: str, *, ends: bool = True) -> Answer:
    """Return a good stream in which all text is a canary; else one that breaks off after text."""
    began = chunk({"role": "assistant", "content": c(f"{where}: delta")})
    began |= {"id": c(f"{where}: id"), "model": c(f"{where}: model")}
    if not ends:
        return Answer.stream(began, error(c, where), steps=[HangUp()])
    last = chunk({}, finish=c(f"{where}: finish reason"))
    return Answer.packets(
        f": {c(f'{where}: comment')}\n\nevent: {c(f'{where}: event')}\n".encode(),
        *(f"data: {json.dumps(one)}\n\n".encode() for one in (began, last, chunk(None))),
        f"data: [DONE]\n\ndata: {c(f'{where}: after')}\n\n".encode(),
    )


def failing(c: Canaries) -> Iterator[Answer]:
    """Yield answers that no client should see a word of."""
    for status in ERROR_STATUSES:
        where = f"upstream {status}"
        yield Answer.error(status, error(c, where), headers=strange_headers(c, where))
    for value in RETRY_AFTER:
        yield Answer.error(429, error(c, "throttled"), headers={"Retry-After": value})
    location = f"http://127.0.0.1:9/{c('upstream redirect')}"
    yield Answer.redirect(location)
    for raw in (b"<html>%b</html>", b'"%b"', b'["%b"]', b'{"%b": 1}', b'{"choices": ["%b"]}'):
        yield Answer.body(200, raw % c("upstream no completion").encode())
    yield Answer.body(500, b"\xff" + c("upstream 500 bytes").encode())
    yield Answer.json({"error": {**error(c, "upstream error in 200")["error"], "code": 500}})
    yield Answer.raw(Send(f"HTTP/1.1 {c('upstream status line')} ".encode()), HangUp())
    yield Answer.raw(Send(f"{c('upstream no HTTP')}\r\n\r\n".encode()), HangUp())
    yield Answer.raw(
        Send(f"HTTP/1.1 200 OK\r\nBad {c('upstream bad head')}\r\n\r\n".encode()), HangUp()
    )
    cut = head(200, {"Content-Length": "9999", "Content-Type": "application/json"})
    yield Answer.raw(Send(cut + b'{"id": "%b' % c("upstream cut body").encode()), HangUp())
    yield Answer.raw(Send(cut + c("upstream reset").encode()), Reset())
    packed = head(200, {"Content-Encoding": c("upstream encoding"), "Content-Length": "4"})
    yield Answer.raw(Send(packed + b"\x1f\x8b\x08\x00"))


def failing_streams(c: Canaries) -> Iterator[Answer]:
    """Yield streams that break, before and after their first delta."""
    for status in (400, 500):
        told = {**error(c, "event before text")["error"], "code": status}
        if status != 400:
            yield Answer.stream({"error": told})
    yield full_stream(c, "event after text", ends=False)
    delta = chunk({"content": c("delta before garbage")})
    yield Answer.stream(delta, c("garbage after text"))
    yield Answer.stream(delta, {"choices": c("choices as text")})
    yield Answer.stream(delta, {c("no chunk"): 1})
    yield Answer.stream(c("garbage before text"))
    yield Answer.stream({**delta, "choices": [{"delta": c("delta as text")}]})
    yield Answer.stream(delta, steps=[Reset()])
    yield Answer.packets(f"event: {c('event name')}\nid: {c('event id')}\n\n".encode())


def lying(c: Canaries) -> Iterator[Answer]:
    """Yield answers that can be used, and say something odd of themselves."""
    for usage in (
        {"prompt_tokens": c("usage as text"), "completion_tokens": -1},
        {"prompt_tokens": 10**29, "completion_tokens": 10**29},
        {"prompt_tokens": 10**400, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1.5, c("usage key"): 1},
    ):
        yield Answer.json({**completion(c("lying")), "usage": usage})
    choice = {"index": c("index"), "message": {"content": [c("content list")]}, "finish_reason": 7}
    yield Answer.json({"model": {c("model key"): 1}, "choices": [choice]})
