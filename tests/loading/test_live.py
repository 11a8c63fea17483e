"""Hot reload: a bad edit changes nothing, a good one swaps policy and keys together."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from router.loading import Live, PolicyProblems, Shelf, Snapshot
from tests.loading.folders import ENV, FILES, KEYS, SECRET, changed, policy, write

if TYPE_CHECKING:
    from pathlib import Path

    from router.loading import Problem

NEW = changed("cost.yaml", "max_output: 800", "max_output: 700")
BAD = changed("cost.yaml", "max_output: 800", "max_output: many")


class Gateway:
    """A live policy in a folder of its own, and what its callbacks heard."""

    def __init__(self, root: Path, *, keys: str | None = KEYS) -> None:
        self.folder = root / "policies"
        self.keys = root / "keys.yaml"
        self.state = root / "state"
        if keys is not None:
            self.keys.write_text(keys)
        self.with_keys = keys is not None
        self.loaded: list[tuple[Snapshot, bool]] = []
        self.rejected: list[tuple[Problem, ...]] = []
        self.heard = asyncio.Event()
        self.live = self.restarted()

    def restarted(self) -> Live:
        """Make the gateway's next process."""
        keys = self.keys if self.with_keys else None
        self.live = Live(
            self.folder,
            keys,
            ENV,
            self.state,
            on_loaded=self._loaded,
            on_rejected=self._rejected,
            interval_s=0.01,
        )
        return self.live

    def _loaded(self, snapshot: Snapshot, changed_meaning: bool) -> None:
        self.loaded.append((snapshot, changed_meaning))
        self.heard.set()

    def _rejected(self, problems: tuple[Problem, ...]) -> None:
        self.rejected.append(problems)
        self.heard.set()

    @property
    def cap(self) -> int | None:
        """The value that the tests edit, in the policy in force."""
        return self.live.current.policy.shapes[0].cap_max_output


async def test_a_start_loads_and_keeps(tmp_path: Path) -> None:
    """The first snapshot is on the shelf before it serves."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    snapshot = await gateway.live.start()

    assert snapshot is gateway.live.current
    assert (1, policy().digest) == (snapshot.version, snapshot.policy.digest)
    assert snapshot.keyring.find(SECRET, 0.0) is not None
    assert [(snapshot, True)] == gateway.loaded
    kept = Shelf(gateway.state).last_good()
    assert kept is not None
    assert not isinstance(kept, str)


async def test_before_the_start_nothing_is_in_force(tmp_path: Path) -> None:
    """There is no policy to serve by accident."""
    with pytest.raises(RuntimeError, match="start"):
        _ = Gateway(tmp_path).live.current


async def test_without_a_keys_file_nobody_has_a_key(tmp_path: Path) -> None:
    """The keyring is empty."""
    gateway = Gateway(tmp_path, keys=None)
    write(gateway.folder)
    snapshot = await gateway.live.start()

    assert snapshot.keyring.find(SECRET, 0.0) is None


async def test_a_good_edit_is_swapped_in(tmp_path: Path) -> None:
    """The next look sees it; what is unchanged is not loaded again."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    await gateway.live.start()
    await gateway.live.refresh()
    assert len(gateway.loaded) == 1
    write(gateway.folder, NEW)
    await gateway.live.refresh()

    assert (gateway.cap, gateway.live.current.version) == (700, 2)
    assert [is_new for _, is_new in gateway.loaded] == [True, True]


async def test_an_edit_without_meaning_is_a_load_without_change(tmp_path: Path) -> None:
    """A comment moves lines, so the snapshot is new; the digest is not."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    write(gateway.folder, {"cost.yaml": "# moved\n" + FILES["cost.yaml"]})
    await gateway.live.refresh()

    assert [is_new for _, is_new in gateway.loaded] == [True, False]
    assert first.policy.digest == gateway.live.current.policy.digest
    assert gateway.live.current.policy.shapes[0].at.endswith("cost.yaml:14")


async def test_a_bad_edit_changes_nothing_and_is_reported_once(tmp_path: Path) -> None:
    """The last good policy serves on; another bad edit is another report."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    write(gateway.folder, BAD)
    for _ in range(3):
        await gateway.live.refresh()

    assert first is gateway.live.current
    assert len(gateway.rejected) == 1
    assert f"{gateway.folder}/cost.yaml:13: rule" in str(gateway.rejected[0][0])
    (gateway.folder / "cost.yaml").write_text(BAD["cost.yaml"] + "# still\n")
    await gateway.live.refresh()
    assert len(gateway.rejected) == 2


async def test_the_way_back_to_the_old_content_is_a_good_load(tmp_path: Path) -> None:
    """Reverting a bad edit tells that all is well again."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    write(gateway.folder, BAD)
    await gateway.live.refresh()
    write(gateway.folder)
    await gateway.live.refresh()

    assert [is_new for _, is_new in gateway.loaded] == [True, False]
    assert first.policy == gateway.live.current.policy
    assert gateway.live.current.version == 2


async def test_a_data_swap_is_seen(tmp_path: Path) -> None:
    """A ConfigMap's update is a reload although no file's own link changed."""
    gateway = Gateway(tmp_path)
    write(gateway.folder / "..1")
    write(gateway.folder / "..2", NEW)
    (gateway.folder / "..data").symlink_to("..1")
    for name in FILES:
        (gateway.folder / name).symlink_to(f"..data/{name}")
    await gateway.live.start()
    (gateway.folder / "..new").symlink_to("..2")
    (gateway.folder / "..new").rename(gateway.folder / "..data")
    await gateway.live.refresh()

    assert gateway.cap == 700


async def test_a_missing_listed_file_is_refused(tmp_path: Path) -> None:
    """Half a folder never serves, and neither does none."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    (gateway.folder / "sensitivity.yaml").unlink()
    await gateway.live.refresh()
    for path in gateway.folder.iterdir():
        path.unlink()
    gateway.folder.rmdir()
    await gateway.live.refresh()

    assert first is gateway.live.current
    assert [r[0].file.rsplit("/")[-1] for r in gateway.rejected] == ["policy.yaml", "policies"]


async def test_keys_are_reloaded_alone(tmp_path: Path) -> None:
    """A removed key ends with the next look."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    gateway.keys.write_text("apiVersion: qwen-router/v1\nkeys: []\n")
    await gateway.live.refresh()

    assert gateway.live.current.keyring.find(SECRET, 0.0) is None
    assert first.keyring.find(SECRET, 0.0) is not None
    assert [is_new for _, is_new in gateway.loaded] == [True, True]


async def test_policy_and_keys_change_together_or_not_at_all(tmp_path: Path) -> None:
    """Keys that do not fit the new policy keep both back; mending the keys lets both in."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    write(gateway.folder, changed("policy.yaml", "[shop, search", "[store, search"))
    for name, text in FILES.items():
        if name != "policy.yaml":
            (gateway.folder / name).write_text(text.replace("[shop]", "[store]"))
    await gateway.live.refresh()

    assert first is gateway.live.current
    assert 'unknown product "shop"' in str(gateway.rejected[0][0])
    gateway.keys.write_text(KEYS.replace("product: shop", "product: store"))
    await gateway.live.refresh()
    key = gateway.live.current.keyring.find(SECRET, 0.0)
    assert key is not None
    assert key.product == "store"


async def test_a_restart_beside_a_bad_folder_serves_the_last_good(tmp_path: Path) -> None:
    """The problem is told all the same, and mending the folder is seen."""
    gateway = Gateway(tmp_path)
    write(gateway.folder, NEW)
    await gateway.live.start()
    write(gateway.folder, BAD)
    restarted = gateway.restarted()
    await restarted.start()

    assert gateway.cap == 700
    assert len(gateway.rejected) == 1
    await restarted.refresh()
    assert len(gateway.rejected) == 1
    write(gateway.folder)
    await restarted.refresh()
    assert gateway.cap == 800


async def test_a_first_start_beside_a_bad_folder_fails(tmp_path: Path) -> None:
    """With nothing on the shelf there is nothing to serve."""
    gateway = Gateway(tmp_path)
    write(gateway.folder, BAD)

    with pytest.raises(PolicyProblems, match=r"cost\.yaml:13"):
        await gateway.live.start()
    assert gateway.loaded == []


async def test_a_start_beside_a_spoilt_shelf_names_both(tmp_path: Path) -> None:
    """A bad folder and a spoilt pointer are told together."""
    gateway = Gateway(tmp_path)
    write(gateway.folder, BAD)
    (gateway.state / "policies").mkdir(parents=True)
    (gateway.state / "policies" / "last-good").write_text("?")

    with pytest.raises(PolicyProblems, match=r"last-good: holds no digest") as refused:
        await gateway.live.start()
    assert "cost.yaml:13" in str(refused.value)


async def test_a_start_with_bad_keys_fails(tmp_path: Path) -> None:
    """Nobody is served by a keys file that cannot be read, whatever is on the shelf."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    await gateway.live.start()
    gateway.keys.write_text("keys: [")

    with pytest.raises(PolicyProblems, match="bad YAML"):
        await gateway.restarted().start()


async def test_a_policy_that_cannot_be_kept_is_not_served_until_it_can(tmp_path: Path) -> None:
    """A full or lost state folder keeps a new policy out; when it is back, no edit is needed."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    first = await gateway.live.start()
    kept = gateway.state / "policies"
    kept.rename(gateway.state / "away")
    kept.write_text("in the way")
    write(gateway.folder, NEW)
    await gateway.live.refresh()
    await gateway.live.refresh()

    assert first is gateway.live.current
    assert [p.message for (p,) in gateway.rejected] == ["the policy cannot be kept: File exists"]
    kept.unlink()
    await gateway.live.refresh()
    assert gateway.cap == 700


async def test_run_watches_until_it_is_cancelled(tmp_path: Path) -> None:
    """An edit is noticed without being asked for."""
    gateway = Gateway(tmp_path)
    write(gateway.folder)
    await gateway.live.start()
    gateway.heard.clear()
    task = asyncio.create_task(gateway.live.run())
    (gateway.folder / "cost.yaml").write_text(NEW["cost.yaml"])
    async with asyncio.timeout(30):
        while gateway.cap != 700:
            await gateway.heard.wait()
            gateway.heard.clear()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert task.cancelled()
