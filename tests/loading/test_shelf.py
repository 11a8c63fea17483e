"""The shelf: accepted policies by digest, and what is said of a spoilt one."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from router.loading import Loaded, Problem, Shelf
from tests.loading.folders import ENV, FILES, changed, load

if TYPE_CHECKING:
    from pathlib import Path

FIRST: Final = load(FILES)
SECOND: Final = load(changed("cost.yaml", "max_output: 800", "max_output: 700"))


def _file(state: Path, loaded: Loaded = FIRST) -> Path:
    return state / "policies" / f"{loaded.policy.digest.removeprefix('sha256:')}.json"


def test_an_accepted_policy_comes_back_by_its_digest(tmp_path: Path) -> None:
    """What was kept is what is loaded, places included, after a restart too."""
    shelf = Shelf(tmp_path / "state")
    shelf.keep(FIRST)
    shelf.keep(SECOND)
    again = Shelf(tmp_path / "state")

    assert again.get(FIRST.policy.digest) == FIRST
    assert again.get(SECOND.policy.digest) == SECOND
    assert again.last_good() == SECOND
    again.keep(FIRST)
    assert again.last_good() == FIRST


def test_an_empty_shelf_has_no_last_good(tmp_path: Path) -> None:
    """A first start is no fault."""
    assert Shelf(tmp_path / "state").last_good() is None


def test_kept_files_are_for_the_owner_only(tmp_path: Path) -> None:
    """Resolved variables may be secret."""
    Shelf(tmp_path).keep(FIRST)
    folder = tmp_path / "policies"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {_file(tmp_path).name, "last-good"} == {path.name for path in folder.iterdir()}


def test_a_policy_is_written_once(tmp_path: Path) -> None:
    """A digest's file is not written again, unless it is spoilt."""
    shelf = Shelf(tmp_path)
    shelf.keep(FIRST)
    before = _file(tmp_path).stat()
    shelf.keep(FIRST)

    assert before.st_ino == _file(tmp_path).stat().st_ino
    _file(tmp_path).write_bytes(b"{")
    shelf.keep(FIRST)
    assert shelf.last_good() == FIRST


def test_unused_variables_are_not_kept(tmp_path: Path) -> None:
    """The environment's other secrets stay out of the state folder."""
    Shelf(tmp_path).keep(load(FILES, {**ENV, "PASSWORD": "hunter2"}))

    assert b"hunter2" not in _file(tmp_path).read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no digest"),
        (b"sha256:12", "holds no digest"),
        (b"\xff\xfe", "holds no digest"),
        (b"sha256:../../../etc/passwd", "holds no digest"),
        (b"sha256:" + b"0" * 64, "no policy with this digest was kept"),
    ],
)
def test_a_spoilt_pointer_is_a_problem_and_no_crash(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """The answer is a value that says what is wrong."""
    shelf = Shelf(tmp_path)
    shelf.keep(FIRST)
    (tmp_path / "policies" / "last-good").write_bytes(content)
    found = shelf.last_good()

    assert isinstance(found, Problem)
    assert said == found.message


def test_a_spoilt_policy_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    """Torn, foreign, edited and swapped files are told apart."""
    shelf = Shelf(tmp_path)
    shelf.keep(FIRST)
    kept = msgspec.json.decode(_file(tmp_path).read_bytes())
    edited = {**kept, "files": {**kept["files"], "cost.yaml": FILES["cost.yaml"] + "# x\nfoo: 1\n"}}
    swapped = {**kept, "files": dict(SECOND.sources.files)}
    said = []
    for content in (b'{"digest"', b"[]", msgspec.json.encode(edited), msgspec.json.encode(swapped)):
        _file(tmp_path).write_bytes(content)
        found = shelf.last_good()
        assert isinstance(found, Problem)
        said.append(found.message.split(":")[0])

    assert said == [
        "is spoilt",
        "is spoilt",
        "cannot be loaded any more",
        "is spoilt",
    ]


def test_a_state_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """The caller is told."""
    (tmp_path / "policies").write_text("x")

    with pytest.raises(OSError, match="exists"):
        Shelf(tmp_path).keep(FIRST)
