"""What the admin port asks of the running gateway."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Literal

from router.errors import InvalidRequest, NoCapacity, NotFound
from router.policy.keys import ANONYMOUS
from router.records import schema
from router.records.writer import RecordError
from router.telemetry import log
from router.workbench.explanation import Question, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from router.gateway.gateway import Gateway
    from router.ledger.controls import Controls
    from router.loading import Live
    from router.policy.keys import Key
    from router.records.schema import ControlChanged
    from router.records.writer import RecordWriter
    from router.telemetry import Metrics

Action = Literal["suspend", "resume", "switch_on", "switch_off"]


class Operations:
    """Health, status, explain and the stop buttons of one running gateway."""

    def __init__(
        self,
        *,
        live: Live,
        controls: Controls,
        writer: RecordWriter,
        gateway: Gateway,
        metrics: Metrics,
        secret: bytes,
    ) -> None:
        """Take the parts; `secret` keys hashes as the door does."""
        self._live = live
        self._controls = controls
        self._writer = writer
        self._gateway = gateway
        self._metrics = metrics
        self._secret = secret
        self._one_at_a_time = asyncio.Lock()
        self.started = False
        self.draining = False
        self.show_controls()

    def ready(self) -> bool:
        """Tell whether a valid policy is loaded and the gateway is not draining."""
        return self.started and not self.draining

    def status(self) -> dict[str, Any]:
        """Return the digest that serves, what is stopped and how the writer does."""
        policy, held = self._live.current.policy, self._controls.held
        return {
            "policy": policy.digest,
            "targets": [name for name, target in policy.targets.items() if target.disabled is None],
            "suspended": sorted(held.suspended),
            "switches_on": sorted(held.switches),
            "can_record": self._writer.can_write,
            "ready": self.ready(),
            "draining": self.draining,
        }

    def explain(
        self,
        asked: bytes,
        *,
        key: str | None,
        headers: dict[str, str],
        why_not: str | None,
    ) -> dict[str, Any]:
        """Explain a request or facts under the live policy and the live state."""
        question = Question(
            asked=asked,
            key=self._key(key),
            headers=headers,
            received_at=time.time(),
            state=self._gateway.state(),
            secret=self._secret,
            why_not=why_not,
        )
        return explain(question, self._live.current.policy).account()

    def _key(self, key: str | None) -> Key:
        if key is None:
            return ANONYMOUS
        found = self._live.current.keyring.by_id(key)
        if found is None:
            raise InvalidRequest("There is no key of that id.", param="key")
        return found

    async def suspend(self, target: str) -> dict[str, Any]:
        """Stop a target; NotFound where there is none of that name."""
        self._known(target, self._live.current.policy.targets, "target")
        return await self._narrow("suspend", target, lambda: self._controls.suspend(target))

    async def resume(self, target: str) -> dict[str, Any]:
        """Give a target back; NotFound where it is neither there nor suspended."""
        names = {*self._live.current.policy.targets, *self._controls.held.suspended}
        self._known(target, names, "target")
        return await self._widen("resume", target, lambda: self._controls.resume(target))

    async def switch(self, name: str, *, on: bool) -> dict[str, Any]:
        """Flip a switch; NotFound where the policy declares none of that name."""
        names = {*self._live.current.policy.switches, *self._controls.held.switches}
        self._known(name, names, "switch")
        if on:
            return await self._narrow(
                "switch_on", name, lambda: self._controls.switch(name, on=True)
            )
        return await self._widen("switch_off", name, lambda: self._controls.switch(name, on=False))

    async def _narrow(self, action: Action, name: str, act: Callable[[], None]) -> dict[str, Any]:
        """Stop something: it acts first, and is kept and recorded after."""
        async with self._one_at_a_time:
            try:
                act()
            except OSError as error:
                log().error("controls.not_kept", action=action, name=name, errno=error.errno)
            self.show_controls()
            try:
                self._writer.accept(_changed(action, name))
            except RecordError as error:
                log().error("controls.not_recorded", action=action, name=name, exc_info=error)
        return self.status()

    async def _widen(self, action: Action, name: str, act: Callable[[], None]) -> dict[str, Any]:
        """Give something back: only once that is on record and kept."""
        async with self._one_at_a_time:
            try:
                await self._writer.written(_changed(action, name))
                act()
            except (RecordError, OSError) as error:
                log().error("controls.not_kept", action=action, name=name, exc_info=error)
                raise NoCapacity(
                    "It stays stopped: the change cannot be recorded and kept now."
                ) from error
            self.show_controls()
        return self.status()

    def _known(self, name: str, names: Collection[str], noun: str) -> None:
        if name not in names:
            raise NotFound(
                f"There is no {noun} of that name; there are: {', '.join(sorted(names))}."
            )

    def show_controls(self) -> None:
        """Put what is stopped into the metrics."""
        self._metrics.controls.clear()
        held = self._controls.held
        for kind, names in (("suspended", held.suspended), ("switch", held.switches)):
            for name in names:
                self._metrics.controls.labels(kind, name).set(1)


def _changed(action: Action, name: str) -> ControlChanged:
    return schema.ControlChanged(at=schema.time_text(time.time()), action=action, name=name)
