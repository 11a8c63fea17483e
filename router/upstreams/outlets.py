"""Target → Upstream: the one place that knows which code talks to which kind of target."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yarl import URL

from router.upstreams.call import CallFailed
from router.upstreams.connector import dialable
from router.upstreams.credentials import secret_of
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
        self._networks = networks
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

    async def fit(self, targets: Collection[Target]) -> list[tuple[str, str]]:
        """Get ready for a catalog; return the targets that cannot be called as things are, and why.

        Connections to targets that have left are forgotten (calls under way go on), and litellm is
        imported here, off the event loop, rather than at the first request.
        """
        await self._transport.keep_only(targets)
        enabled = [target for target in targets if target.disabled is None]
        if litellm_available() and any(target.upstream == "litellm" for target in enabled):
            await asyncio.to_thread(load)
        return [(target.name, why) for target in enabled if (why := self._hindrance(target))]

    def _hindrance(self, target: Target) -> str | None:
        """Return what keeps a target from being called, as far as that shows without calling it."""
        if target.upstream == "litellm" and not litellm_available():
            return "litellm is not installed: pip install qwen-router[litellm]"
        try:
            if target.api_key is not None:
                secret_of(target.api_key)
        except CallFailed:
            return "its api_key cannot be read, or is empty"
        host = URL(target.base_url).host or ""
        # A name may resolve to anything, and is judged when it is dialled.
        literal = host.replace(".", "").isdigit() or ":" in host
        if target.location == "cluster" and literal and not dialable(host, self._networks):
            return "its address is outside ROUTER_CLUSTER_CIDRS"
        return None

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()
