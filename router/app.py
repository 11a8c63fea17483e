"""The composition root: builds everything once, and owns every client, thread and task."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import msgspec
import uvicorn
import uvloop

from router.api.admin import admin_app
from router.api.chat import ChatRoute
from router.api.door import Door
from router.api.gauges import Gauges
from router.api.operations import Operations
from router.api.protocol import bounded, connections_of, raise_descriptors
from router.api.public import public_app
from router.gateway.gateway import Gateway
from router.gateway.recent import Archive, Recent
from router.ledger.controls import Controls
from router.loading import Live, PolicyProblems
from router.records import schema
from router.records.writer import RecordError, RecordWriter
from router.settings import admin_token_of, secret_of
from router.telemetry import Metrics, configure_logging, frames, log
from router.upstreams.outlets import Upstreams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from fastapi import FastAPI

    from router.loading import Problem, Snapshot
    from router.settings import Settings

GOOD, FINDING, USAGE = 0, 1, 2
BACKLOG = 2048
MOST_PLACES = 100
STDOUT = 1
# How long the last records may take to be written when the gateway stops, in seconds.
FLUSH_S = 5.0
WRITER_WATCH_S = 0.5


class App:
    """One gateway process: `start`, serve until `stop`."""

    def __init__(self, settings: Settings, env: Mapping[str, str] = os.environ) -> None:
        """Build the parts that need no policy yet; opens nothing but the state folder.

        `env` is what `${NAME}` in the policy is resolved from.
        """
        self._settings = settings
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = secret_of(settings)
        self.metrics = Metrics()
        self._writer = RecordWriter(
            secret=self._secret,
            owner=f"{settings.instance}/0",
            file=settings.records,
            stdout=STDOUT if settings.records_stdout or settings.records is None else None,
            capacity=settings.record_queue,
            rotation_check_s=0.0,  # a look costs 2 µs; a record in a removed file is lost
        )
        self._controls = Controls(settings.state / "controls.json")
        self._upstreams = Upstreams(settings.cluster_cidrs)
        self._live = Live(
            settings.policies,
            settings.keys,
            env,
            settings.state,
            on_loaded=self._loaded,
            on_rejected=self._rejected,
        )
        self._digest: str | None = None
        self._refused_at_start = False
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[_Server] = []
        self.public_url = self.admin_url = ""

    async def start(self) -> None:
        """Load, open and listen; returns when both ports answer.

        PolicyProblems where there is no policy to serve by; OSError where a port, the records or
        the state folder cannot be had.
        """
        self._writer.start()
        self._controls.load()
        await self._live.start()
        await asyncio.gather(*self._tasks)  # what the first policy needs
        self._tasks.append(asyncio.create_task(self._live.run(), name="policy-watch"))
        self._tasks.append(asyncio.create_task(self._watch_writer(), name="writer-watch"))
        door = Door(live=self._live, auth=self._settings.auth == "on", secret=self._secret)
        recent = Recent()
        gateway = Gateway(
            live=self._live,
            controls=self._controls,
            writer=self._writer,
            upstreams=self._upstreams,
            metrics=self.metrics,
            recent=recent,
            durable_label=self._settings.durable_label,
        )
        self._operations = Operations(
            live=self._live,
            controls=self._controls,
            writer=self._writer,
            gateway=gateway,
            metrics=self.metrics,
            secret=self._secret,
        )
        self._chat = ChatRoute(
            gateway=gateway,
            door=door,
            metrics=self.metrics,
            max_body_bytes=self._settings.max_body_bytes,
            max_in_flight=self._settings.max_in_flight,
            body_s=self._settings.body_s,
        )
        self.metrics.registry.register(
            Gauges(writer=self._writer, contacts=self._upstreams.contacts)
        )
        self._archive = Archive(recent=recent, file=self._settings.records)
        public = public_app(chat=self._chat, door=door, live=self._live, decisions=self._archive)
        admin = admin_app(
            operations=self._operations,
            registry=self.metrics.registry,
            token=admin_token_of(self._settings),
        )
        settings = self._settings
        self.admin_url = await self._listen(admin, settings.admin_host, settings.admin_port)
        self.public_url = await self._listen(
            public, settings.host, settings.port, connections_of(settings.max_connections)
        )
        self._operations.started = True
        if settings.auth == "off":
            log().warning("auth.off", meaning="whoever reaches the public port is served")
        log().info("gateway.ready", public=self.public_url, admin=self.admin_url)

    async def stop(self) -> None:
        """Take no more requests, let open ones end within the drain time, write what is left."""
        self._operations.draining = self._chat.draining = True
        *admin, public = self._servers
        for server in (public, *admin):
            server.should_exit = True
            await server.ended
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._archive.close()
        await self._upstreams.close()
        left = await asyncio.to_thread(self._writer.close, FLUSH_S)
        if left:
            log().error("records.lost", count=left)

    async def _listen(self, app: FastAPI, host: str, port: int, most: int | None = None) -> str:
        """Serve an app on a port of its own; return its address. OSError where it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            # Python's own sentence shows the address as a tuple, or not at all.
            why = (error.strerror or "").partition(" (while")[0]
            text = f"{_shown(host)}:{port} cannot be listened on: {why}"
            raise OSError(error.errno, text) from error
        # Inherited by what is accepted. asyncio sets it only where the socket says its protocol:
        # without it a head waits 40 ms for the client's delayed ACK before its body goes out.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app,
            loop="none",
            http=bounded(head_s=self._settings.head_s, max_connections=most),
            ws="none",  # a connection that were handed over would leave those bounds
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(int(self._settings.drain_s), 1),
        )
        server = _Server(config)
        server.ended = asyncio.create_task(server.serve(sockets=[listening]), name=f"port-{port}")
        self._servers.append(server)
        await server.listening.wait()
        return f"http://{_shown(host)}:{listening.getsockname()[1]}"

    def _loaded(self, snapshot: Snapshot, changed: bool) -> None:
        """Say that a policy took effect: record, metric, log."""
        digest = snapshot.policy.digest
        self.metrics.loads.labels("loaded").inc()
        self.metrics.policy.clear()
        self.metrics.policy.labels(digest).set(1)
        log().info("policy.loaded", digest=digest, changed=changed)
        if digest != self._digest:
            self._record(
                schema.PolicyLoaded(
                    at=schema.time_text(time.time()),
                    digest=digest,
                    previous=self._digest,
                    origin="last_good" if self._refused_at_start else "folder",
                )
            )
        held, policy = self._controls.held, snapshot.policy
        for name in sorted(
            (held.switches - policy.switches) | (held.suspended - policy.targets.keys())
        ):
            # A renamed switch or target is no longer stopped by its old name.
            log().error("controls.without_effect", name=name)
        self._digest = digest
        self._refused_at_start = False
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(self._fit(snapshot), name="fit"))

    async def _fit(self, snapshot: Snapshot) -> None:
        for name, why in await self._upstreams.fit(snapshot.policy.targets.values()):
            log().error("target.not_callable", target=name, why=why)

    async def _watch_writer(self) -> None:
        """Say when records can no longer be written, and when they can again."""
        could = True
        while True:
            if self._writer.can_write != could:
                could = not could
                event = "records.can_write_again" if could else "records.cannot_write"
                log().error(
                    event, errno=self._writer.fault, external_targets="in" if could else "out"
                )
            await asyncio.sleep(WRITER_WATCH_S)

    def _rejected(self, problems: tuple[Problem, ...]) -> None:
        """Say that an edit was refused, with every place: record, metric, log."""
        self._refused_at_start = self._digest is None
        self.metrics.loads.labels("rejected").inc()
        for problem in problems:
            log().error("policy.rejected", problem=str(problem))
        places = [f"{problem.file}:{problem.line}" for problem in problems[:MOST_PLACES]]
        self._record(
            schema.PolicyRejected(
                at=schema.time_text(time.time()), problems=len(problems), places=places
            )
        )

    def _record(self, record: schema.Record) -> None:
        try:
            self._writer.accept(record)
        except (RecordError, schema.Malformed) as error:
            log().error("record.not_accepted", exc_info=error)


class _Server(uvicorn.Server):
    """One port. Signals are the composition root's business, not a port's."""

    ended: asyncio.Task[None]

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def run(settings: Settings) -> int:
    """Run a gateway until SIGTERM or SIGINT; return the exit code."""
    configure_logging()
    raise_descriptors()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings))


async def _run(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unhandled)
    asked = asyncio.Event()

    def ask() -> None:
        if asked.is_set():
            os._exit(FINDING)  # a second signal ends at once
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    try:
        app = App(settings)
        await app.start()
    except PolicyProblems as found:
        for problem in found.problems:
            log().error("policy.rejected", problem=str(problem))
        log().error("gateway.not_started", why="the policy or the keys have problems")
        return FINDING
    except (OSError, msgspec.DecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "controls.json is damaged"
        name = error.filename if isinstance(error, OSError) else None
        log().error("gateway.not_started", why=why, file=name, frames=frames(error))
        return USAGE
    await asked.wait()
    await app.stop()
    return GOOD


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task answered for: its type and its place, never its message."""
    error = context.get("exception")
    log().error("task.crashed", exc_info=error)
