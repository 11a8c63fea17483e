"""README.md is run: every fenced block, in order; its tables are those of the code.

How a block is tested, which whoever writes README.md follows:

```sh         Run by bash. All blocks share one session, in order: variables stay, and so does the
              working folder, a copy of this repository without .venv, whose commands
              (`qwen-router`, `python`) are on PATH. ROUTER_* and key variables of the machine are
              not there; QWEN_OPEN_URL, QWEN_OPEN_MOE_URL, DASHSCOPE_BASE_URL and DASHSCOPE_API_KEY
              are those of stand-in models on loopback. Every command must end with exit code 0,
              or the block with N where `<!-- run: exit N -->` stands above it. A command that ends
              in `&` is waited for until a gateway is ready, and goes on until the end, or until
              `kill %N` ends it. Ports 8080 and 8081 are replaced by free ones.
              Lines that begin with `git clone`, `cd` or `make` are looked at, not run: targets must
              be in the Makefile.
```text, ```json   Right below an ```sh or ```python block: its standard output. `…` stands for any
              text, white space counts as one space. JSON is compared as values: `"…": "…"` in an
              object stands for any other keys, a last item "…" for any others.
```python     Run by the session's python: exit code 0.
```yaml       A policy's file, or a part of one, laid over the shipped policies and loaded: a rule
              with a shipped id takes its place, others come on top; `targets` and `aliases` are
              added to, by name; whatever else is there takes the place of what ships.
              `<!-- run: keys -->` above it: a file of keys.
anything else `<!-- run: no, REASON -->` above the fence: a sketch, a folder tree, another machine's
              command. Allowed for any block, needed for every language that is not named here.

Tables that come from the code stand between `<!-- NAME -->` and `<!-- /NAME -->`, each on a line
of its own; NAME is `settings`, `errors` or `facts`. `.venv/bin/python -m tests.readme` prints them,
and with `--write` puts them into README.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from shutil import copy2, copytree
from typing import Any

import pytest
import yaml

from router.cli.standins import stand_in
from router.loading import load_keys, load_policy
from router.loading.yaml import parse
from tests import readme

SESSION_S = 90
STAND_IN_KEY = "sk-stand-in"
RULES = ("forbid", "raise", "shape", "invariants")
ADDED_TO = ("targets", "aliases", "names")
# Resolved in the shipped policies; the defaults do where there is none.
NOWHERE: dict[str, str] = {}


@pytest.fixture(scope="module")
def markdown() -> str:
    """Return the page."""
    return readme.README.read_text(encoding="utf-8")


def test_every_block_is_of_a_kind_that_is_tested(markdown: str) -> None:
    """A block is run, compared, loaded, or says why not; what `make` is told to do exists."""
    found = readme.blocks(markdown)
    makefile = (readme.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.partition(":")[0] for line in makefile.splitlines() if ":" in line}
    made = {name for b in found if b.kind == "sh" for name in readme.MAKE.findall(b.text)}

    assert found
    assert [f"README.md:{b.line}: {b.language}" for b in found if b.kind is None] == []
    assert made <= targets


async def test_every_block_runs_and_prints_what_the_page_says(
    markdown: str, tmp_path: Path
) -> None:
    """Whoever follows the page from top to bottom sees what it shows."""
    found = readme.blocks(markdown)
    run = [block for block in found if block.kind in {"sh", "python"}]
    out = tmp_path / "out"
    out.mkdir()
    script = tmp_path / "session.sh"
    ports = _free_ports("8080", "8081")
    script.write_text(readme.session(run, ports, out), encoding="utf-8")
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(stand_in("vllm"))
        paid = await stack.enter_async_context(stand_in("dashscope", key=STAND_IN_KEY))
        environment = {
            "QWEN_OPEN_URL": own.url,
            "QWEN_OPEN_MOE_URL": own.url,
            "DASHSCOPE_BASE_URL": paid.url,
            "DASHSCOPE_API_KEY": STAND_IN_KEY,
            "ROUTER_PORT": str(ports["8080"]),
            "ROUTER_ADMIN_PORT": str(ports["8081"]),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
        }
        told = await _bash(script, _copy(tmp_path / "checkout"), environment)
    at = (out / "now").read_text(encoding="utf-8").strip()

    assert at == "end", f"README.md:{at} failed:\n{_output(out, at)}{told}"
    wrong = [
        f"README.md:{block.line} says\n{block.text}and it is\n{_output(out, str(block.above.line))}"
        for block in found
        if block.kind == "output" and block.above is not None
        if not readme.agrees(block, (out / f"{block.above.line}.out").read_text(encoding="utf-8"))
    ]
    assert wrong == [], "\n\n".join(wrong)


def test_every_policy_on_the_page_loads(markdown: str, tmp_path: Path) -> None:
    """A rule that is shown can be copied into the shipped policies as it stands."""
    for block in readme.blocks(markdown):
        if block.kind == "policy":
            problems: list[Any] = []
            parse(block.text, f"README.md:{block.line}", problems)
            folder = tmp_path / str(block.line)
            _overlaid(yaml.safe_load(block.text), folder)

            assert problems == []
            load_policy(folder, NOWHERE)
        if block.kind == "keys":
            file = tmp_path / f"{block.line}.yaml"
            file.write_text(block.text, encoding="utf-8")

            load_keys(file, load_policy(readme.ROOT / "policies", NOWHERE).policy)


@pytest.mark.parametrize("name", readme.TABLES)
def test_a_table_on_the_page_is_that_of_the_code(markdown: str, name: str) -> None:
    """Settings, errors and facts are listed as they are; the failure prints the right table."""
    right = readme.TABLES[name]()

    assert readme.table_in(markdown, name) == right, (
        f"`.venv/bin/python -m tests.readme --write` puts it there, between <!-- {name} --> and "
        f"<!-- /{name} -->:\n{right}"
    )


def test_outputs_are_compared_to_the_letter_but_for_the_wildcard() -> None:
    """A wrong word in an expected output is seen, in text and in JSON, whatever is open."""
    text = "```sh\nx\n```\n```text\na … c\n```\n"
    tree = '```sh\nx\n```\n```json\n{"a": "b…", "l": [1, "…"], "…": "…"}\n```\n'
    (_, line), (_, json) = readme.blocks(text), readme.blocks(tree)

    assert readme.agrees(line, "a  b\nc\n")
    assert not readme.agrees(line, "a b d\n")
    assert readme.agrees(json, '{"l": [1, 2], "more": 3, "a": "bcd"}')
    assert not readme.agrees(json, '{"l": [2, 2], "more": 3, "a": "bcd"}')
    assert not readme.agrees(json, '{"l": [1], "a": "c"}')


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        held = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: one.getsockname()[1] for name, one in held.items()}


def _copy(folder: Path) -> Path:
    """Copy what a checkout would have: tracked files and new ones, nothing that git ignores."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        told = subprocess.run(listed, cwd=readme.ROOT, check=True, capture_output=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive
        copytree(readme.ROOT / "policies", folder / "policies")
        return folder
    for name in filter(None, told.stdout.decode().split("\0")):
        if (readme.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(readme.ROOT / name, folder / name)
    return folder


async def _bash(script: Path, folder: Path, environment: dict[str, str]) -> str:
    """Run a script to its end; return what it says beside what the blocks print."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        str(script),
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), SESSION_S)
    except TimeoutError:
        return f"it took longer than {SESSION_S} s"
    finally:
        # Only what the script started is in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return told.decode()


def _output(out: Path, line: str) -> str:
    files = (out / f"{line}.{stream}" for stream in ("out", "err"))
    return "".join(file.read_text(encoding="utf-8") for file in files if file.exists())


def _overlaid(part: dict[str, Any], folder: Path) -> None:
    """Write the shipped policies with a part of one laid over them."""
    copytree(readme.ROOT / "policies", folder, ignore=lambda *_: ["tests"])
    added = {section: rules for section, rules in part.items() if section in RULES}
    mine = {rule["id"] for rules in added.values() for rule in rules}
    for file in folder.glob("*.yaml"):
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        for section in set(RULES) & tree.keys():
            kept = [rule for rule in tree[section] if rule["id"] not in mine]
            tree[section] = added.pop(section, []) + kept
        for section in (tree.keys() & part.keys()) - set(RULES) - {"files", "apiVersion"}:
            laid = part[section]
            tree[section] = {**tree[section], **laid} if section in ADDED_TO else laid
        file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    assert not added, f"no shipped file has {', '.join(added)}"
