"""README.md as data: its fenced blocks, the session that runs them, its tables of the code.

`python -m tests.readme` prints the tables; with `--write` it puts them into README.md.
How each kind of block is tested stands in `tests/test_readme.py`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from re import DOTALL, MULTILINE
from typing import TYPE_CHECKING, Any, Final

from router.errors import ApiError
from router.policy.facts import (
    HEADER_PREFIX,
    METADATA_PREFIX,
    SPECS,
    SWITCH_PREFIX,
    Kind,
    Spec,
)
from router.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
ANYTHING: Final = "…"
FENCE: Final = re.compile(
    r"(?:^<!-- run: (?P<run>.+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    MULTILINE | DOTALL,
)
BACKGROUND: Final = re.compile(r"(?<!&)&$", MULTILINE)
LOOKED_AT: Final = re.compile(r"^(?:git clone|cd|make)\b.*$", MULTILINE)
MAKE: Final = re.compile(r"^make (\w+)", MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: its language, the comment above it, and the block right above it."""

    language: str
    text: str
    line: int
    run: str | None
    above: Block | None

    @property
    def skipped(self) -> bool:
        """Whether the comment above says that it is not tested, and why."""
        return bool(self.run and self.run.startswith("no, "))

    @property
    def exit_code(self) -> int:
        """The exit code that a block must end with."""
        return int(self.run.removeprefix("exit ")) if self.run else 0

    @property
    def kind(self) -> str | None:
        """`no`, `sh`, `python`, `output`, `policy` or `keys`; None for a block nobody can test."""
        if self.skipped:
            return "no"
        plain = {"sh": "sh", "python": "python", "yaml": "policy"}.get(self.language)
        if self.language in {"text", "json"} and self.run is None:
            runs = self.above is not None and self.above.kind in {"sh", "python"}
            return "output" if runs else None
        if plain == "sh" and self.run and re.fullmatch(r"exit \d+", self.run):
            return "sh"
        if plain == "policy" and self.run == "keys":
            return "keys"
        return None if self.run else plain


def blocks(markdown: str) -> list[Block]:
    """Return the fenced blocks; ValueError where a fence is not at the beginning of its line."""
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(markdown):
        adjacent = bool(found) and not markdown[end : match.start()].strip()
        found.append(
            Block(
                language=match["language"],
                text=match["text"],
                line=markdown.count("\n", 0, match.start("language")) + 1,
                run=match["run"],
                above=found[-1] if adjacent else None,
            )
        )
        end = match.end()
    if sum(line.lstrip().startswith("```") for line in markdown.splitlines()) != 2 * len(found):
        raise ValueError("README.md has a fence that is not read")
    return found


def session(run: Sequence[Block], ports: Mapping[str, int], out: Path) -> str:
    """Return the bash script of all blocks; the output of the one at line N goes to `out/N.out`."""
    ready = f"curl -sf -o /dev/null http://127.0.0.1:{ports['8081']}/readyz"
    waiting = f"for _ in $(seq 200); do {ready} && break; sleep 0.1; done; {ready}"
    parts = ["set -e -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    for block in run:
        text = block.text
        if block.language == "python":
            text = f"python - <<'THE_END_OF_THE_BLOCK'\n{text}THE_END_OF_THE_BLOCK\n"
        text = LOOKED_AT.sub(":", text)
        for port, free in ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        # A server that is told to end has its ports until it has ended.
        text = re.sub(r"^(kill (%\d+))$", r"\1\nwait \2 || true", text, flags=MULTILINE)
        files = f"> {out}/{block.line}.out 2> {out}/{block.line}.err < /dev/null"
        parts.append("set +e" if block.exit_code else "set -e")
        parts.append(f"echo {block.line} > {out}/now\n{{\n{text}}} {files}")
        if block.exit_code:
            parts.append(f"test $? = {block.exit_code} || exit 99\nset -e")
        if BACKGROUND.search(text):
            parts.append(waiting)
    return "\n".join((*parts, f"echo end > {out}/now", ""))


def agrees(expected: Block, output: str) -> bool:
    """Tell whether the output is what the block says, `…` standing for anything."""
    if expected.language == "json":
        try:
            return _same(json.loads(expected.text), json.loads(output))
        except ValueError:
            pass  # an excerpt, or several documents: compared as text
    return _fits(expected.text, output)


def _fits(expected: str, text: str) -> bool:
    parts = [re.escape(part) for part in " ".join(expected.split()).split(ANYTHING)]
    pattern = ".*".join(part.replace(r"\ ", r" ?") if len(parts) > 1 else part for part in parts)
    return re.fullmatch(pattern, " ".join(text.split()), DOTALL) is not None


def _same(expected: Any, value: Any) -> bool:
    if isinstance(expected, str):
        return _fits(expected, value if isinstance(value, str) else json.dumps(value))
    if isinstance(expected, dict) and isinstance(value, dict):
        open_ended = ANYTHING in expected
        named = {name: v for name, v in expected.items() if name != ANYTHING}
        there = named.keys() <= value.keys() if open_ended else named.keys() == value.keys()
        return there and all(_same(v, value[name]) for name, v in named.items())
    if isinstance(expected, list) and isinstance(value, list):
        open_ended = expected[-1:] == [ANYTHING]
        items = expected[:-1] if open_ended else expected
        enough = len(value) >= len(items) if open_ended else len(value) == len(items)
        return enough and all(_same(e, v) for e, v in zip(items, value, strict=False))
    return bool(expected == value)


def settings_table() -> str:
    """Return every setting with its default."""
    rows = [
        (f"`ROUTER_{name.upper()}`", _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return _table(("variable", "default", "meaning"), rows)


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def errors_table() -> str:
    """Return every error that a client can be answered with, by status."""
    rows = [
        (str(e.status), f"`{e.code}`", (e.__doc__ or "").splitlines()[0], _retry(e))
        for e in sorted(_leaves(ApiError), key=lambda e: (e.status, e.code))
    ]
    return _table(("HTTP", "code", "when", "`x-should-retry`"), rows)


def _leaves(error: type[ApiError]) -> Iterator[type[ApiError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _leaves(kind)


def _retry(error: type[ApiError]) -> str:
    return "" if error.retryable is None else f"`{str(error.retryable).lower()}`"


def facts_table() -> str:
    """Return every fact that a rule may name."""
    rows = [
        (
            f"`{name}`",
            _type(spec),
            "judged target by target" if spec.per_target else "",
        )
        for name, spec in SPECS.items()
    ]
    rows += [
        (f"`{METADATA_PREFIX}NAME`", "a declared name", "NAME stands under `names`"),
        (f"`{HEADER_PREFIX}NAME`", "a declared name", "NAME stands under `names`"),
        (f"`{SWITCH_PREFIX}NAME`", "true or false", "in `forbid` only, and not under `not`"),
    ]
    return _table(("fact", "type", ""), rows)


def _type(spec: Spec) -> str:
    if not spec.choices:
        return spec.kind.value
    each = "some" if spec.kind is Kind.SET else "one"
    return f"{each} of {', '.join(spec.choices)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells)


TABLES: Final = {"settings": settings_table, "errors": errors_table, "facts": facts_table}


def table_in(markdown: str, name: str) -> str | None:
    """Return what stands between a table's marks, None where the marks are not there once each."""
    found = re.findall(rf"^<!-- {name} -->\n(.*?)^<!-- /{name} -->$", markdown, MULTILINE | DOTALL)
    return found[0].strip() if len(found) == 1 else None


def written(markdown: str) -> str:
    """Return the page with every table as the code has it."""
    for name, made in TABLES.items():
        marks = re.compile(rf"(^<!-- {name} -->\n).*?(^<!-- /{name} -->$)", MULTILINE | DOTALL)
        text = made()
        markdown = marks.sub(lambda m, text=text: f"{m[1]}{text}\n{m[2]}", markdown)  # type: ignore[misc]
    return markdown


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        for title, table in TABLES.items():
            sys.stdout.write(f"<!-- {title} -->\n{table()}\n<!-- /{title} -->\n\n")
