"""What must not happen on the wire, seen from the wire: by servers that are never contacted."""

from __future__ import annotations

import asyncio
import json
import ssl
from ipaddress import ip_network
from itertools import product
from pathlib import Path

import pytest

from tests.gateways import completion, gateway, user
from tests.promises.serving import serving
from tests.scripted import Answer, scripted

# For localhost, valid for a hundred years, signed by itself, with its key.
CERTIFICATE = Path(__file__).parent / "localhost.pem"
REPLY_HEADERS = {
    "cache-control",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
    "x-request-id",
    "x-router-decision-id",
    "x-router-label",
    "x-router-policy",
    "x-router-target",
}
LOCKED = (
    "/v1/models",
    "//v1/models",
    "http://127.0.0.1/livez",
    "http://evil/v1/models?x=/livez",
    "/livez/../v1/models",
    "/v1/decisions/..%2f..%2flivez",
    "/v1/%6dodels",
    "/admin/status",
    "/metrics",
)
HOSTS = ("127.0.0.1", "evil/livez?", "a b", "", "127.0.0.1#@livez")
MEDIA = (
    ("image_url", {"url": "{}/image.png"}),
    ("image_url", "{}/image.png"),
    ("image_url", {"url": "  {}/image.png"}),
    ("image_url", {"url": "file:///etc/hosts"}),
    ("image_url", {"url": "//127.0.0.1/x.png"}),
    ("image_url", {"url": "x.png"}),
    ("input_audio", {"data": "{}/sound.wav", "format": "wav"}),
    ("video_url", {"url": "{}/video.mp4"}),
    ("video", ["{}/frame-1.png"]),
    ("file", {"file_id": "{}/file.pdf"}),
    ("text", {"image_url": {"url": "{}/image.png"}, "text": "a text part with an image"}),
)


async def test_a_redirect_is_an_upstream_error(tmp_path: Path) -> None:
    """Whatever an upstream names as the better place never sees a connection."""
    async with scripted() as elsewhere, scripted() as own:
        async with gateway(tmp_path, own=own.url) as running:
            for status, streamed in product((301, 302, 303, 307, 308), (False, True)):
                own.script = [Answer.redirect(elsewhere.url, status)]
                reply = await running.post(user("?", model="own", stream=streamed))

                assert reply.status_code == 502
        assert len(own.requests) == 10
        assert elsewhere.connections == 0


async def test_proxies_and_credentials_of_the_environment_are_ignored(tmp_path: Path) -> None:
    """A process that inherits every such variable goes straight to its targets, with their keys."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    async with (
        scripted() as proxy,
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
    ):
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        env = dict.fromkeys(names, proxy.url.removesuffix("/v1"))
        env |= {"NO_PROXY": "", "NETRC": str(tmp_path / ".netrc"), "HOME": str(tmp_path)}
        async with serving(tmp_path, own=own.url, paid=paid.url, env=env) as served:
            await served.post(user("?"))
            await served.post(user("?"), x_router_tier="premium")

        assert proxy.connections == 0
        assert "authorization" not in own.requests[0].headers
        assert paid.requests[0].headers["authorization"] == "Bearer sk-key-of-the-paid-api"


async def test_the_keys_of_tls_connections_are_written_nowhere(tmp_path: Path) -> None:
    """SSLKEYLOGFILE, which Python's default TLS context obeys, stays without a line."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(completion()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        answered.set()
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    log = tmp_path / "keys-of-tls"
    env = {"SSLKEYLOGFILE": str(log), "SSL_CERT_FILE": str(CERTIFICATE)}
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    async with server, serving(tmp_path, paid=url, env=env) as served:
        reply = await served.post(user("?"), x_router_tier="premium")

        assert reply.status_code == 200, reply.text
        assert answered.is_set()
        # A library's import leaves the head of the file, a comment.
        lines = log.read_text().splitlines() if log.exists() else []
        assert [line for line in lines if not line.startswith("#")] == []


async def test_a_duplicate_key_is_sent_nowhere(tmp_path: Path) -> None:
    """A body that two readers could read in two ways is refused, wherever the key stands."""
    bodies = (
        b'{"model":"auto","model":"own","messages":[{"role":"user","content":"?"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"?","content":"!"}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"?"}],"stop":[{"a":1,"\\u0061":2}]}',
        b'{"model":"auto","messages":[{"role":"user","content":"?"}],"tools":[{"x":{"y":1,"y":1}}]}',
    )
    async with scripted() as own, gateway(tmp_path, own=own.url, paid=own.url) as running:
        replies = [await running.post(body) for body in bodies]

        assert [reply.status_code for reply in replies] == [400] * 4
        assert own.connections == 0


async def test_remote_media_is_fetched_by_nobody(tmp_path: Path) -> None:
    """No target may fetch, so a part that makes one fetch is refused; nobody is contacted."""
    async with scripted() as server, scripted() as own:
        async with gateway(tmp_path, own=own.url, paid=own.url) as running:
            for kind, media in MEDIA:
                filled = json.loads(json.dumps(media).replace("{}", server.url))
                part = {"type": kind, **filled} if kind == "text" else {"type": kind, kind: filled}
                reply = await running.post(user([part]))

                assert reply.status_code == 400, (kind, media)
                assert reply.json()["error"]["code"] == "unsupported_capability"
        assert server.connections == own.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_a_cluster_target_is_dialled_inside_its_networks_only(
    tmp_path: Path, host: str
) -> None:
    """A name counts by what it resolves to; the server there sees no connection at all."""
    async with scripted() as server:
        own = f"http://{host}:{server.port}/v1"
        networks = (ip_network("10.0.0.0/8"), ip_network("::/96"))
        async with gateway(tmp_path, own=own, cluster_cidrs=networks) as running:
            reply = await running.post(user("?", model="own"))
            metrics = (await running.admin("GET", "/metrics")).text

        assert reply.status_code == 503
        assert server.connections == 0
        assert 'router_addresses_refused_total{target="own"}' in metrics
        finished = running.records()[-1]
        assert finished["attempts"][0]["fault"] == "unreachable"


async def test_no_header_of_a_client_is_sent_on(tmp_path: Path) -> None:
    """Upstreams see the same headers whatever a client sends, and their own key only."""
    sent = {
        "cookie": "a=b",
        "x_forwarded_for": "1.2.3.4",
        "forwarded": "for=1.2.3.4",
        "x_other": "1",
        "traceparent": "00-1-1-00",
        "accept_encoding": "gzip, br",
        "user_agent": "client",
        "x_router_team_mood": "good",
        "openai_organization": "o",
        "x_stainless_lang": "python",
        "accept_language": "zh",
        "origin": "http://a",
        "te": "trailers",
    }
    good = Answer.json(completion())
    async with scripted(good) as own, scripted(good) as paid:
        async with gateway(tmp_path, own=own.url, paid=paid.url) as running:
            for tier in ("standard", "premium"):
                await running.post(user("?"), key="shop", x_router_tier=tier, **sent)

        expected = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "qwen-router",
        }
        for seen in (own.requests[0], paid.requests[0]):
            headers = dict(seen.headers)
            del headers["host"], headers["content-length"]
            key = headers.pop("authorization", None)
            assert headers == expected
            assert key == ("Bearer sk-key-of-the-paid-api" if seen is paid.requests[0] else None)


async def test_no_header_of_an_upstream_is_passed_back(tmp_path: Path) -> None:
    """Clients see the gateway's own headers, in either mode and also in errors."""
    theirs = {
        "Set-Cookie": "a=b",
        "X-Request-Id": "theirs",
        "Server": "x",
        "X-Router-Target": "x",
        "Access-Control-Allow-Origin": "*",
        "Location": "/x",
        "X-Should-Retry": "true",
    }
    event = {"choices": [{"index": 0, "delta": {"content": "."}}]}
    body = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()
    stream = Answer.body(200, body, headers=theirs | {"Content-Type": "text/event-stream"})
    answers = (
        Answer.json(completion(), headers=theirs),
        stream,
        Answer.body(400, b"{}", headers=theirs),
        Answer.body(500, b"{}", headers=theirs),
    )
    async with scripted(*answers) as own, gateway(tmp_path, own=own.url) as running:
        for status, streamed in ((200, False), (200, True), (400, False), (502, False)):
            reply = await running.post(user("?", model="own", stream=streamed))

            assert reply.status_code == status
            assert set(reply.headers) <= REPLY_HEADERS | {"x-should-retry"}
            assert reply.headers["x-request-id"].startswith("req_")
            assert reply.headers.get("x-should-retry", "false") == "false"
            assert reply.headers.get("x-router-target", "own") == "own"


async def test_only_names_of_the_catalog_are_models(tmp_path: Path) -> None:
    """What an upstream calls its model is no name here, and names are compared exactly."""
    async with scripted() as own, gateway(tmp_path, own=own.url, paid=own.url) as running:
        for name in ("Qwen/Qwen3.6-27B", "qwen3.7-max", "AUTO", "auto ", "", "own\n"):
            reply = await running.post(user("?", model=name))

            assert reply.status_code == 404, name
            assert reply.json()["error"]["code"] == "model_not_found"
        assert own.connections == 0


async def test_a_host_header_opens_nothing(tmp_path: Path) -> None:
    """Who may enter is judged by the path that was matched, whatever a Host header makes of it."""
    async with gateway(tmp_path, auth="on") as running:
        for target, host in product(LOCKED, HOSTS):
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            answer = await _raw(running.url, head.encode())

            assert answer.split()[1] in {b"400", b"401", b"404"}, (target, host)
            assert b"qwen-router" not in answer


async def _raw(url: str, sent: bytes) -> bytes:
    """Return everything that a port answers to some bytes."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer
