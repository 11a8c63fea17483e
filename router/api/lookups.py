"""What a caller may look up: the models that its key may ask for, and its own decisions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import APIRouter, Depends, Request, Response

from router.api.door import request_id
from router.errors import ModelNotFound, NotFound

if TYPE_CHECKING:
    from router.api.door import Door
    from router.loading import Live
    from router.policy.document import Policy
    from router.policy.keys import Key

DECISION_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Decisions(Protocol):
    """Where decisions are found again."""

    async def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """Return the records of a decision and of its finish; None where it is not known."""


def lookups(*, door: Door, live: Live, decisions: Decisions) -> APIRouter:
    """Return the routes of the look-ups."""
    router = APIRouter(dependencies=[Depends(_with_request_id)])

    @router.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """List what this key may put in `model`: aliases first, then targets."""
        key = door.caller(request.scope["headers"]).key
        names = models_for(key, live.current.policy)
        return {"object": "list", "data": [_model(name) for name in names]}

    @router.get("/v1/models/{name}")
    async def model(request: Request, name: str) -> dict[str, Any]:
        """Return one model that this key may ask for."""
        key = door.caller(request.scope["headers"]).key
        if name not in models_for(key, live.current.policy):
            raise ModelNotFound("No such model for this key; GET /v1/models lists them.")
        return _model(name)

    @router.get("/v1/decisions/{decision_id}")
    async def decision(request: Request, decision_id: str) -> dict[str, Any]:
        """Return one of this key's own decisions: why it went where it went."""
        key = door.caller(request.scope["headers"]).key
        found = await decisions.find(decision_id) if DECISION_ID.fullmatch(decision_id) else None
        if found is None or found[0]["facts"].get("key.id") != key.id:
            raise NotFound("No such decision of this key.")
        made, finished = found
        return own_view(made, finished, key)

    return router


def _with_request_id(request: Request, response: Response) -> None:
    response.headers["x-request-id"] = request_id(request.scope["headers"])


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "qwen-router"}


def models_for(key: Key, policy: Policy) -> list[str]:
    """Return the aliases and the enabled targets that a key may ask for."""
    enabled = (name for name, target in policy.targets.items() if target.disabled is None)
    names = [*sorted(policy.aliases), *sorted(enabled)]
    return [name for name in names if key.models is None or name in key.models]


def own_view(made: dict[str, Any], finished: dict[str, Any] | None, key: Key) -> dict[str, Any]:
    """Return a decision as its caller may see it: verdicts only of targets that it may know of."""
    decision = dict(made["decision"])
    if key.models is not None:
        answered = finished["target"] if finished else None
        known = key.models | {answered}
        targets = {name: v for name, v in decision["targets"].items() if name in known}
        plan = [name for name in decision["plan"] if name in known]
        decision |= {"targets": targets, "plan": plan}
        decision["order"] = {**decision["order"], "objective": None}
    return {
        "id": made["id"],
        "object": "decision",
        "at": made["at"],
        "request_id": made["request_id"],
        "decision": decision,
        "outcome": finished and finished["outcome"],
        "finish": finished
        and {
            name: finished[name]
            for name in ("http_status", "code", "target", "usage", "cost_usd", "duration_ms")
        },
    }
