"""A small valid policy folder and keys file, and ways to spoil them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from router.loading import Loaded, PolicyProblems, load_policy
from router.loading.document import load_folder
from router.loading.sources import Folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.policy.document import Policy

ENV: Final = {"QWEN_OPEN_URL": "http://10.1.2.3:8000/v1"}

# A policy with a little of everything.
WORLD: Final = Path(__file__).with_name("world")
FILES: Final = {path.name: path.read_text(encoding="utf-8") for path in WORLD.glob("*.yaml")}

SECRET: Final = "qr-the-secret-of-the-shop"
HASH: Final = hashlib.sha256(SECRET.encode()).hexdigest()
OTHER_HASH: Final = hashlib.sha256(b"qr-another").hexdigest()
KEYS: Final = f"""\
apiVersion: qwen-router/v1
keys:
  - id: shop-prod
    sha256: "{HASH}"
    product: shop
    team: web
    group: prod
    min_label: internal
    media_label: confidential
    tier: standard
    max_tier: premium
    models: [auto, qwen-open]
    may_assert_user: true
    owner: Ada Lovelace
    expires_at: 2026-12-31
  - {{id: ci, sha256: "{OTHER_HASH}", group: ci, expires_at: "2026-11-01T12:00:00+08:00"}}
"""


def write(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """Write a policy folder."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def changed(file: str, old: str, new: str, files: Mapping[str, str] = FILES) -> dict[str, str]:
    """Return the files with one passage changed; the passage must be there."""
    assert old in files[file], old
    return {**files, file: files[file].replace(old, new, 1)}


def load(files: Mapping[str, str], env: Mapping[str, str] = ENV) -> Loaded:
    """Load files as if they stood in a folder called `policies`."""
    return load_folder(Folder(path="policies", files=files, unread={}), env)


def policy(files: Mapping[str, str] = FILES) -> Policy:
    """Return the policy of valid files."""
    return load(files).policy


def complaints(files: Mapping[str, str], env: Mapping[str, str] = ENV) -> list[str]:
    """Return every problem of files that must be refused, as it is printed."""
    with pytest.raises(PolicyProblems) as refused:
        load(files, env)
    return [str(problem) for problem in refused.value.problems]


def complaints_of(folder: Path) -> list[str]:
    """Return every problem of a folder that must be refused, as it is printed."""
    with pytest.raises(PolicyProblems) as refused:
        load_policy(folder, ENV)
    return [str(problem) for problem in refused.value.problems]
