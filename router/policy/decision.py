"""The decision and its parts: values only, compared without file:line (that is no part of it)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from router.policy.values import Value


class Stage(StrEnum):
    """Why a target is not eligible, in the order in which a refusal looks for its code."""

    MODEL = "model"
    CLEARANCE = "clearance"
    CAPABILITY = "capability"
    CONTEXT = "context"
    FORBID = "forbid"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason against one target: stage, code, the rule and its place, the facts it read."""

    stage: Stage
    code: str
    rule: str | None = None
    at: str | None = field(default=None, compare=False)
    facts: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One target: eligible, or removed with every reason. Costs are USD, estimated."""

    target: str
    reasons: tuple[Reason, ...] = ()
    cost_usd_p50: Decimal | None = None
    cost_usd_p95: Decimal | None = None

    @property
    def eligible(self) -> bool:
        """Whether nothing removed the target."""
        return not self.reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSource:
    """One thing that spoke for a label: a rule, or the policy's default where none spoke."""

    label: str
    rule: str
    at: str | None = field(default=None, compare=False)
    facts: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The request's label, and everything that spoke for one, highest first."""

    value: str
    because: tuple[LabelSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """The request's knobs after defaults and caps. None: not set, the target's own default."""

    thinking: bool | None = None
    max_output: int | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """How the plan was ordered: the `prefer` that applied (None: by price), objective, floor."""

    rule: str | None
    at: str | None = field(default=None, compare=False)
    objective: str | tuple[str, ...]
    min_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why nothing may be tried: the stage that emptied the set, and the rule's own message."""

    stage: Stage
    code: str
    http_status: int
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for one request, and why. `plan` is sealed: nothing is ever added to it.

    `degraded` lists wishes that the plan's first target does not meet. `fired` lists the rules that
    applied, in the policy's order.
    """

    policy: str
    label: Label
    tier: str
    shaped: Shaped
    input_tokens: int
    output_tokens_p50: int
    output_tokens_p95: int
    verdicts: Mapping[str, Verdict]
    order: Ordering
    plan: tuple[str, ...]
    degraded: tuple[str, ...]
    fired: tuple[str, ...]
    refusal: Refusal | None
