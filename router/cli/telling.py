"""The demo's requests, and what must come of each under the shipped policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

# One transparent pixel.
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA"
    "60e6kgAAAABJRU5ErkJggg=="
)
REPORT: Final = "The quarterly report, once more in full. " * 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One request of the demo, and what must come of it."""

    name: str
    content: Any = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    label: str
    own: bool = False
    target: str | None = None
    refused: str | None = None


TELLING: Final = (
    Telling(
        name="a public question",
        content="Why is the sky blue?",
        headers={"x-router-sensitivity": "public"},
        label="public",
        own=True,
    ),
    Telling(
        name="one marked confidential",
        content="Summarise our unannounced merger.",
        headers={"x-router-sensitivity": "confidential", "x-router-tier": "premium"},
        label="confidential",
        own=True,
    ),
    Telling(
        name="one with an image",
        content=[
            {"type": "text", "text": "What is on this picture?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ],
        headers={"x-router-sensitivity": "public"},
        label="restricted",
        own=True,
    ),
    Telling(
        name="a premium one",
        content="Prove that there are infinitely many primes.",
        headers={"x-router-sensitivity": "public", "x-router-tier": "premium"},
        label="public",
        target="qwen3.7-max",
    ),
    Telling(
        name="300,000 tokens",
        content=REPORT,
        headers={"x-router-sensitivity": "public"},
        label="public",
        target="qwen3.7-plus",
    ),
    Telling(
        name="300,000 tokens, confidential",
        content=REPORT,
        headers={"x-router-sensitivity": "confidential"},
        label="confidential",
        refused="context_length_exceeded",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of one request of the demo."""

    told: Telling
    status: int
    answer: dict[str, Any] = field(repr=False)
    decision: dict[str, Any] = field(repr=False)

    @property
    def label(self) -> str:
        """The label that the gateway gave."""
        return str(self.decision["decision"]["label"]["value"])

    @property
    def target(self) -> str | None:
        """The target that answered."""
        finish = self.decision["finish"]
        return str(finish["target"]) if finish and finish["target"] else None

    @property
    def refused(self) -> str | None:
        """The error code of a refusal."""
        refusal = self.decision["decision"]["refusal"]
        return str(refusal["code"]) if refusal else None

    def as_expected(self) -> bool:
        """Tell whether it came as it must."""
        told = self.told
        if self.label != told.label or self.refused != told.refused:
            return False
        if told.refused:
            return True
        at_home = bool(self.target) and str(self.target).startswith("qwen-open")
        return self.status == 200 and (at_home if told.own else self.target == told.target)
