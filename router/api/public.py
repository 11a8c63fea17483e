"""The public port: chat completions, models, a caller's own decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.routing import Route

from router import __version__
from router.api.answers import answer_errors
from router.api.lookups import lookups

if TYPE_CHECKING:
    from router.api.chat import ChatRoute
    from router.api.door import Door
    from router.api.lookups import Decisions
    from router.loading import Live

DESCRIPTION = """One OpenAI-compatible endpoint. `POST /v1/chat/completions` takes OpenAI's
create-chat-completion schema; the routing policy decides which model answers."""


def public_app(*, chat: ChatRoute, door: Door, live: Live, decisions: Decisions) -> FastAPI:
    """Return the app of the public port."""
    # No HTML documentation: its page would load scripts from somebody else's server.
    app = FastAPI(
        title="qwen-router",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # First, so that a chat request matches at the first look.
    app.router.routes.insert(0, Route("/v1/chat/completions", chat, methods=["POST"]))
    app.include_router(lookups(door=door, live=live, decisions=decisions))
    answer_errors(app)
    return app
