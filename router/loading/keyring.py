"""The keys file → `Keyring`: client keys by the SHA-256 of their secret.

No message shows a hash, and none shows what stands where a hash should: it may be the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Final

from router.loading.fields import (
    NAME,
    Fields,
    Reader,
    Refused,
    Report,
    boolean,
    check_free,
    each,
    listing,
    name,
    one_of,
    text,
)
from router.loading.nodes import Listing, Scalar, Table
from router.loading.problems import PolicyProblems, Problem, quoted
from router.loading.sources import read_file
from router.loading.yaml import parse
from router.policy.keys import Key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from router.loading.nodes import Node
    from router.policy.document import Policy

KEY_ID: Final = NAME
VERSION: Final = "qwen-router/v1"
MOST_BYTES: Final = 8 * 1024 * 1024
SECRET_BYTES: Final = 32
HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by the SHA-256 of their secret, 32 bytes. Compares equal by content."""

    by_hash: Mapping[bytes, Key] = field(default_factory=dict, repr=False)
    _stored: dict[bytes, tuple[bytes, Key]] = field(init=False, repr=False, compare=False)
    _ids: dict[str, Key] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stored = {known: (known, key) for known, key in self.by_hash.items()}
        object.__setattr__(self, "_stored", stored)
        object.__setattr__(self, "_ids", {key.id: key for key in self.by_hash.values()})

    def find(self, secret: str, now_s: float) -> Key | None:
        """Return the key of a presented secret; None for an unknown or expired one.

        The whole secret is hashed and looked up by the whole hash, so how long it takes says
        nothing of a stored one that could be steered; never by a prefix (CVE-2026-35030).
        """
        presented = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        known, key = self._stored.get(presented, (b"", None))
        if key is None or not hmac.compare_digest(known, presented):
            return None
        return None if key.expired(now_s) else key

    def by_id(self, key_id: str) -> Key | None:
        """Return the key with this id, expired or not."""
        return self._ids.get(key_id)


def load_keys(path: Path, policy: Policy) -> Keyring:
    """Load a keys file and check its names against the policy's. Raises PolicyProblems."""
    return keyring(read_keys(path), str(path), policy)


def read_keys(path: Path) -> str | Problem:
    """Return the text of a keys file, or why there is none."""
    try:
        return read_file(path, str(path), MOST_BYTES)
    except FileNotFoundError:
        return Problem(str(path), 0, "is missing")


def keyring(found: str | Problem, file: str, policy: Policy) -> Keyring:
    """Return the keys of a file's text, or raise PolicyProblems."""
    if isinstance(found, Problem):
        raise PolicyProblems([found])
    problems: list[Problem] = []
    node = parse(found, file, problems)
    keys: tuple[tuple[bytes, Key], ...] = ()
    if node is not None:
        report = Report(problems)
        try:
            keys = _document(node, report, policy)
            _check_repeated(node, report)
        except Refused:
            pass
    if problems:
        raise PolicyProblems(problems)
    return Keyring(dict(keys))


def _document(node: Node, report: Report, policy: Policy) -> tuple[tuple[bytes, Key], ...]:
    fields = Fields(node, report)
    fields.need("apiVersion", one_of("version", (VERSION,)))
    keys = fields.need("keys", _keys(policy))
    fields.done()
    return keys


def _keys(policy: Policy) -> Reader[tuple[tuple[bytes, Key], ...]]:
    def read(node: Node, report: Report) -> tuple[tuple[bytes, Key], ...]:
        if not isinstance(node, Listing):
            report.refuse(node, "must be a list of keys")
        return each(
            ((item, _about(item, report.item(i))) for i, item in enumerate(node.items)), key
        )

    def key(node: Node, report: Report) -> tuple[bytes, Key]:
        return _key(Fields(node, report), policy)

    return read


def _about(node: Node, report: Report) -> Report:
    found = _scalar(node, "id")
    return report if found is None else report.about(f"key {quoted(found)}")


def _scalar(node: Node, key: str) -> str | None:
    found = node.entries.get(key) if isinstance(node, Table) else None
    return found.value if isinstance(found, Scalar) and isinstance(found.value, str) else None


def _key(fields: Fields, policy: Policy) -> tuple[bytes, Key]:
    label = one_of("label", policy.labels.order)
    tier = one_of("tier", policy.tiers.order)
    models = one_of("model", policy.targets.keys() | policy.aliases.keys())
    key_id = fields.need("id", _named("id", policy))
    secret_hash = fields.need("sha256", _hash)
    product = fields.take("product", _named("product", policy), None)
    team = fields.take("team", _named("team", policy), None)
    group = fields.take("group", _named("group", policy), None)
    min_label = fields.take("min_label", label, None)
    media_label = fields.take("media_label", label, None)
    asked = fields.take("tier", tier, None)
    most = fields.take("max_tier", tier, None)
    may = fields.take("models", listing(models), None)
    may_assert_user = fields.take("may_assert_user", boolean, default=False)
    owner = fields.take("owner", text, None)
    expires_at = fields.take("expires_at", _moment(policy.time_zone), None)
    fields.done()
    return secret_hash, Key(
        id=key_id,
        product=product,
        team=team,
        group=group,
        min_label=min_label,
        media_label=media_label,
        tier=asked,
        max_tier=most,
        models=None if may is None else frozenset(may),
        may_assert_user=may_assert_user,
        owner=owner,
        expires_at=expires_at,
    )


def _named(attribute: str, policy: Policy) -> Reader[str]:
    """Return the reader of an attribute: one of the declared values, any name where none is."""
    declared = policy.names.get(f"key.{attribute}")

    def read(node: Node, report: Report) -> str:
        value = name(node, report)
        if attribute == "id":
            check_free(value, node.at, report)
        return value if declared is None else one_of(attribute, declared)(node, report)

    return read


def _hash(node: Node, report: Report) -> bytes:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, str) or not HASH.fullmatch(value.lower()):
        report.refuse(node, "must be the SHA-256 of the key: 64 hexadecimal digits, quoted")
    return bytes.fromhex(value)


def _moment(zone: ZoneInfo) -> Reader[float]:
    """Return the reader of a time; a date means its first moment in the policy's time zone."""

    def read(node: Node, report: Report) -> float:
        value = text(node, report)
        moment = _parsed(value, zone)
        if moment is None:
            report.refuse(
                node, "must be 2026-12-31, or a time with its zone, 2026-12-31T18:00+08:00"
            )
        return moment

    return read


def _parsed(value: str, zone: ZoneInfo) -> float | None:
    try:
        if len(value) == len("2026-12-31"):
            return datetime.combine(date.fromisoformat(value), time(), zone).timestamp()
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _check_repeated(node: Node, report: Report) -> None:
    """Note ids and hashes that stand twice, by the ids of their keys."""
    keys = node.entries.get("keys") if isinstance(node, Table) else None
    first: dict[tuple[str, str], Table] = {}
    for item in keys.items if isinstance(keys, Listing) else ():
        for attribute in ("id", "sha256"):
            value = _scalar(item, attribute)
            if value is None or not isinstance(item, Table):
                continue
            other = first.setdefault((attribute, value.lower()), item)
            if other is not item:
                message = f"the {attribute} is the same as in line {other.at.line}"
                _about(item, report).note(item.at, message)


def new_key(key_id: str, attributes: Mapping[str, object] | None = None) -> tuple[str, str]:
    """Make a key: return its secret, to be shown once, and its line for the keys file.

    `attributes` are further fields of the entry (`product`, `team` …), checked when it is loaded.
    """
    secret = f"qr-{secrets.token_urlsafe(SECRET_BYTES)}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    entry = {"id": key_id, "sha256": digest, **(attributes or {})}
    # JSON is YAML: whatever the values are, the entry means just them.
    pairs = ", ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items())
    return secret, f"- {{{pairs}}}"
