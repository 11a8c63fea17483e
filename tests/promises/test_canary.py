"""P6: what callers and upstreams say is in no record, log, metric, error or file of ours.

One gateway process is sent a canary in every place that can hold text, over every path that a
request can take; then everything that it wrote is searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from router.cli import app as command_line
from tests.gateways import ADMIN_TOKEN, KEYS, PAID_KEY
from tests.promises import bodies, breakage
from tests.promises.canaries import Canaries
from tests.promises.leaving import left
from tests.promises.serving import SECRET, Served, serving
from tests.scripted import Answer, Scripted, scripted

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

MAX_BODY_BYTES = 2_000_000
SECRETS = {
    **{f"client key {name}": key for name, key in KEYS.items()},
    "paid key": PAID_KEY,
    "admin token": ADMIN_TOKEN,
    "chain secret": SECRET,
}
GARBAGE = (
    b"%b\r\n\r\n",
    b"GET /%b\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"%b /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: %b\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: %b\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nUpgrade: %b\r\nConnection: upgrade\r\n\r\n",
    b"GET http://%b:x:y/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nBad header %b\r\n\r\n",
)


@dataclass
class Storm:
    """The requests of one test, and what was said to their callers."""

    c: Canaries
    served: Served
    own: Scripted
    paid: Scripted
    answers: list[httpx.Response] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)

    async def chat(
        self, body: Any, *, key: str | None = "shop", status: int | None = None, **headers: str
    ) -> httpx.Response:
        """Send a chat request and keep what its caller saw beside the answer itself."""
        reply = await self.served.post(body, key=key, **headers)
        self._keep(reply)
        assert reply.status_code == status or status is None, reply.text
        return reply

    async def get(self, url: str, method: str = "GET", **how: Any) -> httpx.Response:
        """Send any other request."""
        reply = await self.served.client.request(method, url, **how)
        self._keep(reply)
        return reply

    def _keep(self, reply: httpx.Response) -> None:
        self.answers.append(reply)
        self.told.append(repr(reply.headers.raw).encode())
        if reply.status_code != 200:
            self.told.append(reply.content)

    def codes(self) -> list[int]:
        """Return the status of every answer so far."""
        return [reply.status_code for reply in self.answers]

    async def sinks(self) -> dict[str, bytes]:
        """Return everything that was written or said, by sink. The gateway must be up."""
        metrics = await self.served.client.get(f"{self.served.admin_url}/metrics")
        status = await self.served.admin("GET", "/admin/status")
        looked_up = [await self._decision(reply) for reply in self.answers]
        return {
            "what callers were told": b"\n".join(self.told),
            "metrics": metrics.content,
            "status": status.content,
            "decisions": b"\n".join(looked_up),
        }

    async def _decision(self, reply: httpx.Response) -> bytes:
        name = reply.headers.get("x-router-decision-id")
        if name is None:
            return b""
        found = await self.served.client.get(
            f"{self.served.url}/v1/decisions/{name}",
            headers={"authorization": reply.request.headers["authorization"]},
        )
        assert found.status_code == 200
        return found.content


def files_of(served: Served) -> dict[str, bytes]:
    """Return what the process left behind: both streams, the records, the state folder."""
    state = {f.name: f.read_bytes() for f in served.folder.glob("state/**/*") if f.is_file()}
    assert {"policy.loaded", "decision.made"} <= events_of(served.records)
    # INVARIANT of the test: the copy on standard output was on.
    assert events_of(served.stdout) == events_of(served.records)
    return {
        "records": served.records,
        "stdout": served.stdout,
        "stderr": served.stderr,
        **{f"state/{name}": content for name, content in state.items()},
    }


def events_of(lines: bytes) -> set[str]:
    """Return the kinds of records in a file."""
    return {json.loads(line)["event"] for line in lines.splitlines()}


def leaks(c: Canaries, sinks: dict[str, bytes]) -> dict[str, set[str]]:
    """Return the places whose canary is in a sink, by sink."""
    return {name: found for name, text in sinks.items() if (found := c.found_in(text))}


@contextlib.asynccontextmanager
async def storm(folder: Path) -> Any:
    """Run a gateway over two scripted upstreams."""
    async with scripted() as own, scripted() as paid:
        env = {"ROUTER_MAX_BODY_BYTES": str(MAX_BODY_BYTES)}
        async with serving(folder, own=own.url, paid=paid.url, env=env) as served:
            yield Storm(c=Canaries(secrets=SECRETS), served=served, own=own, paid=paid)


async def test_no_sink_holds_a_word_of_what_was_served(tmp_path: Path) -> None:
    """Served, streamed and abandoned: the canaries went up and down, and stayed nowhere."""
    async with storm(tmp_path) as s:
        c = s.c
        await _served(s)
        await _abandoned(s)
        sinks = await s.sinks()
    arrived = c.found_in(b"".join(r.body for r in (*s.own.requests, *s.paid.requests)))
    answered = c.found_in(b"".join(reply.content for reply in s.answers))
    key = {r.headers["authorization"] for r in s.paid.requests}

    assert leaks(c, sinks | files_of(s.served)) == {}
    # The opposite, so that this test can fail: they were there to be leaked.
    assert {p for p in c.places if p.startswith(("own", "paid"))} <= arrived
    assert {p for p in c.places if p.startswith("answer:")} - {"answer: model"} <= answered
    assert {"answer stream: delta", "answer paid: text", "answer paid stream: delta"} <= answered
    assert key == {f"Bearer {PAID_KEY}"}
    outcomes = [json.loads(line).get("outcome") for line in s.served.records.splitlines()]
    assert outcomes.count("served") == 4
    assert outcomes.count("abandoned") == 2


async def _served(s: Storm) -> None:
    c = s.c
    told = breakage.strange_headers(c, "answer head")
    s.own.script = [Answer.json(breakage.full_completion(c, "answer"), headers=told)]
    body = bodies.full(c, "own", image=True, **bodies.labels(c, "own"))
    body |= bodies.schema_format(c, "own")
    await s.chat(body, status=200, **bodies.headers(c, "own"))
    s.own.script = [breakage.full_stream(c, "answer stream")]
    await s.chat(bodies.full(c, "own stream", stream=True), status=200)
    s.paid.script = [Answer.json(breakage.full_completion(c, "answer paid"), headers=told)]
    premium = bodies.headers(c, "paid") | {"x_router_tier": "premium"}
    await s.chat(bodies.full(c, "paid", **bodies.labels(c, "paid")), status=200, **premium)
    s.paid.script = [breakage.full_stream(c, "answer paid stream")]
    await s.chat(bodies.full(c, "paid stream", stream=True), status=200, **premium)


async def _abandoned(s: Storm) -> None:
    """Leave once before the first byte and once in the middle of a stream."""
    began = breakage.full_stream(s.c, "unsent abandoned").steps[:3]
    for stream in (False, True):
        body = bodies.full(s.c, f"own abandoned {stream}", stream=stream)
        await left(s.own, s.served.post(body), *(began if stream else ()))


async def test_no_sink_holds_a_word_of_what_was_refused(tmp_path: Path) -> None:
    """Every stage's refusal and every 400, 401, 404, 405, 413: codes and names of the schema."""
    async with storm(tmp_path) as s:
        c = s.c
        for code, body, headers in bodies.refused(c):
            reply = await s.chat(body, **bodies.headers(c, code), **headers)
            assert reply.json()["error"]["code"] == code
        for raw, headers in bodies.malformed(c):
            await s.chat(raw, status=400, **headers)
        await _stopped(s)
        await s.chat(bodies.full(c, "401"), key=c("client key"), status=401)
        await s.chat(bodies.full(c, "413", seed=1) | {"x": "y" * MAX_BODY_BYTES}, status=413)
        await _other_routes(s)
        await _explained(s)
        sinks = await s.sinks()

    assert leaks(c, sinks | files_of(s.served)) == {}
    assert s.own.requests == s.paid.requests == []
    assert {200, 400, 401, 403, 404, 405, 413, 503} == set(s.codes())


async def _stopped(s: Storm) -> None:
    """Be refused by a switch's rule, and by a suspended target."""
    await s.served.admin("POST", "/admin/switch/all_home/on")
    await s.chat(bodies.full(s.c, "forbid", model="paid"), status=403)
    await s.served.admin("POST", "/admin/suspend/own")
    await s.chat(bodies.full(s.c, "state", model="own"), status=503)


async def _other_routes(s: Storm) -> None:
    """Routes of the framework, on both ports: unknown paths, methods, look-ups, wrong tokens."""
    c, url, admin = s.c, s.served.url, s.served.admin_url
    good = s.served.headers("shop")
    token = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    for path in ("", "v1/", "v1/models/", "v1/decisions/", "v1/chat/completions/"):
        await s.get(f"{url}/{path}{c('path')}?{c('query key')}={c('query')}", headers=good)
    await s.get(f"{url}/v1/chat/completions", method="PUT", content=c("put body"), headers=good)
    await s.get(f"{url}/v1/models", method=c("method").upper(), headers=good)
    await s.get(f"{url}/v1/models", headers={"authorization": c("scheme") + " " + c("key")})
    await s.get(
        f"{url}/v1/models", headers=good | {"host": c("host"), "x-request-id": c("id") + "!"}
    )
    await s.get(f"{admin}/admin/status", headers={"authorization": f"Bearer {c('wrong token')}"})
    for path in ("suspend/", "resume/", "switch/all_home/", "switch/x/on/", "", "switch/"):
        await s.get(f"{admin}/admin/{path}{c('admin path')}", method="POST", headers=token)


async def _explained(s: Storm) -> None:
    """`explain` on the admin port, with bodies and facts that are right and wrong."""
    c = s.c
    address = f"{s.served.admin_url}/admin/explain"
    token = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
    ours = {"x-router-team-mood": c("explain: mood"), "cookie": c("explain: cookie")}
    for body in explainable(c):
        reply = await s.get(address, method="POST", content=body, headers=token | ours)
        s.told.append(reply.content)
    # Facts are the asker's own words: an answer may repeat them to the asker, nothing else may.
    for fact in facts(c):
        await s.served.admin("POST", "/admin/explain", json=fact)
    for query in ("key", "why_not"):
        asked = {query: c(f"explain {query}")}
        await s.served.admin("POST", "/admin/explain", json=bodies.user("?"), params=asked)


def explainable(c: Canaries) -> list[bytes]:
    """Return request bodies for `explain`, right and wrong."""
    whole = bodies.full(c, "explain", image=True, **bodies.labels(c, "explain"))
    strange = {c("explain: key"): c("explain: value"), "key.product": c("explain: product")}
    # What has no messages is no body but facts, whose names an answer may repeat.
    wrong = [raw for raw, _ in bodies.malformed(c) if b'"messages"' in raw or b'": "' not in raw]
    return [json.dumps(whole).encode(), json.dumps(whole | strange).encode(), *wrong]


def facts(c: Canaries) -> list[dict[str, Any]]:
    """Return facts for `explain` that are no facts, or have values that nobody knows."""
    return [
        {c("fact name"): c("fact value")},
        {f"request.metadata.{c('metadata fact')}": c("metadata fact value")},
        {"request.metadata.purpose": c("purpose")},
        {f"header.x-router-{c('header fact')}": "x"},
        {"key.product": c("product")},
        {"key.id": c("key id")},
        {"request.user": c("user fact")},
        {"request.model": c("model fact")},
        {"label": c("label fact")},
        {"request.tools": c("truth")},
        {"request.needs": [c("need")], "request.fields": [c("field")]},
        {"request.input": [c("input")]},
        {"input_tokens_estimated": c("count")},
    ]


async def test_explain_prints_no_word_of_what_it_is_given(tmp_path: Path) -> None:
    """The command as the admin call: what is right, wrong, or no JSON at all."""
    c = Canaries()
    async with storm(tmp_path):
        pass  # for its policy folder
    policies = tmp_path / "policies"
    env = {"OWN": "http://127.0.0.1:9/v1", "PAID": "http://127.0.0.1:9/v1", "KEY_FILE": "/x"}
    printed: list[str] = []
    others = [json.dumps(fact).encode() for fact in facts(c)]
    runner = CliRunner(env=env)
    forms = cycle((["--json"], ["--why-not", "paid"], ["-H", f"x-router-team-mood={c('mood')}"]))
    for told, given in [*((True, body) for body in explainable(c)), *((False, f) for f in others)]:
        arguments = ["explain", "--policies", str(policies), *next(forms)]
        result = runner.invoke(command_line, arguments, input=given)
        printed += [result.output] if told else []
        # A crash would print a traceback, with whatever its message says.
        assert isinstance(result.exception, SystemExit | None), result.exception

    assert c.found_in("\n".join(printed).encode()) == set()
    assert any('"label"' in text for text in printed)


async def test_no_sink_holds_a_word_of_a_failing_upstream(tmp_path: Path) -> None:
    """Upstream errors and lies of every kind become our codes; only the caller's fault is told."""
    async with storm(tmp_path) as s:
        c = s.c
        answers = list(breakage.failing(c))
        for answer in answers:
            for stream in (False, True):
                s.own.script = [answer]
                reply = await s.chat(bodies.full(c, "own", model="own", stream=stream))
                assert reply.status_code in {502, 503, 504}, reply.text
        for answer in breakage.failing_streams(c):
            s.own.script = [answer]
            reply = await s.chat(bodies.full(c, "own", model="own", stream=True))
            last = reply.content.rpartition(b'data: {"error"')[2]
            s.told.append(last)
        for answer in breakage.lying(c):
            s.own.script = [answer]
            await s.chat(bodies.full(c, "own", model="own"), status=200)
        told = await _callers_fault(s)
        sinks = await s.sinks()

    assert leaks(c, sinks | files_of(s.served)) == {}
    assert 500 not in s.codes()
    assert b"task.crashed" not in s.served.stderr
    assert b"request.crashed" not in s.served.stderr
    # The exception to the rule: what the caller did wrong is told, to that caller alone.
    assert told == {"caller's fault 400: message", "caller's fault 422: message"}


async def _callers_fault(s: Storm) -> set[str]:
    """Return what callers were told of their own faults; none of it goes anywhere else."""
    told = b""
    for status in (400, 422):
        where = f"caller's fault {status}"
        for stream in (False, True):
            s.own.script = [Answer.error(status, breakage.error(s.c, where))]
            reply = await s.served.post(bodies.full(s.c, "own", model="own", stream=stream))
            told += reply.content
            assert reply.status_code == 400
    return s.c.found_in(told)


async def test_garbage_on_a_socket_is_repeated_nowhere(tmp_path: Path) -> None:
    """What is no HTTP is answered or cut off by the server below us, without a quotation."""
    async with storm(tmp_path) as s:
        c = s.c
        await s.chat(bodies.user("?", model=c("model")), status=404)
        for url in (s.served.url, s.served.admin_url):
            host, _, port = url.removeprefix("http://").partition(":")
            for garbage in GARBAGE:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(garbage % c("garbage").encode())
                writer.write_eof()
                s.told.append(await asyncio.wait_for(reader.read(65_536), 10))
                writer.close()
        sinks = await s.sinks()

    assert leaks(c, sinks | files_of(s.served)) == {}
    assert b"library" in s.served.stderr


async def test_a_crash_of_our_own_repeats_nothing(tmp_path: Path) -> None:
    """Exceptions whose messages hold text, from every corner: their type and place are logged."""
    c = Canaries(secrets=SECRETS)
    command = ("-m", "tests.promises.crashing", c("crash"))
    async with scripted() as own, serving(tmp_path, own=own.url, command=command) as served:
        s = Storm(c=c, served=served, own=own, paid=own)
        for stream in (False, True):
            metadata = {"purpose": c("metadata")}
            await s.chat(bodies.full(c, "x", metadata=metadata, stream=stream), status=500)
        # Broken off only after the answer: that one is complete, and not spoilt any more.
        own.script = [Answer.json(breakage.full_completion(c, "answer"))]
        await s.chat(bodies.full(c, "x"), status=200)
        own.script = [breakage.full_stream(c, "answer")]
        streamed = await s.chat(bodies.full(c, "x", stream=True), status=200)
        sinks = await s.sinks()
    logged = [json.loads(line) for line in served.stderr.splitlines()]
    crashes = {line["event"]: line["error"] for line in logged if "frames" in line}
    told = {line["logger"]: line["at"] for line in logged if line["event"] == "library"}

    assert leaks(c, sinks | {"stdout": served.stdout, "stderr": served.stderr}) == {}
    assert crashes == dict.fromkeys(
        ("request.crashed", "task.crashed", "thread.crashed", "not_raised"), "RuntimeError"
    )
    assert told.keys() == {"somebody", "py.warnings"}
    assert told["somebody"].startswith("crashing.py:")
    assert served.stderr.count(b"request.crashed") == 4
    assert streamed.content.endswith(b"data: [DONE]\n\n")
