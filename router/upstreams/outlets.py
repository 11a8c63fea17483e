"""Target → Upstream: the one place that knows which code talks to which kind of target."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from router.upstreams.litellm import LiteLLM
from router.upstreams.litellm_door import litellm_available, load
from router.upstreams.openai_shaped import SPEECHES, OpenAIShaped
from router.upstreams.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Collection

    from router.policy.targets import Target
    from router.upstreams.call import Upstream
    from router.upstreams.connector import Network
    from router.upstreams.contacts import Contacts


class Upstreams:
    """Every upstream of one process, over one transport.

    `networks` are those in which targets of location cluster may be dialled.
    """

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._transport = Transport(networks)
        self._kinds: dict[str, Upstream] = {
            name: OpenAIShaped(self._transport, speech) for name, speech in SPEECHES.items()
        }
        self._kinds["litellm"] = LiteLLM(self._transport)

    @property
    def contacts(self) -> Contacts:
        """What the transport counted."""
        return self._transport.contacts

    def of(self, target: Target) -> Upstream:
        """Return the code that talks to this target."""
        return self._kinds[target.upstream]

    async def fit(self, targets: Collection[Target]) -> tuple[str, ...]:
        """Get ready for a catalog; return the names of the targets whose library is not installed.

        Connections to targets that have left are forgotten (calls under way go on), and litellm is
        imported here, off the event loop, rather than at the first request.
        """
        await self._transport.keep_only(targets)
        names = tuple(t.name for t in targets if t.upstream == "litellm" and t.disabled is None)
        if names and litellm_available():
            await asyncio.to_thread(load)
            return ()
        return names

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()
