"""A gateway that crashes in every corner with a text in the message: `crashing.py TEXT`.

It is the real one, with a policy that was made inconsistent after it was loaded.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from dataclasses import replace
from typing import Any

from router import app
from router.policy.targets import Target
from router.policy.values import ABSENT
from router.settings import Settings

TEXT = sys.argv[1]


class Exploding(frozenset[str]):
    """A vocabulary that fails at every look-up, and says in its message what was looked up."""

    def __contains__(self, text: object) -> bool:
        if text is ABSENT:
            return False
        raise RuntimeError(f"{text} cannot be looked up")


class Closing(dict[str, Target]):
    """A catalog that cannot be listed any more, which happens first when a request is finished."""

    def values(self) -> Any:
        """Fail."""
        raise RuntimeError(TEXT)


class Unraisable:
    """Something that cannot even be thrown away."""

    def __del__(self) -> None:
        raise RuntimeError(TEXT)


class Crashing(app.App):
    """The application, broken after its start."""

    async def start(self) -> None:
        """Start, then break."""
        await super().start()
        live: Any = self._live
        policy = live.current.policy
        names = {**policy.names, "request.metadata.purpose": Exploding()}
        broken = replace(policy, names=names)
        object.__setattr__(broken, "targets", Closing(broken.targets))
        live._current = replace(live.current, policy=broken)
        asyncio.get_running_loop().call_soon(_crash)
        self._lost = asyncio.create_task(_task())
        thread = threading.Thread(target=_crash)
        thread.start()
        thread.join()
        Unraisable()
        _log()


def _crash() -> None:
    raise RuntimeError(TEXT)


async def _task() -> None:
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_exception_handler(
        {"message": TEXT, "exception": RuntimeError(TEXT)}
    )


def _log() -> None:
    """Log as libraries do: with arguments, with none, and with an exception."""
    log = logging.getLogger("somebody")
    log.warning("it got %s", TEXT)
    log.error(f"it got {TEXT}")  # noqa: G004 - as libraries do
    try:
        _crash()
    except RuntimeError:
        log.exception("it failed with %s", TEXT)
    warnings.warn(TEXT, stacklevel=1)


if __name__ == "__main__":
    app.App = Crashing  # type: ignore[misc]
    sys.exit(app.run(Settings()))
