"""Settings from the environment (`ROUTER_*`), frozen. Command-line options override them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network
# Shorter ones could be guessed; those that are made have 43 characters.
SHORTEST_SECRET = 16
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Settings(BaseSettings):
    """How one gateway process runs. Every field is `ROUTER_` plus its name in capitals."""

    # INVARIANT: an empty variable is none: an empty admin token or secret would let anybody in.
    model_config = SettingsConfigDict(
        env_prefix="ROUTER_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    policies: Path = Field(Path("policies"), description="The policy folder.")
    keys: Path | None = Field(None, description="The file of client keys (hashes).")
    records: Path | None = Field(
        None,
        description="The file that decision records are appended to; none: standard output only.",
    )
    records_stdout: bool = Field(True, description="Write decision records to standard output too.")
    state: Path = Field(
        Path(".qwen-router"),
        description="The folder for accepted policies, suspensions, switches and secrets.",
    )
    host: str = Field("127.0.0.1", description="Address of the public port.")
    port: int = Field(8080, ge=0, le=65535, description="Public port; 0 takes a free one.")
    admin_host: str = Field("127.0.0.1", description="Address of the admin port.")
    admin_port: int = Field(
        8081, ge=0, le=65535, description="Port for health, metrics and admin calls."
    )
    auth: Literal["on", "off"] = Field(
        "on", description="off serves callers without a key, as `anonymous`."
    )
    admin_token: SecretStr | None = Field(
        None, description="Token for admin calls; without it one is made in the state folder."
    )
    secret: SecretStr | None = Field(
        None,
        description="Key of the record chain and of every keyed hash; without it one is made in "
        "the state folder. Replicas share it.",
    )
    cluster_cidrs: Annotated[tuple[Network, ...], NoDecode] = Field(
        LOOPBACK,
        description="Networks in which targets of location cluster may be dialled, by comma.",
    )
    instance: str = Field(
        "gateway",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of this replica, in the id of its record chain.",
    )
    durable_label: str | None = Field(
        None,
        description="Requests with this label or a higher one are sent only after their decision "
        "is written, whatever the target.",
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024, ge=1, description="Largest request body, in bytes."
    )
    max_in_flight: int = Field(1000, ge=1, description="Requests in flight; more get 503.")
    max_connections: int = Field(
        10_000,
        ge=1,
        description="Open connections on the public port; a new one above that is closed at once. "
        "Never more than half of the descriptors that the process may open.",
    )
    head_s: float = Field(
        15.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a connection has to send a whole request head; then it is "
        "closed.",
    )
    body_s: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that a request body has to arrive; then it gets 408.",
    )
    record_queue: int = Field(
        10_000, ge=1, description="Decisions that may wait for the record writer."
    )
    drain_s: float = Field(
        30.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that open requests have to end after SIGTERM.",
    )

    @field_validator("cluster_cidrs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            try:
                return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
            except ValueError:
                raise ValueError("must be networks by comma, such as 10.0.0.0/8") from None
        return value


def kept_secret(file: Path) -> str:
    """Return the secret that is kept in a file, making it (mode 0600) where there is none.

    OSError where it can be neither read nor made, is too short, or is open to others.
    """
    with contextlib.suppress(FileExistsError):
        _make_secret(file)
    if file.stat().st_mode & 0o077:
        raise OSError(errno.EPERM, "is open to others; chmod 600 it", str(file))
    secret = file.read_bytes().decode("ascii", "replace").strip()
    if len(secret) < SHORTEST_SECRET or not secret.isascii():
        raise OSError(errno.EINVAL, "holds no secret; remove it to have one made", str(file))
    return secret


def _make_secret(file: Path) -> None:
    """Make the file as a whole or not at all; FileExistsError where somebody was first."""
    partial = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as made:
            made.write(secrets.token_urlsafe(32) + "\n")
            made.flush()
            os.fsync(made.fileno())
        # A link, unlike a rename, never takes the place of a file that is there.
        os.link(partial, file)
    finally:
        partial.unlink()


def secret_of(settings: Settings) -> bytes:
    """Return the secret behind the record chain and the keyed hashes: of the settings, or kept."""
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    return kept_secret(settings.state / "secret").encode()


def admin_token_of(settings: Settings) -> str:
    """Return the token for admin calls: of the settings, or kept in the state folder."""
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    return kept_secret(settings.state / "admin-token")
