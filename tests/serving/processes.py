"""`qwen-router serve` as a process of its own, for what only a process can show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.gateways import ADMIN_TOKEN, PAID_KEY, write_keys, write_policy

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
SECRET = "secret-of-a-test"


class Process:
    """A running gateway process. `log` is what it has said on standard error, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._reading = asyncio.create_task(self._read())
        self._ready = asyncio.Event()
        self.public_url = self.admin_url = ""

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode()
            try:
                said = json.loads(line)
            except ValueError:
                self.other.append(line)
                continue
            self.log.append(said)
            if said.get("event") == "gateway.ready":
                self.public_url, self.admin_url = said["public"], said["admin"]
                self._ready.set()
        self._ready.set()

    async def ready(self) -> None:
        """Wait until both ports answer; AssertionError where the process ended before."""
        await asyncio.wait_for(self._ready.wait(), 30)
        assert self.public_url, (self.log, self.other)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def ended(self, within_s: float = 20.0) -> int:
        """Return the exit code."""
        code = await asyncio.wait_for(self._process.wait(), within_s)
        await self._reading
        return code

    async def stop(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def process(
    folder: Path,
    *arguments: str,
    own: str = "http://127.0.0.1:9/v1",
    paid: str = "http://127.0.0.1:9/v1",
    **settings: str,
) -> AsyncIterator[Process]:
    """Start `qwen-router serve` over the policy of `tests.gateways`; it is up after `ready()`."""
    if not (folder / "policies").exists():
        write_policy(folder / "policies")
    if not (folder / "keys.yaml").exists():
        write_keys(folder / "keys.yaml")
    (folder / "paid-key").write_text(PAID_KEY)
    variables = {
        "OWN": own,
        "PAID": paid,
        "KEY_FILE": str(folder / "paid-key"),
        "ROUTER_AUTH": "off",
        "ROUTER_SECRET": SECRET,
        "ROUTER_ADMIN_TOKEN": ADMIN_TOKEN,
        "ROUTER_RECORDS_STDOUT": "false",
        "ROUTER_PORT": "0",
        "ROUTER_ADMIN_PORT": "0",
        "ROUTER_DRAIN_S": "5",
    }
    variables |= {f"ROUTER_{name.upper()}": value for name, value in settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ROUTER_")}
    started = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "router",
            "serve",
            *("--policies", str(folder / "policies"), "--keys", str(folder / "keys.yaml")),
            *("--records", str(folder / "records.jsonl"), "--state", str(folder / "state")),
            *arguments,
            cwd=ROOT,
            env=inherited | variables,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    try:
        yield started
    finally:
        await started.stop()
