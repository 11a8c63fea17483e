"""Golden files: what was written once, read by a person, and must not change unseen.

UPDATE_GOLDEN=1 pytest tests/promises     # writes them anew; the diff is what is reviewed
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "golden"
VOLATILE: Final = frozenset({"mac", "prev", "received_at", "request_id", "seq", "writer"})
DECISION: Final = re.compile(r"dec_[0-9a-f]{21}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def steady(value: Any, name: str = "") -> Any:
    """Return a JSON tree in which everything that differs from run to run is replaced."""
    if isinstance(value, dict):
        # Milliseconds may be kept by target: {"first_token_ms": {"own": 12}}.
        return {k: steady(v, name if name.endswith("_ms") else k) for k, v in value.items()}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    if value is not None and (name in VOLATILE or name.endswith("_ms")):
        return f"<{name}>"
    if name == "at" and value is not None:
        return "<at>" if TIME.fullmatch(value) else value.rpartition("/")[2]
    if isinstance(value, str):
        return DIGEST.sub("<digest>", DECISION.sub("<decision>", value))
    return value


def compared(name: str, value: Any) -> tuple[list[str], list[str]]:
    """Return a value as lines, and the lines of its golden file; writes it where that is asked."""
    file = FOLDER / f"{name}.json"
    text = json.dumps(steady(value), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return text.splitlines(), file.read_text(encoding="utf-8").splitlines()
