"""The facts: what is known about one request before deciding, by name.

`Facts` holds what came with the request (trusted from the key, declared by the caller, measured on
the body). Facts that follow from them under a policy (`label`, `request.tier`, `time.*`, costs) are
derived inside `decide`, so that recorded facts can be decided again under another policy.

`SPECS` is the table of every fact that a rule may name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from router.policy.conditions import EQUALITY, MEMBERSHIP, ORDER
from router.policy.values import ABSENT, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

MODALITIES: Final = ("text", "image", "audio", "video", "file")
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

SENSITIVITY_HEADER: Final = "header.x-router-sensitivity"
TIER_HEADER: Final = "header.x-router-tier"
HEADER_PREFIX: Final = "header.x-router-"
METADATA_PREFIX: Final = "request.metadata."
SWITCH_PREFIX: Final = "switch."


class Kind(Enum):
    """The type of a fact, which says what operators and literals fit it."""

    NAME = "a declared name"
    LABEL = "a label"
    TIER = "a tier"
    BOOL = "true or false"
    SET = "a set of names"
    NUMBER = "a number"
    DATE = "a date"


OPERATORS_OF: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.NAME: EQUALITY,
    Kind.LABEL: EQUALITY + ORDER,
    Kind.TIER: EQUALITY + ORDER,
    Kind.BOOL: ("eq", "ne"),
    Kind.SET: MEMBERSHIP,
    Kind.NUMBER: ("eq", "ne", *ORDER),
    Kind.DATE: EQUALITY + ORDER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a rule may do with one fact.

    `choices` is the closed list of literals where the language itself fixes it; `given` is true for
    facts that come with the request and false for those that `decide` derives; `per_target` facts
    are judged target by target, so only `forbid` and `invariants` may name them.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    given: bool = True
    per_target: bool = False


SPECS: Final[dict[str, Spec]] = {
    "key.id": Spec(kind=Kind.NAME),
    "key.product": Spec(kind=Kind.NAME),
    "key.team": Spec(kind=Kind.NAME),
    "key.group": Spec(kind=Kind.NAME),
    "key.tier": Spec(kind=Kind.TIER),
    "key.max_tier": Spec(kind=Kind.TIER),
    "key.min_label": Spec(kind=Kind.LABEL),
    "key.media_label": Spec(kind=Kind.LABEL),
    "request.model": Spec(kind=Kind.NAME),
    "request.tier": Spec(kind=Kind.TIER, given=False),
    "request.input": Spec(kind=Kind.SET, choices=MODALITIES),
    "request.output": Spec(kind=Kind.SET, choices=MODALITIES),
    "request.tools": Spec(kind=Kind.BOOL),
    "request.json": Spec(kind=Kind.BOOL),
    "request.thinking": Spec(kind=Kind.BOOL),
    "request.stream": Spec(kind=Kind.BOOL),
    "request.bucket": Spec(kind=Kind.NUMBER),
    SENSITIVITY_HEADER: Spec(kind=Kind.LABEL),
    TIER_HEADER: Spec(kind=Kind.TIER),
    "label": Spec(kind=Kind.LABEL, given=False),
    "input_tokens_estimated": Spec(kind=Kind.NUMBER),
    "output_tokens_estimated": Spec(kind=Kind.NUMBER, given=False),
    "cost_usd_p50_estimated": Spec(kind=Kind.NUMBER, given=False, per_target=True),
    "cost_usd_p95_estimated": Spec(kind=Kind.NUMBER, given=False, per_target=True),
    "target.name": Spec(kind=Kind.NAME, given=False, per_target=True),
    "target.location": Spec(
        kind=Kind.NAME, choices=("cluster", "external"), given=False, per_target=True
    ),
    "time.hour": Spec(kind=Kind.NUMBER, given=False),
    "time.weekday": Spec(kind=Kind.NAME, choices=WEEKDAYS, given=False),
    "time.date": Spec(kind=Kind.DATE, given=False),
}

# Facts that come with a request and steer the decision, but that no rule may name: the requested
# features and fields (matched against each target's `can`), the key's model list, the trusted user
# (a keyed hash), the asked output limit, the number of answers where it is more than one, and the
# time of arrival in seconds since the epoch.
UNRULED: Final = {
    "key.models": Kind.SET,
    "request.user": Kind.NAME,
    "request.needs": Kind.SET,
    "request.fields": Kind.SET,
    "request.max_output": Kind.NUMBER,
    "request.n": Kind.NUMBER,
    "received_at": Kind.NUMBER,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What came with one request. A name that is not there is ABSENT.

    Values are names, numbers, truth values and sets of names, never text of the request.
    """

    values: Mapping[str, Value]

    def get(self, name: str) -> Value:
        """Return the value of `name`, ABSENT where there is none."""
        return self.values.get(name, ABSENT)

    def names(self, name: str) -> frozenset[str]:
        """Return a set-valued fact, empty where it is ABSENT or UNKNOWN."""
        value = self.values.get(name)
        return value if isinstance(value, frozenset) else frozenset()

    def flag(self, name: str) -> bool | None:
        """Return a truth-valued fact, None where it is ABSENT or UNKNOWN."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else None

    def count(self, name: str) -> int | None:
        """Return a whole-number fact, None where it is ABSENT or UNKNOWN."""
        value = self.values.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
