"""The record types: accounts of decisions, outcomes and changes, as typed JSON lines.

No field here may hold prompt text, a key or an upstream's words. A field is a closed enum, an id, a
name without white space, a number, or the account that `router.policy.account` makes of values that
the policy lists. `as_plain` refuses a record that does not fit its type before it is accepted, and
says where it does not fit, never what stood there.

A later version adds fields and never changes the meaning of one; `schema` counts versions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
Name = Annotated[str, Meta(pattern=r"^\S{1,200}\Z")]  # of a target, model, switch: the policy's
EnumName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]
Revision = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:+_-]{1,128}\Z")]
Place = Annotated[str, Meta(pattern=r"^[^\n]{1,300}:\d{1,7}\Z")]  # file:line of a policy
Mac = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Usd = Annotated[str, Meta(pattern=r"^\d{1,20}(\.\d{1,40})?\Z")]
Count = Annotated[int, Meta(ge=0)]
Ms = Annotated[float, Meta(ge=0)]

FactName = Annotated[str, Meta(max_length=200)]
FactText = Annotated[str, Meta(max_length=200)]
Facts = dict[FactName, bool | int | float | FactText | list[FactText]]
Account = dict[str, Any]  # what router.policy.account returns


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What every record has: the time, ISO 8601 in UTC with milliseconds, and the version."""

    at: Time
    schema: Literal[1] = 1


class DecisionMade(_Record, frozen=True, kw_only=True, tag="decision.made"):
    """A decision, refusals included, with everything that `decide` read, so it can be repeated.

    `facts`, `state` and `decision` are what `facts_account`, `state_account` and `account` return;
    `engine` and `detectors` are the revisions that judged.
    """

    id: Id
    request_id: Id
    engine: Revision
    detectors: Revision
    facts: Facts
    state: Account
    decision: Account


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One call to one target; times are milliseconds since the request arrived.

    `fault` is the name of a closed enum, null where there was none. `contacted` tells whether a
    byte of the request may have left.
    """

    target: Name
    fault: EnumName | None
    http_status: int | None
    contacted: bool
    started_ms: Ms
    first_token_ms: Ms | None
    duration_ms: Ms


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the whole request, as the upstream counted them or as we estimated."""

    input_tokens: Count
    output_tokens: Count
    cached_input_tokens: Count
    reasoning_tokens: Count
    estimated: bool


Outcome = Literal["served", "refused", "failed", "abandoned"]
FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter", "other"]


class DecisionFinished(_Record, frozen=True, kw_only=True, tag="decision.finished"):
    """How a decision ended. Durations are milliseconds; `overhead_ms` is our own share.

    `code` is the code of our error table. `served_model` is a model id of the catalog or `other`.
    """

    id: Id
    outcome: Outcome
    http_status: int | None
    code: EnumName | None
    target: Name | None
    sent_model: Name | None
    served_model: Name | None
    attempts: list[Attempt]
    finish_reason: FinishReason | None
    usage: Usage | None
    cost_usd: Usd | None
    stream: bool
    first_token_ms: Ms | None
    duration_ms: Ms
    overhead_ms: Ms


class ControlChanged(_Record, frozen=True, kw_only=True, tag="control.changed"):
    """Somebody suspended or resumed a target, or flipped a switch."""

    action: Literal["suspend", "resume", "switch_on", "switch_off"]
    name: Name


class PolicyLoaded(_Record, frozen=True, kw_only=True, tag="policy.loaded"):
    """A policy took effect, from its folder or from the last good copy."""

    digest: Revision
    previous: Revision | None
    origin: Literal["folder", "last_good"] = msgspec.field(name="from")


class PolicyRejected(_Record, frozen=True, kw_only=True, tag="policy.rejected"):
    """A policy edit was refused: the number of problems, and their places."""

    problems: Count
    places: list[Place]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The last record of a chain: who wrote it, its number from 1, its mac in hex."""

    writer: Name
    seq: Count
    mac: Mac


class ChainStarted(_Record, frozen=True, kw_only=True, tag="chain.started"):
    """The writer starts, or starts again into a new file or after an outage.

    `previous` is the head that this continues: of the writer before this boot where the file shows
    one, else of this writer, else null. `unwritten` counts the durable records that could not be
    written since the last good write; each of those requests was told so.
    """

    cause: Literal["boot", "rotation", "recovery"]
    previous: Head | None
    unwritten: Count


Record = (
    DecisionMade | DecisionFinished | ControlChanged | PolicyLoaded | PolicyRejected | ChainStarted
)


class Malformed(ValueError):
    """A record does not fit its type. The message names the field and nothing that stood in it."""


def time_text(epoch_s: float) -> str:
    """Return seconds since the epoch as the text of `at`: ISO 8601, UTC, milliseconds."""
    moment = datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"


def as_plain(record: Record) -> dict[str, Any]:
    """Return the record as plain JSON values, checked against its type.

    A decision's accounts are handed on as they are: nobody changes them once they are made. Raises
    Malformed for a value that the type does not allow.
    """
    try:
        if isinstance(record, DecisionMade):  # the large one, and flat but for its accounts
            plain = {"event": "decision.made", **msgspec.structs.asdict(record)}
        else:
            plain = msgspec.to_builtins(record)
        msgspec.convert(plain, type(record))
    except (msgspec.ValidationError, TypeError, RecursionError) as error:
        # msgspec quotes the offending value: only the path behind it may be told.
        _, found, path = str(error).rpartition(" - at `")
        where = path.rstrip("`") if found else "$"
        raise Malformed(f"{type(record).__name__}: {where} does not fit the type") from None
    return plain


def typed(plain: dict[str, Any]) -> Record:
    """Return the typed record of a line that was read; fields of later versions are left out.

    Raises Malformed where it is none of ours.
    """
    try:
        record: Record = msgspec.convert(plain, Record)
    except msgspec.ValidationError as error:
        _, found, path = str(error).rpartition(" - at `")
        where = path.rstrip("`") if found else "$"
        raise Malformed(f"{where} does not fit the type") from None
    return record
