"""Canaries: a text that stands in one place only, so that wherever it turns up, it tells the place.

Sinks are searched without regard to case, because header names are lowered on their way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FOUND = re.compile(rb"canary7f3a\d{4}")


@dataclass
class Canaries:
    """Hands out canaries and remembers where each one was put. `secrets` are given, by name."""

    secrets: dict[str, str] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)

    def __call__(self, place: str) -> str:
        """Return a new canary for a place."""
        self.places.append(place)
        return f"canary7f3a{len(self.places) - 1:04d}"

    def of(self, prefix: str) -> set[str]:
        """Return the canaries of every place that starts so."""
        return {
            f"canary7f3a{n:04d}" for n, place in enumerate(self.places) if place.startswith(prefix)
        }

    def found_in(self, sink: bytes) -> set[str]:
        """Return the places whose canary is in a sink."""
        hits = {self.places[int(hit[-4:])] for hit in FOUND.findall(sink.lower())}
        return hits | {
            name for name, text in self.secrets.items() if text.lower().encode() in sink.lower()
        }
