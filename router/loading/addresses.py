"""Addresses in a catalog: `base_url` and `proxy`. Messages never show one: it may hold a secret."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from router.loading.fields import Report, text

if TYPE_CHECKING:
    from router.loading.nodes import Node


def address(node: Node, report: Report) -> str:
    """Read an http or https URL without credentials, query or fragment."""
    value = text(node, report)
    parts = split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        report.refuse(node, "must be an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        report.refuse(node, "must hold no credentials; name them under api_key")
    # The delimiters themselves: an empty query is still one.
    if "?" in value or "#" in value or "\\" in value or any(c.isspace() for c in value):
        report.refuse(node, "must hold no query, fragment, backslash or space")
    return value.rstrip("/")


def split(url: str) -> SplitResult | None:
    """Return the URL's parts, None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # judged only when it is asked for
    except ValueError:
        return None
    return parts


def is_plain(url: str) -> bool:
    """Tell whether what is sent there crosses a network unencrypted: http, not to this machine."""
    parts = split(url)
    return parts is not None and parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
