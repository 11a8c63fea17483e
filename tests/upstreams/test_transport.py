"""The one way out, seen from the wire: what it does, and above all what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from router.policy.targets import Credential
from router.upstreams.call import CallFailed, Fault
from router.upstreams.connector import dialable
from router.upstreams.faults import LIBRARY_FAULTS, library_fault
from router.upstreams.outlets import Upstreams
from router.upstreams.transport import MAX_BODY_BYTES, Sending, Transport
from tests.scripted import (
    DONE,
    Answer,
    HangUp,
    Reset,
    Send,
    Stall,
    Wait,
    head,
    scripted,
)
from tests.upstreams.calls import (
    LOOPBACK,
    answer,
    call,
    chunk,
    failure,
    made,
    streamed,
    target,
    with_deadlines,
)

if TYPE_CHECKING:
    from pathlib import Path


FULL_STREAM = Answer.stream(chunk({"content": "hi"}), chunk(finish_reason="stop"), DONE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(upstreams: Upstreams, status: int) -> None:
    """A redirect is a lie: the place that it names never hears of us."""
    async with (
        scripted() as elsewhere,
        scripted(Answer.redirect(elsewhere.url + "/chat/completions", status)) as server,
    ):
        failed = await failure(upstreams, call(target(server.url)))

        assert failed.fault is Fault.LIED
        assert elsewhere.connections == 0


async def test_the_environment_names_no_proxy_and_no_credential(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither HTTP_PROXY nor a netrc changes what is sent or where."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    async with scripted() as proxy, scripted(Answer.json(answer())) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("NETRC", str(netrc))

        await upstreams.of(target(server.url)).whole(call(target(server.url)))

        assert proxy.connections == 0
        assert "authorization" not in server.requests[0].headers


async def test_the_proxy_of_an_external_target_is_used_and_of_a_cluster_target_never(
    upstreams: Upstreams,
) -> None:
    """Only an external target goes through the proxy that its catalog entry names."""
    async with (
        scripted(Answer.json(answer())) as proxy,
        scripted(Answer.json(answer())) as server,
    ):
        near = target(server.url, proxy=f"http://127.0.0.1:{proxy.port}")
        far = dataclasses.replace(near, name="far", location="external")

        await upstreams.of(near).whole(call(near))
        assert (proxy.connections, server.connections) == (0, 1)

        await upstreams.of(far).whole(call(far))
        assert (proxy.connections, server.connections) == (1, 1)
        assert proxy.requests[0].path == server.url + "/chat/completions"


async def test_a_cookie_is_not_kept(upstreams: Upstreams) -> None:
    """What an upstream sets as a cookie is not sent back to it."""
    cookie = Answer.json(answer(), headers={"Set-Cookie": "session=1; Path=/"})
    async with scripted(cookie) as server:
        for _ in range(2):
            await upstreams.of(target(server.url)).whole(call(target(server.url)))

        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_the_headers_are_ours_alone(upstreams: Upstreams) -> None:
    """Exactly these headers are sent, and nothing of the client's."""
    async with scripted(Answer.json(answer())) as server:
        asked = call(target(server.url, api_key=Credential(env="TARGET_KEY")))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TARGET_KEY", "key-1\n")
            await upstreams.of(asked.target).whole(asked)

        sent = server.requests[0].headers
        assert sent == {
            "host": f"127.0.0.1:{server.port}",
            "user-agent": "qwen-router",
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "content-length": str(len(server.requests[0].body)),
            "authorization": "Bearer key-1",
        }


async def test_a_key_file_rotates_live(upstreams: Upstreams, tmp_path: Path) -> None:
    """The credential is read at each use."""
    secret = tmp_path / "key"
    async with scripted(Answer.json(answer())) as server:
        asked = call(target(server.url, api_key=Credential(file=str(secret))))
        for key in ("key-1", "key-2"):
            secret.write_text(key + "\n")
            await upstreams.of(asked.target).whole(asked)

        sent = [request.headers["authorization"] for request in server.requests]
        assert sent == ["Bearer key-1", "Bearer key-2"]


@pytest.mark.parametrize("content", [None, "", "\n", "two words", "line\nfeed", "schlüssel"])
async def test_without_a_usable_key_nothing_is_sent(
    upstreams: Upstreams, tmp_path: Path, content: str | None
) -> None:
    """A key that is missing, empty or no header value is the account's fault; nobody is dialled."""
    secret = tmp_path / "key"
    if content is not None:
        secret.write_text(content)
    async with scripted(Answer.json(answer())) as server:
        failed = await failure(
            upstreams, call(target(server.url, api_key=Credential(file=str(secret))))
        )

        assert failed.fault is Fault.ACCOUNT
        assert server.connections == 0


async def test_a_removed_target_is_not_dialled(upstreams: Upstreams) -> None:
    """Without a permit no socket is opened, and no contact is counted."""
    async with scripted(Answer.json(answer())) as server:
        failed = await failure(upstreams, call(target(server.url), permit=lambda: False))

        assert failed.fault is Fault.REMOVED
        assert server.connections == 0
        assert dict(upstreams.contacts.made) == {}


async def test_a_target_removed_while_connecting_gets_no_byte(upstreams: Upstreams) -> None:
    """The permit is asked again once the connection stands: then it is closed, unused."""
    asked_times = 0

    def permit() -> bool:
        nonlocal asked_times
        asked_times += 1
        return asked_times < 3  # before, at the socket, and no more

    async with scripted(Answer.json(answer())) as server:
        failed = await failure(upstreams, call(target(server.url), permit=permit))
        await asyncio.sleep(0.05)

        assert failed.fault is Fault.REMOVED
        assert server.requests == []


async def test_a_target_removed_between_the_name_and_the_socket_is_not_dialled(
    upstreams: Upstreams,
) -> None:
    """Resolving a name takes time; the last word is asked for when the socket is made."""
    verdicts = iter([True, False])
    async with scripted(Answer.json(answer())) as server:
        failed = await failure(
            upstreams, call(target(server.url), permit=lambda: next(verdicts, False))
        )

        assert failed.fault is Fault.REMOVED
        assert server.connections == 0


async def test_a_removed_target_is_not_sent_to_on_a_kept_connection(upstreams: Upstreams) -> None:
    """A connection that is open already does not pass by the permit."""
    async with scripted(Answer.json(answer())) as server:
        await upstreams.of(target(server.url)).whole(call(target(server.url)))
        failed = await failure(upstreams, call(target(server.url), permit=lambda: False))

        assert failed.fault is Fault.REMOVED
        assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_an_address_outside_the_cluster_is_not_dialled(host: str) -> None:
    """A cluster target is dialled in its networks only: by name, literal, or in disguise."""
    upstreams = Upstreams((ip_network("10.0.0.0/8"), ip_network("::/96")))
    async with scripted(Answer.json(answer())) as server:
        failed = await failure(upstreams, call(target(f"http://{host}:{server.port}/v1")))
        await upstreams.close()

        assert failed.fault is Fault.UNREACHABLE
        assert server.connections == 0
        assert upstreams.contacts.refused["near"] >= 1


async def test_an_external_target_may_be_anywhere() -> None:
    """The networks bind cluster targets only."""
    upstreams = Upstreams((ip_network("10.0.0.0/8"),))
    async with scripted(Answer.json(answer())) as server:
        await upstreams.of(far := target(server.url, location="external")).whole(call(far))
        await upstreams.close()

        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.0.0.1", False),
        ("fd00::1", True),
        ("fe80::1%eth0", False),
        ("fd00::1%1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_which_addresses_are_inside(host: str, expected: bool) -> None:
    """A mapped address counts as what it reaches; zones and the unspecified address never count."""
    networks = tuple(map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8", "fe80::/10")))

    assert dialable(host, networks) is expected


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_the_unspecified_address_is_never_inside(network: str) -> None:
    """Even a network that holds everything does not hold it."""
    assert not dialable("0.0.0.0", (ip_network(network),))
    assert not dialable("::", (ip_network(network),))


@pytest.mark.parametrize(
    "base_url", ["ftp://127.0.0.1/", "not an address", "http://", "http://user:pw@127.0.0.1/v1"]
)
async def test_an_address_that_is_none_is_the_catalogs_fault(
    upstreams: Upstreams, base_url: str
) -> None:
    """An address with a credential, or of another scheme, is not used."""
    failed = await failure(upstreams, call(target(base_url)))

    assert failed.fault is Fault.CATALOG


@pytest.mark.parametrize("elsewhere", ["host", "port", "scheme", "userinfo"])
async def test_only_the_targets_own_address_is_reached(elsewhere: str) -> None:
    """Another scheme, host or port, or a credential, is refused before anything is dialled."""
    transport = Transport(LOOPBACK)
    async with scripted(Answer.json(answer())) as server:
        url = {
            "host": f"http://localhost:{server.port}/v1",
            "port": f"http://127.0.0.1:{server.port + 1}/v1",
            "scheme": f"https://127.0.0.1:{server.port}/v1",
            "userinfo": f"http://a:b@127.0.0.1:{server.port}/v1",
        }[elsewhere]
        with pytest.raises(CallFailed) as caught:
            await transport.open(
                Sending(
                    target=target(server.url),
                    headers={},
                    body=b"{}",
                    permit=lambda: True,
                    total_s=5,
                    stream=False,
                    url=url,
                )
            )
        await transport.close()

        assert caught.value.fault is Fault.CATALOG
        assert server.connections == 0


async def test_contacts_are_counted_by_target(upstreams: Upstreams) -> None:
    """Each permitted request counts once, and external ones once more by themselves."""
    async with scripted(Answer.json(answer())) as server:
        near = target(server.url)
        far = target(server.url, name="far", location="external")
        for to in (near, far, far):
            await upstreams.of(to).whole(call(to))

        assert dict(upstreams.contacts.made) == {"near": 1, "far": 2}
        assert dict(upstreams.contacts.external) == {"far": 2}


async def test_a_kept_connection_is_used_again(upstreams: Upstreams) -> None:
    """Whole answers and streams that were read to their end leave a connection for the next."""
    async with scripted(Answer.json(answer()), FULL_STREAM, Answer.json(answer())) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        await streamed(upstreams, call(near, {"stream": True}))
        await upstreams.of(near).whole(call(near))

        assert [request.connection for request in server.requests] == [1, 1, 1]


@pytest.mark.parametrize("end", [HangUp(), Reset()])
async def test_a_kept_connection_that_had_died_is_replaced_once(
    upstreams: Upstreams, end: HangUp | Reset
) -> None:
    """A server that promises keep-alive and closes costs one more connect, not a failure."""
    async with scripted(Answer.json(answer()), Answer.raw(end), Answer.json(answer())) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        await upstreams.of(near).whole(call(near))

        assert [request.connection for request in server.requests] == [1, 1, 2]
        assert dict(upstreams.contacts.made) == {"near": 2}
        assert dict(upstreams.contacts.reconnected) == {"near": 1}


async def test_what_replaces_a_dead_connection_is_fresh(upstreams: Upstreams) -> None:
    """Where one kept connection has died, the others may have too: none of them is tried."""
    together = Answer.json(answer())
    slowly = Answer.raw(Wait(0.1), *together.steps)
    async with scripted(slowly, slowly, Answer.raw(HangUp()), together) as server:
        near = target(server.url)
        await asyncio.gather(*(made(upstreams, call(near)) for _ in range(2)))
        await made(upstreams, call(near))

        assert server.connections == 3
        assert server.requests[-1].connection == 3


async def test_a_fresh_connection_that_dies_is_not_replaced(upstreams: Upstreams) -> None:
    """A server that takes a request and hangs up is broken; it is not asked twice."""
    async with scripted(Answer.raw(HangUp())) as server:
        failed = await failure(upstreams, call(target(server.url)))

        assert failed.fault is Fault.BROKEN
        assert len(server.requests) == 1


async def test_half_a_head_is_not_asked_for_again(upstreams: Upstreams) -> None:
    """A kept connection that broke inside the answer's head had begun to answer."""
    half = Answer.raw(Send(b"HTTP/1.1 200 OK\r\nContent-Type: appl"), HangUp())
    async with scripted(Answer.json(answer()), half) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        failed = await failure(upstreams, call(near))

        assert failed.fault is Fault.BROKEN
        assert len(server.requests) == 2


async def test_the_second_connect_asks_for_a_permit_again(upstreams: Upstreams) -> None:
    """A target that is removed while its kept connection dies is not dialled anew."""
    allowed = True

    async with scripted(Answer.json(answer()), Answer.raw(Wait(0.1), HangUp())) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        again = asyncio.create_task(failure(upstreams, call(near, permit=lambda: allowed)))
        await asyncio.sleep(0.05)
        allowed = False
        failed = await again

        assert failed.fault is Fault.REMOVED
        assert server.connections == 1


@pytest.mark.parametrize("moment", ["head", "body", "stream"])
async def test_a_cancelled_call_closes_its_connection(upstreams: Upstreams, moment: str) -> None:
    """The upstream sees the client go within a second, wherever the call was."""
    script = {
        "head": Answer.raw(Stall()),
        "body": Answer.raw(Send(head(200, {"Content-Length": "9"}) + b"{"), Stall()),
        "stream": Answer.stream(chunk({"content": "a"}), steps=[Stall()]),
    }[moment]
    async with scripted(script) as server:
        asked = call(target(server.url), {"stream": moment == "stream"})
        task: asyncio.Task[Any] = asyncio.create_task(made(upstreams, asked))
        await server.first()
        await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

        assert await server.requests[0].gone(within_s=1)


async def test_closing_a_stream_closes_its_connection(upstreams: Upstreams) -> None:
    """A generator that is closed in the middle ends the call at once."""
    async with scripted(Answer.stream(chunk({"content": "a"}), steps=[Stall()])) as server:
        asked = call(target(server.url), {"stream": True})
        events = upstreams.of(asked.target).stream(asked)
        await anext(events)
        await events.aclose()

        assert await server.requests[0].gone(within_s=1)


@pytest.mark.parametrize("answered", [False, True])
async def test_a_call_that_is_still_sending_is_cut_off(
    upstreams: Upstreams, answered: bool
) -> None:
    """No socket waits for an upstream that does not read what is still to be written."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        body = {"messages": [{"role": "user", "content": "x" * 30_000_000}]}
        task = asyncio.create_task(made(upstreams, call(target(address), body)))
        accepted, _ = await loop.sock_accept(listener)
        with accepted:
            if answered:
                await loop.sock_sendall(accepted, head(200, {"Content-Length": "9"}) + b"{")
            await asyncio.sleep(0.1)
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no file is read
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)

            assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208


async def test_a_body_of_several_megabytes_arrives(upstreams: Upstreams) -> None:
    """Images travel inside the body: large ones are sent without blocking the loop."""
    async with scripted(Answer.json(answer())) as server:
        text = "x" * 3_000_000
        asked = call(target(server.url), {"messages": [{"role": "user", "content": text}]})
        await upstreams.of(asked.target).whole(asked)

        assert server.requests[0].json["messages"][0]["content"] == text


async def test_an_answer_that_is_too_large_is_a_lie(upstreams: Upstreams) -> None:
    """A body is read up to a limit; what is larger is cut off."""
    mega = Send(b"x" * (1 << 20))
    size = MAX_BODY_BYTES + 2 * len(mega.data)
    start = Send(head(200, {"Content-Length": str(size)}))
    async with scripted(Answer.raw(start, *[mega] * (size >> 20), Stall())) as server:
        failed = await failure(upstreams, call(target(server.url)))

        assert failed.fault is Fault.LIED
        assert await server.requests[0].gone()


BROKEN_ANSWERS = {
    "no head": (Answer.raw(HangUp()), Fault.BROKEN),
    "a reset": (Answer.raw(Reset()), Fault.BROKEN),
    "no HTTP": (Answer.raw(Send(b"SSH-2.0-OpenSSH_9.7\r\n\r\n"), HangUp()), Fault.LIED),
    "a huge head": (
        Answer.raw(Send(head(200, {"X-Filler": "x" * 100_000})), HangUp()),
        Fault.LIED,
    ),
    "a short body": (
        Answer.raw(Send(head(200, {"Content-Length": "100"}) + b"{"), HangUp()),
        Fault.BROKEN,
    ),
    "no JSON": (Answer.body(200, b"<html>"), Fault.LIED),
    "no UTF-8": (Answer.body(200, b'{"choices": ["\xff\xfe"]}'), Fault.LIED),
    "compressed": (
        Answer.body(200, b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"}),
        Fault.LIED,
    ),
    "a list": (Answer.json([]), Fault.LIED),
    "no choices": (Answer.json({"object": "chat.completion"}), Fault.LIED),
    "empty choices": (Answer.json(answer(choices=[])), Fault.LIED),
    "no message": (Answer.json(answer(choices=[{"index": 0}])), Fault.LIED),
    "no content": (Answer.raw(Send(head(204, {}))), Fault.LIED),
    "an error in a 200": (Answer.json({"error": {"message": "x", "code": 503}}), Fault.FULL),
}


@pytest.mark.parametrize("case", BROKEN_ANSWERS)
async def test_what_is_no_answer_is_told_apart(upstreams: Upstreams, case: str) -> None:
    """Each way of not answering has its fault."""
    script, expected = BROKEN_ANSWERS[case]
    async with scripted(script) as server:
        failed = await failure(upstreams, call(target(server.url)))

        assert failed.fault is expected
        assert failed.message is None


async def test_nobody_there_is_unreachable(upstreams: Upstreams) -> None:
    """A refused connection and an unknown name are the same to us: no contact was made."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for base_url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        failed = await failure(upstreams, call(target(base_url)))

        assert failed.fault is Fault.UNREACHABLE


DEADLINES = {
    "connect_s": (None, {}),
    "total_s, no head": (Answer.raw(Stall()), {}),
    "total_s, half a body": (
        Answer.raw(Send(head(200, {"Content-Length": "9"}) + b"{"), Stall()),
        {},
    ),
    "first_token_s, no head": (Answer.raw(Stall()), {"stream": True}),
    "first_token_s, role only": (
        Answer.stream(chunk({"role": "assistant"}), steps=[Stall()]),
        {"stream": True},
    ),
    "idle_s": (Answer.stream(chunk({"content": "a"}), steps=[Stall()]), {"stream": True}),
}


@pytest.mark.parametrize("case", DEADLINES)
async def test_each_deadline_ends_the_call(upstreams: Upstreams, case: str) -> None:
    """Each deadline is its own: the others are far away when it passes."""
    script, body = DEADLINES[case]
    deadline = case.partition(",")[0]
    async with _slow(script) as port:
        near = with_deadlines(target(f"http://127.0.0.1:{port}/v1"), **{deadline: 0.1})
        failed = await failure(upstreams, call(near, body))

        assert failed.fault is Fault.TIMEOUT


@contextlib.asynccontextmanager
async def _slow(script: Answer | None) -> Any:
    """Run a script; without one, listen with a backlog that is full, so that connects hang."""
    if script is not None:
        async with scripted(script) as server:
            yield server.port
        return
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_the_calls_own_time_left_binds_too(upstreams: Upstreams) -> None:
    """One deadline spans all attempts: what is left of it ends the call."""
    async with scripted(Answer.raw(Stall())) as server:
        failed = await failure(upstreams, call(target(server.url), total_s=0.1))

        assert failed.fault is Fault.TIMEOUT


async def test_bytes_that_come_keep_a_stream_alive(upstreams: Upstreams) -> None:
    """The idle deadline counts from the last bytes, not from the start."""
    frame = (
        b"data: " + str(chunk({"content": "a"})).replace("'", '"').replace("None", "null").encode()
    )
    packet = frame + b"\n\n"
    steps: list[Any] = [Send(head(200, {"Content-Type": "text/event-stream"}))]
    for _ in range(4):
        steps += [Send(packet), Wait(0.5)]
    steps += [Send(b"data: [DONE]\n\n"), HangUp()]
    async with scripted(Answer(tuple(steps))) as server:
        near = with_deadlines(target(server.url), idle_s=1.5)
        events = await streamed(upstreams, call(near, {"stream": True}))

        assert len(events) == 5


async def test_a_slow_client_does_not_time_the_upstream_out(upstreams: Upstreams) -> None:
    """Idle time is time spent waiting for the upstream; ours between events is not."""
    async with scripted(FULL_STREAM) as server:
        near = with_deadlines(target(server.url), idle_s=0.1)
        asked = call(near, {"stream": True})
        frames = []
        async for event in upstreams.of(near).stream(asked):
            frames.append(event.frame)
            await asyncio.sleep(0.25)

        assert frames[-1] == b"data: [DONE]\n\n"


async def test_an_open_end_after_done_is_cut_off(upstreams: Upstreams) -> None:
    """An upstream that leaves the body open after [DONE] does not hold the call."""
    end = chunk(finish_reason="stop")
    stays = Answer.stream(chunk({"content": "a"}), end, DONE, steps=[Stall()])
    async with scripted(stays) as server:
        events = await streamed(upstreams, call(target(server.url), {"stream": True}))

        assert events[-1].frame == b"data: [DONE]\n\n"
        assert await server.requests[0].gone()


async def test_a_target_that_left_is_forgotten_and_its_stream_goes_on(
    upstreams: Upstreams,
) -> None:
    """A reload closes what is idle; a stream under way is not broken by it."""
    async with scripted(Answer.json(answer()), FULL_STREAM) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        asked = call(near, {"stream": True})
        events = upstreams.of(near).stream(asked)
        first = await anext(events)
        await upstreams.fit([])
        rest = [event async for event in events]

        assert first.commits
        assert rest[-1].frame == b"data: [DONE]\n\n"


async def test_an_idle_connection_of_a_target_that_left_is_closed(upstreams: Upstreams) -> None:
    """Nothing stays open to a target that is no longer in the catalog."""
    async with scripted(Answer.json(answer())) as server:
        near = target(server.url)
        await upstreams.of(near).whole(call(near))
        await upstreams.fit([near])
        still_there = not await server.requests[0].gone(within_s=0.05)
        await upstreams.fit([])

        assert still_there
        assert await server.requests[0].gone()


def test_every_error_of_the_http_library_has_a_fault() -> None:
    """The table leaves none out, and no row hides behind an earlier one."""
    import aiohttp  # noqa: PLC0415 - only this test speaks of the library

    kinds = [
        kind
        for kind in vars(aiohttp).values()
        if isinstance(kind, type) and issubclass(kind, aiohttp.ClientError)
    ]
    rows = tuple(row for row, _ in LIBRARY_FAULTS)
    missing = [kind for kind in kinds if not issubclass(kind, rows)]
    hidden = [
        later
        for index, (later, _) in enumerate(LIBRARY_FAULTS)
        if any(issubclass(later, earlier) for earlier, _ in LIBRARY_FAULTS[:index])
    ]

    assert missing == []
    assert hidden == []
    assert library_fault(KeyError()) is None
