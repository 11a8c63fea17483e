"""Accepted policies by digest, on disk: for a restart beside a bad folder, and for replays.

    STATE/policies/HEX.json    the sources of one accepted policy, written once
    STATE/policies/last-good   the digest that was accepted last

Everything is written beside its place and renamed, readable by the owner only: resolved variables
are in there.
"""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from router.loading.document import load_sources
from router.loading.problems import PolicyProblems, Problem
from router.loading.sources import Loaded, Sources

if TYPE_CHECKING:
    from pathlib import Path

DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
LAST_GOOD: Final = "last-good"


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the shelf."""

    digest: str
    folder: str
    files: dict[str, str]
    variables: dict[str, str]


class Shelf:
    """The accepted policies of one state folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "policies"

    def keep(self, loaded: Loaded) -> None:
        """Keep an accepted policy and point `last-good` at it. OSError if it cannot be written."""
        digest, sources = loaded.policy.digest, loaded.sources
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if isinstance(self.get(digest), Problem):
            kept = Kept(
                digest=digest,
                folder=sources.folder,
                files=dict(sources.files),
                variables=dict(sources.variables),
            )
            self._write(self._path(digest), msgspec.json.encode(kept))
        pointer = self._folder / LAST_GOOD
        if not pointer.is_file() or pointer.read_bytes() != digest.encode():
            self._write(pointer, digest.encode())

    def last_good(self) -> Loaded | Problem | None:
        """Return the policy accepted last, None if there was none, or what is wrong with it."""
        pointer = self._folder / LAST_GOOD
        try:
            digest = pointer.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            return Problem(str(pointer), 0, f"cannot be read: {error.strerror}")
        if not DIGEST.fullmatch(digest):
            return Problem(str(pointer), 0, "holds no digest")
        return self.get(digest)

    def get(self, digest: str) -> Loaded | Problem:
        """Return the policy with this digest, or what keeps it from being loaded."""
        if not DIGEST.fullmatch(digest):
            return Problem(str(self._folder), 0, "no digest: sha256: and 64 hexadecimal digits")
        path = self._path(digest)
        why = "is spoilt: it holds a policy with another digest"
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Kept)
            sources = Sources(folder=kept.folder, files=kept.files, variables=kept.variables)
            loaded = load_sources(sources)
            if loaded.policy.digest == digest:
                return loaded
        except FileNotFoundError:
            why = "no policy with this digest was kept"
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        except msgspec.DecodeError:
            why = "is spoilt: it holds no kept policy"
        except PolicyProblems as found:
            why = f"cannot be loaded any more: {found.problems[0]}"
        return Problem(str(path), 0, why)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest.removeprefix('sha256:')}.json"

    def _write(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
