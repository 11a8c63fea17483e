"""The stop buttons: suspended targets and switches, kept in one file over a restart.

They only ever narrow: a suspension removes a target, a switch may stand in a `forbid` only. What
narrows acts first and is written after; what gives back is written first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is stopped now. `version` rises with every change."""

    suspended: frozenset[str] = frozenset()
    switches: frozenset[str] = frozenset()
    version: int = 0


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    suspended: list[str]
    switches: list[str]


class Controls:
    """The suspensions and switches of one gateway. `held` is replaced as a whole, never changed."""

    def __init__(self, file: Path) -> None:
        """Take the file to keep them in; its folder must exist."""
        self._file = file
        self.held = Held()

    def load(self) -> None:
        """Read what was held before a restart.

        OSError or msgspec.DecodeError where the file is there and cannot be read: a gateway that
        forgot a suspension would not be safe, so it must not start.
        """
        if self._file.exists():
            kept = msgspec.json.decode(self._file.read_bytes(), type=_Kept)
            self.held = Held(
                suspended=frozenset(kept.suspended), switches=frozenset(kept.switches), version=1
            )

    def suspend(self, target: str) -> None:
        """Stop a target. It acts even where OSError says that it could not be kept."""
        self.held = self._with(suspended=self.held.suspended | {target})
        self._keep(self.held)

    def resume(self, target: str) -> None:
        """Give a target back; OSError where that cannot be kept, and then it stays stopped."""
        after = self._with(suspended=self.held.suspended - {target})
        self._keep(after)
        self.held = after

    def switch(self, name: str, *, on: bool) -> None:
        """Flip a switch. Turning on acts at once; turning off acts once it is kept (OSError)."""
        if on:
            self.held = self._with(switches=self.held.switches | {name})
            self._keep(self.held)
        else:
            after = self._with(switches=self.held.switches - {name})
            self._keep(after)
            self.held = after

    def _with(
        self, *, suspended: frozenset[str] | None = None, switches: frozenset[str] | None = None
    ) -> Held:
        return Held(
            suspended=self.held.suspended if suspended is None else suspended,
            switches=self.held.switches if switches is None else switches,
            version=self.held.version + 1,
        )

    def _keep(self, held: Held) -> None:
        kept = _Kept(suspended=sorted(held.suspended), switches=sorted(held.switches))
        partial = self._file.with_suffix(".new")
        with partial.open("wb") as file:
            file.write(msgspec.json.encode(kept) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._file)
