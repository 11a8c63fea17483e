"""The rules of the house, each as something that runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from router import errors

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "pyproject.toml",
    "README.md",
    "router",
    "policies",
    "tests",
    "charts",
    "Makefile",
    "Dockerfile",
    "LICENSE",
    "CHANGELOG.md",
    "requirements.lock",
}
# What tools leave behind; .gitignore names them.
LEFT_BEHIND = {"build", "dist"}
ADDRESS = re.compile(r"https?://|--(extra-)?index-url|--find-links|\bgit\+", re.IGNORECASE)
# What a library reads where a module of ours makes a class of the library's.
LIBRARIES_OWN = {"PYDANTIC_DISABLE_PLUGINS"}
# Imports every module, after the libraries that they use, while an audit hook watches. A module may
# read code and what belongs to an installed distribution; the environment tells who asks it.
WATCH = r"""
import importlib, json, logging, os, pkgutil, signal, sys, warnings
import aiohttp, aiohttp.web, fastapi, httpx, prometheus_client, pydantic_settings, structlog
import typer, uvicorn, uvloop, yaml
import rich.console, rich.table, typer.testing, msgspec, email.utils, importlib.metadata, asyncio

ROOT = os.getcwd() + os.sep + "router" + os.sep
seen = []

def ours():
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT):
            return frame.f_code.co_name == "<module>"
        frame = frame.f_back
    return False

class Environment(dict):
    def __getitem__(self, name):
        if ours(): seen.append(["environment", str(name)])
        return super().__getitem__(name)
    def get(self, name, default=None):
        if ours(): seen.append(["environment", str(name)])
        return super().get(name, default)

QUIET = (".py", ".pyc", ".so", ".pth")

def hook(event, args):
    if event == "open":
        path, mode = str(args[0]), args[1]
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        if not writes and (path.endswith(QUIET) or "__pycache__" in path):
            return
        if "site-packages" in path and not writes or "__pycache__" in path:
            return
    elif event not in WATCHED:
        return
    if ours():
        seen.append([event, str(args[0])[:80]])

WATCHED = {
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.__new__", "subprocess.Popen",
    "os.mkdir", "os.putenv", "os.unsetenv", "os.rename", "os.remove", "signal.signal",
    "_thread.start_new_thread", "shutil.rmtree",
}
before = (logging.root.level, list(logging.root.handlers), structlog.is_configured(),
          list(warnings.filters), sys.excepthook, signal.getsignal(signal.SIGTERM))
real = os.environ
os.environ = Environment(real)
sys.addaudithook(hook)
import router
names = sorted(m.name for m in pkgutil.walk_packages(router.__path__, "router."))
for name in names:
    if name != "router.__main__":
        importlib.import_module(name)
os.environ = real
after = (logging.root.level, list(logging.root.handlers), structlog.is_configured(),
         list(warnings.filters), sys.excepthook, signal.getsignal(signal.SIGTERM))
heavy = sorted({"litellm", "openai", "duckdb", "valkey"} & sys.modules.keys())
print(json.dumps({"names": names, "seen": seen, "same": before == after, "heavy": heavy}))
"""


def leaves() -> list[type[errors.ApiError]]:
    """Return every class of the error tree but its root."""
    found: list[type[errors.ApiError]] = []
    fresh = [errors.ApiError]
    while fresh:
        fresh = [child for parent in fresh for child in parent.__subclasses__()]
        found += fresh
    return found


def test_the_import_contracts_hold() -> None:
    """Imports point down the page, the policy core is pure, and only upstreams dial."""
    done = subprocess.run(  # noqa: S603 - a tool of the project
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]

    assert done.returncode == 0, done.stdout
    assert f"{len(contracts['contracts'])} kept, 0 broken" in done.stdout


def test_importing_has_no_effect() -> None:
    """Importing any module reads no environment, opens nothing, configures nothing."""
    done = subprocess.run(  # noqa: S603 - the text above
        [sys.executable, "-c", WATCH], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert {"router.app", "router.cli.demo", "router.upstreams.litellm"} <= set(told["names"])
    assert [one for one in told["seen"] if one[1] not in LIBRARIES_OWN] == []
    assert told["same"]
    assert told["heavy"] == []


def test_every_requirement_is_locked_with_hashes() -> None:
    """Each line of the lock file names one version and its hashes; nothing says where from."""
    lock = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.strip())
    bare = [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry]
    loose = [entry.split()[0] for entry in entries if "==" not in entry.split()[0]]

    assert len(entries) > 30
    assert bare == []
    assert loose == []


def test_every_dependency_is_in_the_lock_file() -> None:
    """What the project asks for, extras and tools included, is what the lock file pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *(r for extra in project["project"]["optional-dependencies"].values() for r in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-") for line in asked}
    lock = (ROOT / "requirements.lock").read_text()
    pinned = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}

    assert names - pinned == set()


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml", "Makefile", ".ci/run"])
def test_no_index_address_is_written_down(name: str) -> None:
    """Where packages come from is the machine's business."""
    assert ADDRESS.search((ROOT / name).read_text()) is None


def test_the_top_level_holds_what_it_should() -> None:
    """A newcomer sees the parts of the project and nothing else; there is one lock file."""
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert there - ALLOWED - LEFT_BEHIND == set()
    assert [path.name for path in ROOT.glob("*.lock")] == ["requirements.lock"]


def test_each_error_states_all_four() -> None:
    """Status, type, code and retryable are stated by every error; the root has no defaults."""
    stated = ("status", "type", "code", "retryable")

    assert not any(hasattr(errors.ApiError, name) for name in stated)
    for kind in leaves():
        assert all(hasattr(kind, name) for name in stated), kind
        assert kind.__doc__
    codes = [kind.code for kind in leaves()]
    assert len(codes) == len(set(codes))


def test_the_error_tree_is_the_one_that_is_drawn() -> None:
    """The docstring of the module lists each class with its status, children under parents."""
    drawn = []
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│ ]*[├└]── )?([A-Z]\w+)(?: +(\d{3}))?", line)
        if found:
            depth = len(found[1] or "") // 4
            stack[depth:] = [found[2]]
            drawn.append((found[2], stack[depth - 1] if depth else None, found[3]))
    kinds = {kind.__name__: kind for kind in leaves()}

    assert drawn[0] == ("ApiError", None, None)
    assert {(name, parent) for name, parent, _ in drawn[1:]} == {
        (name, kind.__mro__[1].__name__) for name, kind in kinds.items()
    }
    assert len(drawn) == len(kinds) + 1
    for name, parent, status in drawn[1:]:
        wanted = kinds[name].status
        assert status == str(wanted) or (status is None and kinds[str(parent)].status == wanted)
