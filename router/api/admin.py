"""The admin port: health and metrics for everybody on it, the rest behind the admin token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from router import __version__
from router.api.answers import answer_errors
from router.api.door import router_headers
from router.errors import AdminForbidden

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from router.api.operations import Operations


def admin_app(*, operations: Operations, registry: CollectorRegistry, token: str) -> FastAPI:
    """Return the app of the admin port."""
    app = FastAPI(
        title="qwen-router admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(_health(operations, registry))
    app.include_router(_calls(operations, token))
    answer_errors(app)
    return app


def _health(operations: Operations, registry: CollectorRegistry) -> APIRouter:
    router = APIRouter()

    def answer(*, good: bool) -> Response:
        return Response(
            "ok\n" if good else "not ok\n", 200 if good else 503, media_type="text/plain"
        )

    @router.get("/livez")
    async def livez() -> Response:
        """Tell whether the event loop still answers: it did."""
        return answer(good=True)

    @router.get("/readyz")
    async def readyz() -> Response:
        """Tell whether requests should be sent here: a valid policy, and not draining."""
        return answer(good=operations.ready())

    @router.get("/startupz")
    async def startupz() -> Response:
        """Tell whether start-up is complete."""
        return answer(good=operations.started)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _calls(operations: Operations, token: str) -> APIRouter:
    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        expected = f"Bearer {token}"
        if not hmac.compare_digest(authorization.encode(), expected.encode()):
            raise AdminForbidden("Send the admin token as Authorization: Bearer TOKEN.")

    router = APIRouter(prefix="/admin", dependencies=[Depends(authorised)])

    @router.get("/status")
    async def status() -> dict[str, Any]:
        """Return the policy digest that serves, what is stopped, and how the record writer does."""
        return operations.status()

    @router.post("/explain")
    async def explain(
        request: Request,
        key: Annotated[str | None, Query()] = None,
        why_not: Annotated[str | None, Query()] = None,
    ) -> dict[str, Any]:
        """Tell what would be decided now for a request body or facts; nothing is sent."""
        ours = router_headers(request.scope["headers"])
        # The very bytes: what the gateway would refuse to parse is refused here, too.
        asked = await request.body()
        return operations.explain(asked, key=key, headers=ours, why_not=why_not)

    @router.post("/suspend/{target}")
    async def suspend(target: str) -> dict[str, Any]:
        """Stop a target within the second, for queued requests too."""
        return await operations.suspend(target)

    @router.post("/resume/{target}")
    async def resume(target: str) -> dict[str, Any]:
        """Give a suspended target back."""
        return await operations.resume(target)

    @router.post("/switch/{name}/{to}")
    async def switch(name: str, to: Literal["on", "off"]) -> dict[str, Any]:
        """Flip a switch of the policy."""
        return await operations.switch(name, on=to == "on")

    return router
