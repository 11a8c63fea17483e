"""Every way to spoil a policy folder, against the golden table in refusals.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.loading.folders import FILES, changed, complaints

TABLE: Final = Path(__file__).with_name("refusals.txt")


def _cases() -> list[tuple[str, str, str, list[str]]]:
    blocks = TABLE.read_text(encoding="utf-8").rstrip("\n").split("\n\n")[1:]
    return [_case(block.split("\n")) for block in blocks]


def _case(lines: list[str]) -> tuple[str, str, str, list[str]]:
    taken = [line[1:] for line in lines[1:] if line.startswith("-")]
    put = [line[1:] for line in lines[1:] if line.startswith("+")]
    said = [line[2:] for line in lines[1:] if line.startswith("> ")]
    return lines[0], "\n".join(taken), "\n".join(put), said


CASES: Final = _cases()


@pytest.mark.parametrize(
    ("file", "taken", "put", "said"), CASES, ids=[f"{c[0]}:{c[2] or c[1]}"[:60] for c in CASES]
)
def test_a_spoilt_folder_is_refused_with_all_that_is_wrong(
    file: str, taken: str, put: str, said: list[str]
) -> None:
    """Each change of a valid folder is refused with exactly these sentences."""
    assert said == complaints(changed(file, taken, put))


def test_the_table_is_not_empty_and_every_file_is_in_it() -> None:
    """The table spoils each file of the folder."""
    assert set(FILES) == {file for file, *_ in CASES}
    assert len(CASES) > 200
