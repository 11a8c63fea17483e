"""`qwen-router demo --once`: what a newcomer sees first, and that it costs nobody a cent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = {
    "a public question": ("public", "qwen-open"),
    "one marked confidential": ("confidential", "qwen-open"),
    "one with an image": ("restricted", "qwen-open"),
    "a premium one": ("public", "qwen3.7-max"),
    "300,000 tokens": ("public", "qwen3.7-plus"),
    "300,000 tokens, confidential": ("confidential", "refused: 400"),
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def demo(policies: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in an environment of these variables only."""
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "router", "demo", "--once", "--policies", str(policies)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def rows(printed: str) -> dict[str, tuple[str, str]]:
    """Return label and target of each request in the printed table."""
    cells = [[cell.strip() for cell in line.split("│")] for line in printed.splitlines()]
    return {row[1]: (row[2], row[3]) for row in cells if len(row) > 4 and row[1] and row[2]}


def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """Each telling request gets its label and its target, and the exit code says so."""
    done = demo(ROOT / "policies", HOME=str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == ROWS
    assert "This is a stand-in for" in done.stdout
    assert done.stderr == ""


def test_the_demo_fails_where_the_policy_sends_elsewhere(tmp_path: Path) -> None:
    """With a paid model cleared for nothing, what is expected of it does not come: exit code 1."""
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies, ignore=shutil.ignore_patterns("tests"))
    targets = policies / "targets.yaml"
    text = targets.read_text().replace("clearance: internal", "clearance: public")
    premium = text.replace("tier: {text: premium}", "tier: {text: basic}")
    targets.write_text(premium)
    done = demo(policies)

    assert done.returncode == 1, done.stdout
    assert "NOT as expected: a premium one" in done.stdout


def test_the_demo_sends_no_inherited_key_anywhere(tmp_path: Path) -> None:
    """A real key and real addresses in the environment are neither used nor shown.

    The paid stand-in answers its own key only, so that all answers came says which key it got; and
    whoever listens at the inherited addresses, or at a proxy, hears nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}"
        names = ("DASHSCOPE_BASE_URL", "QWEN_OPEN_URL", "QWEN_OPEN_MOE_URL", *PROXIES)
        inherited = dict.fromkeys(names, url)
        key = {"DASHSCOPE_API_KEY": "sk-inherited", "OPENAI_API_KEY": "sk-inherited"}
        done = demo(ROOT / "policies", HOME=str(tmp_path), **inherited, **key)
        with pytest.raises(BlockingIOError):
            trap.accept()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "sk-inherited" not in done.stdout + done.stderr
