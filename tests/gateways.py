"""A whole gateway for a test: the real application on real ports, over a policy in a folder.

async with gateway(tmp_path, own=server.url, paid=other.url) as running:
reply = await running.post({"model": "auto", "messages": […]})
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from router.app import App
from router.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

HEAD = """
apiVersion: qwen-router/v1
files: [targets.yaml, rules.yaml]
time_zone: Asia/Shanghai
labels:
  {order: [public, internal, confidential, restricted], default: internal, on_unknown: restricted}
tiers: {order: [basic, standard, premium], default: standard}
names:
  product: [shop, hr]
  group: [prod, ci]
  metadata.purpose: [eval, chat]
  header.x-router-team-mood: [good, bad]
switches: [all_home]
"""
TARGETS = """
apiVersion: qwen-router/v1
targets:
  own:
    location: cluster
    upstream: vllm
    base_url: ${OWN}
    model: Qwen/Qwen3.6-27B
    clearance: restricted
    tier: {text: standard, vision: standard}
    can: {input: [text, image], tools: true, json_schema: true, thinking: true,
          context: 262144, max_output: 65536}
    price: {gpu_hour_usd: 2.50, gpus: 2, tokens_per_s: {input: 9000, output: 1500}}
    marginal: sunk
    deadlines: {connect_s: 2, first_token_s: 5, idle_s: 5, total_s: 10}
  paid:
    location: external
    upstream: dashscope
    base_url: ${PAID}
    api_key: {file: "${KEY_FILE}"}
    model: qwen3.7-max
    clearance: internal
    tier: {text: premium}
    can: {input: [text], tools: true, json_object: true, thinking: true,
          context: 991808, max_output: 65536}
    price:
      as_of: 2026-10-01
      currency: USD
      per_million: [{up_to: 991808, input: 2.50, output: 7.50, cached_input: 0.50}]
    deadlines: {connect_s: 2, first_token_s: 5, idle_s: 5, total_s: 10}
aliases:
  auto: {}
  best: {tier: premium}
  own-only: {only: [own]}
"""
RULES = """
apiVersion: qwen-router/v1
raise:
  - {id: from-key, from: key.min_label}
  - {id: from-client, from: header.x-router-sensitivity}
  - {id: hr, when: {key.product: {in: [hr]}}, to: restricted}
  - {id: media, part: [image, audio, video, file], to: key.media_label}
forbid:
  - {id: home, when: {switch.all_home: {eq: true}}, targets: {location: external}}
  - {id: ci-never-pays, when: {key.group: {in: [ci]}}, targets: {location: external}}
prefer:
  - {id: premium, when: {request.tier: {gte: premium}}, min_tier: premium, then: cheapest}
  - {id: default, min_tier: request.tier, then: cheapest}
invariants:
  - {id: stays-home, never: {label: {gte: confidential}, target.location: external}}
"""
KEYS = {"shop": "qr-shop-secret", "hr": "qr-hr-secret", "ci": "qr-ci-secret"}
ADMIN_TOKEN = "admin-token-of-a-test"
PAID_KEY = "sk-key-of-the-paid-api"


def user(content: Any, **fields: Any) -> dict[str, Any]:
    """Return a request body with one user message."""
    return {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}


def completion(text: str = "Hello.", model: str = "served-model") -> dict[str, Any]:
    """Return a whole answer as an OpenAI-shaped server sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def chunk(delta: dict[str, Any] | None, *, finish: str | None = None) -> dict[str, Any]:
    """Return one chunk of a stream; without a delta, the usage chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    sent: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "served-model",
        "choices": choices,
    }
    if delta is None:
        sent["usage"] = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return sent


@dataclass
class Running:
    """A gateway that is up, and where its files are."""

    app: App
    client: httpx.AsyncClient
    folder: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the public port."""
        return self.app.public_url

    @property
    def policies(self) -> Path:
        """The policy folder."""
        return self.folder / "policies"

    async def post(
        self, body: dict[str, Any] | bytes, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """Send a chat request; header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            sent["authorization"] = f"Bearer {KEYS.get(key, key)}"
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(
            f"{self.url}/v1/chat/completions",
            content=raw,
            headers={"content-type": "application/json"} | self.headers | sent,
        )

    async def get(self, path: str, *, key: str | None = None) -> httpx.Response:
        """Look something up on the public port."""
        sent = {"authorization": f"Bearer {KEYS.get(key, key)}"} if key else {}
        return await self.client.get(f"{self.url}{path}", headers=sent)

    async def admin(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Call the admin port with its token."""
        return await self.client.request(
            method,
            f"{self.app.admin_url}{path}",
            headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
            **how,
        )

    def records(self) -> list[dict[str, Any]]:
        """Return the records that are in the file now, none where there is no file."""
        file = self.folder / "records.jsonl"
        lines = file.read_bytes().splitlines() if file.is_file() else []
        return [json.loads(line) for line in lines]

    async def settled(self) -> list[dict[str, Any]]:
        """Stop the gateway and return all its records."""
        await self.app.stop()
        return self.records()


def write_policy(folder: Path, **files: str) -> None:
    """Write the policy of this module to a folder; `rules="…"` replaces rules.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"policy": HEAD, "targets": TARGETS, "rules": RULES} | files
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def write_keys(file: Path) -> None:
    """Write a keys file with the keys of this module."""
    entries: list[dict[str, Any]] = [
        {"id": "shop", "product": "shop", "group": "prod", "team": "t1"},
        {"id": "hr", "product": "hr", "group": "prod"},
        {"id": "ci", "product": "shop", "group": "ci", "models": ["auto", "own"]},
    ]
    for entry in entries:
        entry["sha256"] = hashlib.sha256(KEYS[entry["id"]].encode()).hexdigest()
    file.write_text(json.dumps({"apiVersion": "qwen-router/v1", "keys": entries}))


@contextlib.asynccontextmanager
async def gateway(
    folder: Path,
    *,
    own: str = "http://127.0.0.1:9/v1",
    paid: str = "http://127.0.0.1:9/v1",
    env: Mapping[str, str] | None = None,
    policy: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a gateway over the policy of this module; port 9 (discard) refuses connections."""
    if not (folder / "policies").exists():
        write_policy(folder / "policies", **(policy or {}))
    write_keys(folder / "keys.yaml")
    key_file = folder / "paid-key"
    key_file.write_text(PAID_KEY)
    given: dict[str, Any] = {
        "policies": folder / "policies",
        "keys": folder / "keys.yaml",
        "records": folder / "records.jsonl",
        "records_stdout": False,
        "state": folder / "state",
        "port": 0,
        "admin_port": 0,
        "admin_token": ADMIN_TOKEN,
        "secret": "secret-of-a-test",
        "auth": "off",
        "drain_s": 2.0,
    }
    variables = {"OWN": own, "PAID": paid, "KEY_FILE": str(key_file), **(env or {})}
    app = App(Settings(**(given | settings)), variables)
    await app.start()
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            yield Running(app=app, client=client, folder=folder)
    finally:
        await app.stop()
