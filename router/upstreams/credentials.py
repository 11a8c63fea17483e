"""A target's own API key, read at each use: a file rotates live."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from router.upstreams.call import CallFailed, Fault

if TYPE_CHECKING:
    from router.policy.targets import Credential


def secret_of(credential: Credential) -> str:
    """Return the key; CallFailed(ACCOUNT) where it is missing, empty or no header value."""
    secret = None
    if credential.file is not None:
        try:
            secret = Path(credential.file).read_text(encoding="utf-8")
        except (OSError, ValueError):
            secret = None
    elif credential.env is not None:
        secret = os.environ.get(credential.env)
    secret = secret.strip() if secret else ""
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise CallFailed(Fault.ACCOUNT)
    return secret
