"""What the tests of the upstreams share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from router.upstreams.outlets import Upstreams
from tests.upstreams.calls import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest_asyncio.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    """Upstreams whose cluster is loopback."""
    opened = Upstreams(LOOPBACK)
    yield opened
    await opened.close()
