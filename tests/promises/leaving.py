"""A client that leaves in the middle of an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.scripted import Answer, Do, Stall

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.scripted import Scripted, Seen, Step


async def left(server: Scripted, sending: Coroutine[Any, Any, Any], *steps: Step) -> None:
    """Send, leave once the server has done these steps, and return when it has noticed."""
    arrived = asyncio.Event()

    async def arrive(_: Seen) -> None:
        arrived.set()

    server.script = [Answer.raw(*steps, Do(arrive), Stall())]
    task = asyncio.create_task(sending)
    await asyncio.wait_for(arrived.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert await server.requests[-1].gone(within_s=5)
