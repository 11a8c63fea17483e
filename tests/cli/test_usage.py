"""Help, exit codes, errors and colours of every command."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from router.cli import app
from router.settings import Settings
from tests.cli.commands import PROGRAM, World, cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPE = "\x1b["
SERVE = ("policies", "keys", "records", "state", "host", "port", "admin_host", "admin_port")


def _commands(command: Any = None, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command with its name, subcommands included."""
    command = command or typer.main.get_command(app)
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield " ".join(name), command
    else:
        for part, inner in subcommands.items():
            yield from _commands(inner, (*name, part))


COMMANDS = dict(_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_that_it_takes(name: str) -> None:
    """`--help` has an example on a line of its own, and every option in it exists."""
    shown = cli(*name.split(), "--help")
    found = re.search(r"^ *Example: (.*qwen-router .*?) *$", shown.out, re.MULTILINE)

    assert shown.code == 0
    assert found is not None
    words = shlex.split(found[1].rpartition("qwen-router ")[2])
    assert words[: len(name.split())] == name.split()
    assert cli(*words, "--help").code == 0


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"serve", "demo"}))
def test_every_command_that_prints_has_json(name: str) -> None:
    """Whatever a command prints a program can have as JSON."""
    assert "--json" in {option for p in COMMANDS[name].params for option in p.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_option_is_wrong_usage(name: str) -> None:
    """A typo is exit code 2 and says where help is; it is never taken for something else."""
    ran = cli(*name.split(), "--polcies", "x")

    assert ran.code == 2
    assert ran.out == ""
    assert "--help" in ran.err


def test_every_option_of_serve_is_a_variable_too() -> None:
    """`--admin-port` is ROUTER_ADMIN_PORT, and help says so."""
    options = {p.name for p in COMMANDS["serve"].params} - {"help"}
    shown = cli("serve", "--help", env={"COLUMNS": "200"}).out

    assert options == set(SERVE)
    assert options <= Settings.model_fields.keys()
    assert all(f"ROUTER_{name.upper()}" in shown for name in SERVE)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "s3cret"),
        ("ADMIN_PORT", "99999"),
        ("AUTH", "s3cret"),
        ("CLUSTER_CIDRS", "s3cret/8"),
        ("DRAIN_S", "s3cret"),
        ("MAX_IN_FLIGHT", "0"),
        ("RECORDS_STDOUT", "s3cret"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(variable: str, value: str) -> None:
    """ROUTER_PORT=abc is exit code 2 and one sentence; what stood there is not repeated."""
    ran = cli("serve", env={f"ROUTER_{variable}": value})

    assert ran.code == 2
    assert f"ROUTER_{variable}" in ran.err
    assert value not in ran.err + ran.out
    assert "Traceback" not in ran.err


def test_a_wrong_option_is_named_as_an_option() -> None:
    """`--port 99999` is told as such, not as a variable that nobody set."""
    ran = cli("serve", "--port", "99999")

    assert ran.code == 2
    assert "--port" in ran.err


def test_nothing_is_served_without_a_key_unless_that_is_said(world: World) -> None:
    """`serve` without keys is exit code 2 and names both ways out."""
    ran = world.cli("serve")

    assert ran.code == 2
    assert "--keys" in ran.err
    assert "ROUTER_AUTH=off" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        "serve --keys nowhere.yaml",
        "serve --policies nowhere --keys {keys}",
        "serve --keys {keys} --records nowhere/records.jsonl",
        "check nowhere",
        "check {policies} --keys nowhere.yaml",
        "explain nowhere.json",
        "explain --policies nowhere",
        "explain --key shop --keys nowhere.yaml",
        "keys new --id k --policies nowhere",
        "decisions tail --records nowhere.jsonl",
        "decisions show x --records nowhere.jsonl",
        "decisions verify nowhere.jsonl",
    ],
)
def test_a_missing_file_is_wrong_usage(world: World, command: str) -> None:
    """A file that is not there is exit code 2, is named, and is no traceback."""
    told = command.format(keys=world.keys, policies=world.policies)
    ran = world.cli(*told.split())

    assert ran.code == 2
    assert "nowhere" in ran.err
    assert ran.out == ""


def test_an_empty_variable_counts_as_none() -> None:
    """ROUTER_ADMIN_TOKEN= does not make the empty token the admin's."""
    names = ("ADMIN_TOKEN", "SECRET", "KEYS", "PORT")
    before = {name: os.environ.pop(f"ROUTER_{name}", None) for name in names}
    try:
        os.environ |= {f"ROUTER_{name}": "" for name in names}
        settings = Settings()
    finally:
        for name, value in before.items():
            del os.environ[f"ROUTER_{name}"]
            if value is not None:
                os.environ[f"ROUTER_{name}"] = value

    assert settings.admin_token is None
    assert settings.secret is None
    assert settings.keys is None
    assert settings.port == 8080


def test_check_tells_every_problem_with_its_place(world: World) -> None:
    """A bad policy is exit code 1: each problem with file, line and the nearest name."""
    rules = world.policies / "rules.yaml"
    text = rules.read_text(encoding="utf-8").replace("location: external}}", "location: extrenal}}")
    rules.write_text(text, encoding="utf-8")
    shown, told = world.cli("check"), world.cli("check", "--json")
    problems = told.json()["problems"]

    assert (shown.code, told.code) == (1, 1)
    assert 'did you mean "external"?' in shown.err
    assert f"{len(problems)} to mend" in shown.err
    assert len(problems) >= 2
    assert all(p["file"].endswith("rules.yaml") and p["line"] > 0 for p in problems)


def test_check_says_what_a_good_policy_holds(world: World) -> None:
    """A good policy is exit code 0; JSON has the digest and nothing else is printed."""
    ran = world.cli("check", world.policies, "--keys", world.keys, "--json")

    assert (ran.code, ran.err) == (0, "")
    assert ran.json()["ok"] is True
    assert ran.json()["digest"].startswith("sha256:")
    assert ran.json()["counts"]["targets"] == 2


def test_check_holds_keys_against_the_policy(world: World) -> None:
    """A key of an unknown product is a finding of `check --keys`."""
    keys = world.keys.read_text(encoding="utf-8").replace('"hr"', '"hrr"', 2)
    world.keys.write_text(keys, encoding="utf-8")
    ran = world.cli("check", world.policies, "--keys", world.keys)

    assert ran.code == 1
    assert 'unknown product "hrr"' in ran.err


def _on_a_terminal(world: World, **variables: str) -> str:
    """Return what `explain` prints on a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(  # noqa: S603
            [*PROGRAM, "explain"],
            input=b"{}",
            stdout=theirs,
            check=True,
            env={**os.environ, **world.env, "TERM": "xterm-256color", **variables},
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how a terminal ends on Linux
                return shown.decode()
            if not part:
                return shown.decode()
            shown += part
    finally:
        os.close(ours)


def test_colour_is_for_terminals_that_want_it(world: World) -> None:
    """A terminal gets colours, not with NO_COLOR; a pipe never, even where FORCE_COLOR is set."""
    coloured = {"NO_COLOR": ""}
    piped = world.cli("explain", stdin="{}", FORCE_COLOR="1")

    assert ESCAPE in _on_a_terminal(world, **coloured)
    assert ESCAPE not in _on_a_terminal(world, NO_COLOR="1")
    assert ESCAPE not in piped.out


def test_nothing_is_wrapped_in_a_pipe(world: World) -> None:
    """A reason stands on one line, however long, so that `grep` finds it."""
    ran = world.explain({"label": "confidential"})

    assert ran.code == 0
    assert re.search("invariant stays-home .*target.location = external", ran.out)


def test_a_reader_that_leaves_is_no_crash(tmp_path: Path) -> None:
    """`decisions tail | head -1` ends without a traceback."""
    records = tmp_path / "records.jsonl"
    line = '{"at":"2026-11-21T00:00:00Z","event":"x","mac":"m","prev":"p","seq":1,"writer":"w"}\n'
    records.write_text(line * 5000, encoding="utf-8")
    told = " ".join(shlex.quote(word) for word in PROGRAM)
    script = f"{told} decisions tail -n 5000 --records {shlex.quote(str(records))} | head -1"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)  # noqa: S603, S607

    assert ran.stdout.count("\n") == 1
    assert "Traceback" not in ran.stderr
