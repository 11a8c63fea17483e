"""Records as the gateway makes them, from a real decision, for the tests of this folder."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from router.policy.account import account, facts_account, state_account
from router.policy.conditions import Atom
from router.policy.decide import ENGINE_REVISION, decide
from router.policy.document import Policy
from router.policy.facts import Facts
from router.policy.prices import GpuPrice, Tier, TokenPrice
from router.policy.rules import Alias, Forbid, Prefer, Raise
from router.policy.scale import Scale
from router.policy.state import State
from router.policy.targets import Attribute, Capabilities, Deadlines, Target
from router.policy.values import ABSENT, OTHER, Value
from router.records.schema import (
    Attempt,
    ControlChanged,
    DecisionFinished,
    DecisionMade,
    PolicyLoaded,
    PolicyRejected,
    Record,
    Usage,
)
from router.records.writer import RecordWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECRET = b"a secret of the tests, 32 bytes!"
AT = "2026-11-21T23:54:19.123Z"
DEADLINES = Deadlines(connect_s=2, first_token_s=60, idle_s=30, total_s=600)

OPEN = Target(
    name="qwen-open",
    location="cluster",
    upstream="vllm",
    base_url="http://127.0.0.1:8000/v1",
    model="Qwen/Qwen3.6-27B",
    clearance="restricted",
    tier={"text": "standard", "vision": "standard"},
    can=Capabilities(
        input=frozenset({"text", "image", "video"}),
        tools=True,
        json_schema=True,
        thinking="switchable",
        context=262_144,
        max_output=65_536,
    ),
    price=GpuPrice(
        gpu_hour_usd=Decimal("2.50"),
        gpus=2,
        input_tokens_per_s=Decimal(9000),
        output_tokens_per_s=Decimal(1500),
    ),
    marginal="sunk",
    deadlines=DEADLINES,
    at="targets.yaml:3",
)
MAX = Target(
    name="qwen-max",
    location="external",
    upstream="dashscope",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    model="qwen3.7-max",
    clearance="internal",
    tier={"text": "premium"},
    can=Capabilities(
        input=frozenset({"text"}),
        tools=True,
        json_object=True,
        thinking="switchable",
        context=991_808,
        max_output=65_536,
    ),
    price=TokenPrice(
        as_of="2026-10-01",
        per_million=(Tier(up_to=991_808, input=Decimal("2.50"), output=Decimal("7.50")),),
    ),
    marginal="price",
    deadlines=DEADLINES,
    at="targets.yaml:17",
)
POLICY = Policy(
    digest="3f" * 32,
    labels=Scale(order=("public", "internal", "confidential", "restricted"), default="internal"),
    on_unknown="restricted",
    tiers=Scale(order=("basic", "standard", "premium"), default="standard"),
    time_zone=ZoneInfo("Asia/Shanghai"),
    names={"key.group": frozenset({"prod", "ci"}), "request.metadata.purpose": frozenset({"eval"})},
    switches=frozenset({"all_home"}),
    targets={"qwen-open": OPEN, "qwen-max": MAX},
    aliases={"auto": Alias(name="auto")},
    raises=(Raise(id="from-key", at="sensitivity.yaml:3", source="key.min_label"),),
    forbids=(
        Forbid(
            id="ci-never-pays",
            at="cost.yaml:2",
            when=Atom(fact="key.group", op="in", literal=("ci",)),
            targets=Attribute("location", frozenset({"external"})),
            message="CI uses our own models",
        ),
    ),
    prefers=(Prefer(id="default", at="quality.yaml:2", then="cheapest", min_tier_requested=True),),
)
VALUES: dict[str, Value] = {
    "key.id": "k-shop",
    "key.product": "shop",
    "key.group": "ci",
    "key.team": ABSENT,
    "key.max_tier": "premium",
    "key.min_label": "internal",
    "request.model": "auto",
    "request.input": frozenset({"text"}),
    "request.output": frozenset({"text"}),
    "request.tools": False,
    "request.json": False,
    "request.stream": True,
    "request.bucket": 17,
    "request.fields": frozenset({"messages", "model", "stream"}),
    "request.metadata.purpose": OTHER,
    "input_tokens_estimated": 331,
    "received_at": 1_763_769_259.0,
}
FACTS = Facts(VALUES)
STATE = State(first_token_ms={"qwen-open": 120, "qwen-max": 310})


def made(key: str = "d-1") -> DecisionMade:
    """Return the record of one real decision."""
    return DecisionMade(
        at=AT,
        id=key,
        request_id=f"r-{key}",
        engine=ENGINE_REVISION,
        detectors="none",
        facts=facts_account(FACTS),
        state=state_account(STATE),
        decision=account(decide(FACTS, POLICY, STATE)),
    )


def finished(key: str = "d-1") -> DecisionFinished:
    """Return the record of its end, after a fault and a second attempt."""
    return DecisionFinished(
        at=AT,
        id=key,
        outcome="served",
        http_status=200,
        code=None,
        target="qwen-open",
        sent_model="Qwen/Qwen3.6-27B",
        served_model="Qwen/Qwen3.6-27B",
        attempts=[
            Attempt(
                target="qwen-max",
                fault="connect_refused",
                http_status=None,
                contacted=False,
                started_ms=0.4,
                first_token_ms=None,
                duration_ms=1.25,
            ),
            Attempt(
                target="qwen-open",
                fault=None,
                http_status=200,
                contacted=True,
                started_ms=2.0,
                first_token_ms=80.5,
                duration_ms=412.0,
            ),
        ],
        finish_reason="stop",
        usage=Usage(
            input_tokens=330,
            output_tokens=120,
            cached_input_tokens=0,
            reasoning_tokens=0,
            estimated=False,
        ),
        cost_usd="0.000162",
        stream=True,
        first_token_ms=80.5,
        duration_ms=414.0,
        overhead_ms=0.375,
    )


CHANGED = ControlChanged(at=AT, action="suspend", name="qwen-max")
LOADED = PolicyLoaded(at=AT, digest="3f" * 32, previous=None, origin="folder")
REJECTED = PolicyRejected(at=AT, problems=2, places=["cost.yaml:14", "targets.yaml:3"])
EVERY: dict[str, Record] = {
    "decision.made": made(),
    "decision.finished": finished(),
    "control.changed": CHANGED,
    "policy.loaded": LOADED,
    "policy.rejected": REJECTED,
}


def writer(file: Path | None, **other: object) -> RecordWriter:
    """Return a writer to `file`, not started, without copies unless told otherwise."""
    options: dict[str, object] = {"owner": "gw/0", "stdout": None, "capacity": 100_000}
    return RecordWriter(secret=SECRET, file=file, **(options | other))  # type: ignore[arg-type]


def write_all(file: Path, records: Sequence[Record], **other: object) -> None:
    """Write records in one boot of a gateway."""
    one = writer(file, **other)
    one.start()
    for record in records:
        one.accept(record)
    assert one.close(30) == 0
