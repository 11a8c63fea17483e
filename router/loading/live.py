"""The policy and keys in force, watched and swapped while serving.

Strategy: the content is read every `interval_s` and compared, nothing else. That sees an edit, a
`..data` swap, a replaced folder and a network file system alike, and what is compared is the very
text that is then loaded. Parsing happens in a thread; the swap is one assignment on the loop.

INVARIANT: only a pair that was checked together is in force. A policy never comes into force
without the keys beside it; keys also do beside a refused policy, against the one in force: a
revoked key must not live on because of somebody's typing error in a rule.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from router.loading.document import load_folder
from router.loading.keyring import Keyring, keyring, read_keys
from router.loading.problems import PolicyProblems, Problem
from router.loading.shelf import Shelf
from router.loading.sources import Folder, read_folder

if TYPE_CHECKING:
    from pathlib import Path

    from router.policy.document import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A policy with the keys that were checked against it. `version` counts up with each load."""

    policy: Policy
    keyring: Keyring
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What was there at one moment; two are equal when every byte is."""

    folder: Folder
    keys: str | Problem | None


# How long new content must stay the same before it is taken, in seconds. A writer that pauses for
# longer in the middle of a file is not seen through: write a new file and rename it.
SETTLE_S = 0.3

# Called on the event loop. `changed` is false for an edit without meaning, and for the way back
# from a refused edit to what was in force all along.
OnLoaded = Callable[[Snapshot, bool], None]
OnRejected = Callable[[tuple[Problem, ...]], None]


class Live:
    """Owns the snapshot in force. `start` once, then `run` as a task, `current` at any time.

    Without a keys file the keyring is empty. `state` is the folder of the shelf.
    """

    def __init__(
        self,
        folder: Path,
        keys: Path | None,
        env: Mapping[str, str],
        state: Path,
        *,
        on_loaded: OnLoaded,
        on_rejected: OnRejected,
        interval_s: float = 1.0,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._env = env
        self._shelf = Shelf(state)
        self._on_loaded = on_loaded
        self._on_rejected = on_rejected
        self._interval_s = interval_s
        self._seen: _Content | None = None
        self._again = False
        self._current: Snapshot | None = None
        self._turn = asyncio.Lock()

    @property
    def current(self) -> Snapshot:
        """The snapshot in force; RuntimeError before `start`."""
        if self._current is None:
            raise RuntimeError("start() first")
        return self._current

    async def start(self) -> Snapshot:
        """Load; beside a bad folder, take the last good policy from the shelf and report.

        Raises PolicyProblems where neither can serve.
        """
        async with self._turn:
            content = await asyncio.to_thread(self._read)
            self._seen = content
            try:
                pair = await asyncio.to_thread(self._checked, content)
            except PolicyProblems as found:
                pair = await asyncio.to_thread(self._fallen_back, content, found)
                self._refuse(found)
            return self._swap(*pair)

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once; load what changed, or report why not. What was reported is not again."""
        async with self._turn:
            content = await asyncio.to_thread(self._read)
            fresh = content != self._seen
            if not (fresh or self._again):
                return
            if fresh and not await self._settled(content):
                return
            self._seen = content
            try:
                pair = await asyncio.to_thread(self._checked, content)
            except PolicyProblems as found:
                also = await self._take_keys(content)
                self._refuse(found, also, silently=not fresh)
                return
            self._swap(*pair)

    async def _settled(self, content: _Content) -> bool:
        """Tell whether the content stays as it is: not every editor writes a file in one go."""
        await asyncio.sleep(min(SETTLE_S, self._interval_s))
        return content == await asyncio.to_thread(self._read)

    async def _take_keys(self, content: _Content) -> tuple[Problem, ...]:
        """Put the keys in force beside a policy that was refused, or return what is wrong."""
        old = self.current
        try:
            keys = await asyncio.to_thread(self._keyring, content, old.policy)
        except PolicyProblems as found:
            return found.problems
        if keys != old.keyring:
            self._current = Snapshot(policy=old.policy, keyring=keys, version=old.version + 1)
        return ()

    def _refuse(
        self, found: PolicyProblems, also: tuple[Problem, ...] = (), *, silently: bool = False
    ) -> None:
        # A full disk mends itself without an edit, so it alone is tried again.
        self._again = isinstance(found.__cause__, OSError)
        if not silently:
            self._on_rejected(PolicyProblems((*found.problems, *also)).problems)

    def _read(self) -> _Content:
        keys = None if self._keys is None else read_keys(self._keys)
        return _Content(folder=read_folder(self._folder), keys=keys)

    def _checked(self, content: _Content) -> tuple[Policy, Keyring]:
        """Load a pair and keep its policy; PolicyProblems if anything stands against it."""
        loaded = load_folder(content.folder, self._env)
        keys = self._keyring(content, loaded.policy)
        try:
            self._shelf.keep(loaded)
        except OSError as error:
            # INVARIANT: a policy in force is on the shelf, or its decisions could not be replayed.
            why = f"the policy cannot be kept: {error.strerror}"
            raise PolicyProblems([Problem(content.folder.path, 0, why)]) from error
        return loaded.policy, keys

    def _keyring(self, content: _Content, policy: Policy) -> Keyring:
        if content.keys is None:
            return Keyring()
        return keyring(content.keys, str(self._keys), policy)

    def _fallen_back(self, content: _Content, found: PolicyProblems) -> tuple[Policy, Keyring]:
        last = self._shelf.last_good()
        if last is None:
            raise found
        if isinstance(last, Problem):
            raise PolicyProblems([*found.problems, last]) from found
        try:
            return last.policy, self._keyring(content, last.policy)
        except PolicyProblems as also:
            raise PolicyProblems([*found.problems, *also.problems]) from found

    def _swap(self, policy: Policy, keys: Keyring) -> Snapshot:
        old = self._current
        changed = old is None or old.policy.digest != policy.digest or old.keyring != keys
        version = 1 if old is None else old.version + 1
        self._current = Snapshot(policy=policy, keyring=keys, version=version)
        self._again = False
        self._on_loaded(self._current, changed)
        return self._current
