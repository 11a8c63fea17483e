"""The core is pure: it imports the standard library and the error table, and touches nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "router" / "policy"
MODULES = sorted(CORE.glob("*.py"))
# Standard modules that would let the world in: clocks, chance, logs, files, sockets, processes.
WORLDLY = set(
    "asyncio io logging os pathlib random secrets socket subprocess sys tempfile threading time "
    "urllib uuid".split()
)

DECIDE = """
import sys
from router.policy.decide import decide
from router.policy.state import State
from tests.policy.builders import decided, facts, forbid, policy

rules = policy(forbids=(forbid({"time.hour": {"gte": 0}, "cost_usd_p95_estimated": {"gt": 0}}),))
first = decide(facts(), rules, State())
seen = []
sys.addaudithook(lambda event, args: seen.append(event))
assert decide(facts(), rules, State()) == first
assert decide(facts({"request.model": "best"}), policy(), State(unrecorded=True)).plan == ("own",)
heard = sorted({event for event in seen if not event.startswith(("object.", "sys._getframe"))})
print(heard)
"""


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or ".")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports(path: Path) -> None:
    """A module of the core imports the standard library, the core and `router.errors` only."""
    ours = {name for name in _imported(path) if name.split(".")[0] == "router"}
    others = {name.split(".")[0] for name in _imported(path) - ours}

    assert {n for n in ours if not n.startswith("router.policy.")} <= {"router.errors"}
    assert others <= sys.stdlib_module_names
    assert not others & WORLDLY


def test_deciding_opens_nothing() -> None:
    """Deciding raises no audit event: no file, socket, process or import."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", DECIDE],
        cwd=CORE.parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout == "[]\n"
