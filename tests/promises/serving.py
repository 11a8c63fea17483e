"""A gateway as a process of its own: `qwen-router serve`, with both of its streams captured.

async with serving(tmp_path, own=server.url) as served:
    reply = await served.post({"model": "auto", "messages": […]}, key="shop")
served.stderr, served.stdout, served.records    # after the end, all of it
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.gateways import ADMIN_TOKEN, KEYS, PAID_KEY, write_keys, write_policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
SERVE = ("-m", "router", "serve")
# Nobody waits that long: it only ends a test whose gateway never comes up.
PATIENCE_S = 30.0
SECRET = "chain-secret-of-a-test"


@dataclass
class Served:
    """A gateway process that is up, or has ended."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    folder: Path
    url: str = ""
    admin_url: str = ""

    async def post(
        self, body: dict[str, Any] | bytes, *, key: str | None = "shop", **headers: str
    ) -> httpx.Response:
        """Send a chat request; header names are given with underscores."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            f"{self.url}/v1/chat/completions",
            content=raw,
            headers=self.headers(key) | {k.replace("_", "-"): v for k, v in headers.items()},
        )

    async def admin(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Call the admin port with its token."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        return await self.client.request(method, f"{self.admin_url}{path}", headers=headers, **how)

    def headers(self, key: str | None) -> dict[str, str]:
        """Return the headers of a JSON request with one of the test's keys."""
        plain = {"content-type": "application/json"}
        return plain | ({"authorization": f"Bearer {KEYS.get(key, key)}"} if key else {})

    @property
    def stdout(self) -> bytes:
        """What the process has printed."""
        return (self.folder / "stdout").read_bytes()

    @property
    def stderr(self) -> bytes:
        """What the process has logged."""
        return (self.folder / "stderr").read_bytes()

    @property
    def records(self) -> bytes:
        """The records file."""
        return (self.folder / "records.jsonl").read_bytes()


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    *,
    own: str = "http://127.0.0.1:9/v1",
    paid: str = "http://127.0.0.1:9/v1",
    env: Mapping[str, str] | None = None,
    command: Sequence[str] = SERVE,
) -> AsyncIterator[Served]:
    """Run a gateway over the policy of `tests.gateways` in a process with exactly this `env`."""
    if not (folder / "policies").exists():
        write_policy(folder / "policies")
    write_keys(folder / "keys.yaml")
    (folder / "paid-key").write_text(PAID_KEY)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "OWN": own,
        "PAID": paid,
        "KEY_FILE": str(folder / "paid-key"),
        "ROUTER_POLICIES": str(folder / "policies"),
        "ROUTER_KEYS": str(folder / "keys.yaml"),
        "ROUTER_RECORDS": str(folder / "records.jsonl"),
        "ROUTER_STATE": str(folder / "state"),
        "ROUTER_PORT": "0",
        "ROUTER_ADMIN_PORT": "0",
        "ROUTER_ADMIN_TOKEN": ADMIN_TOKEN,
        "ROUTER_SECRET": SECRET,
        "ROUTER_DRAIN_S": "2",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env=variables | dict(env or {}),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=os.open(folder / "stdout", os.O_WRONLY | os.O_CREAT),
        stderr=os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT),
    )
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            served = Served(process=process, client=client, folder=folder)
            await _ready(served)
            yield served
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), PATIENCE_S)
        assert code == 0, served.stderr.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ready(served: Served) -> None:
    """Wait for the log line that names both ports."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for line in served.stderr.splitlines():
                told = json.loads(line) if line.startswith(b"{") and line.endswith(b"}") else {}
                if told.get("event") == "gateway.ready":
                    served.url, served.admin_url = told["public"], told["admin"]
                    return
            assert served.process.returncode is None, served.stderr.decode()
            await asyncio.sleep(0.05)
