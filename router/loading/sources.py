"""The texts that a policy is made of, each read exactly once.

Kubernetes mounts a ConfigMap as symlinks through `..data`, which it swaps to another folder with
every change, and then deletes the old one. So that link is followed once and everything is read
behind it: what is read belongs to one version.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.loading.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.document import Policy

HEAD: Final = "policy.yaml"
SUFFIXES: Final = (".yaml", ".yml")
MOST_BYTES: Final = 1024 * 1024
MOST_FILES: Final = 256
SWAPS: Final = 5  # how often a folder may be swapped under our hands before we say so


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The texts of a policy by file name, and the `${}` variables that they used.

    `folder` is its path as it was given: places are named by it. Variables may be secret, so
    they are in no `repr`.
    """

    folder: str
    files: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A policy and what it was loaded from."""

    policy: Policy
    sources: Sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What was found in a folder: texts, and a problem for each file that could not be read."""

    path: str
    files: Mapping[str, str]
    unread: Mapping[str, Problem]


def read_folder(folder: Path) -> Folder:
    """Read every policy file of a folder, subfolders and dot files left out."""
    gone = folder
    for _ in range(SWAPS):
        try:
            return _read_behind_link(folder)
        except FileNotFoundError as error:
            gone = folder if error.filename is None else Path(os.fsdecode(error.filename))
        except OSError as error:
            return _unread(folder, f"cannot be read: {error.strerror}")
    return _unread(folder, f"cannot be read: there is no {gone.name}")


def _unread(folder: Path, why: str) -> Folder:
    return Folder(path=str(folder), files={}, unread={"": Problem(str(folder), 0, why)})


def _read_behind_link(folder: Path) -> Folder:
    link = folder / "..data"
    root = (link if link.is_symlink() else folder).resolve(strict=True)
    here = sorted(path.name for path in root.iterdir())
    names = [name for name in here if name.endswith(SUFFIXES) and not name.startswith(".")]
    if len(names) > MOST_FILES:
        return _unread(folder, f"holds more than {MOST_FILES} policy files")
    found = {name: read_file(root / name, str(folder / name)) for name in names}
    return Folder(
        path=str(folder),
        files={name: text for name, text in found.items() if isinstance(text, str)},
        unread={name: found for name, found in found.items() if isinstance(found, Problem)},
    )


def read_file(path: Path, shown: str, most_bytes: int = MOST_BYTES) -> str | Problem:
    """Return a file's text, or what is wrong with it under the name `shown`.

    FileNotFoundError passes: the caller knows whether that is a problem or a swap.
    """
    try:
        # Not blocking: a named pipe in the folder must not stop the gateway.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Problem(shown, 0, "is no regular file")
            content = file.read(most_bytes + 1)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        return Problem(shown, 0, f"cannot be read: {error.strerror}")
    if len(content) > most_bytes:
        return Problem(shown, 0, f"is larger than {most_bytes} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem(shown, line, "is not UTF-8")
