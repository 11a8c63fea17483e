"""The keys file: what a key carries, how it is found, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import pytest

from router.loading import KEY_ID, Keyring, PolicyProblems, load_keys, new_key
from router.loading.keyring import keyring
from router.policy.keys import Key
from tests.loading.folders import HASH, KEYS, OTHER_HASH, SECRET, changed, policy

if TYPE_CHECKING:
    from pathlib import Path

POLICY: Final = policy()
SHANGHAI: Final = ZoneInfo("Asia/Shanghai")


def read(text: str) -> Keyring:
    """Load good keys."""
    return keyring(text, "keys.yaml", POLICY)


def refused(text: str) -> list[str]:
    """Load bad keys; return what is said."""
    with pytest.raises(PolicyProblems) as problems:
        read(text)
    return [str(problem) for problem in problems.value.problems]


def test_a_key_arrives_with_everything_it_carries() -> None:
    """Every attribute that a key can have."""
    expected = Key(
        id="shop-prod",
        product="shop",
        team="web",
        group="prod",
        min_label="internal",
        media_label="confidential",
        tier="standard",
        max_tier="premium",
        models=frozenset({"auto", "qwen-open"}),
        may_assert_user=True,
        owner="Ada Lovelace",
        expires_at=datetime(2026, 12, 31, tzinfo=SHANGHAI).timestamp(),
    )

    assert expected == read(KEYS).by_id("shop-prod")
    assert expected == read(KEYS).find(SECRET, 0.0)


def test_a_key_is_found_by_the_whole_secret_only() -> None:
    """Neither a beginning nor a longer text nor another case is the key."""
    keys = read(KEYS)
    for near in (SECRET[:-1], SECRET + "x", SECRET.upper(), HASH, "", "\udc80", "é"):
        assert keys.find(near, 0.0) is None


def test_a_key_ends_at_its_time() -> None:
    """A date means its first moment in the policy's time zone; a time means itself."""
    keys = read(KEYS)
    end = datetime(2026, 12, 31, tzinfo=SHANGHAI).timestamp()
    ci = keys.by_id("ci")
    assert ci is not None

    assert keys.find(SECRET, end - 1) is not None
    assert keys.find(SECRET, end) is None
    assert keys.by_id("shop-prod") is not None
    assert datetime.fromisoformat("2026-11-01T12:00:00+08:00").timestamp() == ci.expires_at


def test_no_keys_are_a_keyring_too() -> None:
    """An empty list lets nobody in."""
    keys = read("apiVersion: qwen-router/v1\nkeys: []\n")

    assert Keyring() == keys
    assert keys.find(SECRET, 0.0) is None
    assert keys.by_id("shop-prod") is None


def test_keyrings_compare_by_content() -> None:
    """A comment makes no other keyring; an attribute does."""
    assert read(KEYS) == read("# x\n" + KEYS)
    assert read(KEYS) != read(KEYS.replace("team: web", "team: app"))


def test_neither_a_keyring_nor_an_error_shows_a_hash() -> None:
    """What stands where a hash should may be the secret."""
    said = "".join(refused(KEYS.replace(HASH, SECRET)))

    assert SECRET not in said
    assert "must be the SHA-256 of the key" in said
    assert HASH not in repr(read(KEYS))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v1", "v2", ":1: apiVersion: unknown version"),
        ("keys:\n", "kees:\n", ':2: unknown key "kees"; did you mean "keys"?'),
        ("  - id: shop-prod\n    sha", "  - sha", ":3: keys[0]: id is required"),
        ("id: shop-prod", "id: Shop", ':3: key "Shop": id: "Shop" is no name'),
        ("id: shop-prod", "id: other", ':3: key "other": id: "other" is a reserved word'),
        (f'sha256: "{HASH}"', "owner2: x", ':3: key "shop-prod": sha256 is required'),
        (HASH, HASH[:-1], ':4: key "shop-prod": sha256: must be the SHA-256 of the key'),
        (f'"{HASH}"', "true", ':4: key "shop-prod": sha256: must be the SHA-256 of the key'),
        ("product: shop", "product: shp", 'product: unknown product "shp"; did you mean "shop"?'),
        ("product: shop", "prodct: shop", 'unknown key "prodct"; did you mean "product"?'),
        ("team: web", "team: Web!", ':6: key "shop-prod": team: "Web!" is no name'),
        ("group: prod", "group: prd", ':7: key "shop-prod": group: unknown group "prd"'),
        ("min_label: internal", "min_label: intern", 'unknown label "intern"; did you mean'),
        ("media_label: conf", "media_label: con", 'media_label: unknown label "conidential"'),
        ("tier: standard", "tier: gold", ':10: key "shop-prod": tier: unknown tier "gold"'),
        ("max_tier: premium", "max_tier: 3", ':11: key "shop-prod": max_tier: must be text'),
        ("[auto, qwen-open]", "[auto, qwen]", 'models[1]: unknown model "qwen"; did you mean'),
        ("[auto, qwen-open]", "[]", ':12: key "shop-prod": models: the list is empty'),
        ("user: true", "user: yes", ":13: keys[0].may_assert_user: yes is not taken"),
        ("owner: Ada Lovelace", "owner: [Ada]", ':14: key "shop-prod": owner: must be text'),
        ("2026-12-31", "2026-02-31", ':15: key "shop-prod": expires_at: must be 2026-12-31, or'),
        ("2026-12-31", "2026-12-31T10:00:00", ":15: "),
        ("2026-12-31", "soon", ":15: "),
        ("2026-12-31", "9999-12-31T23:59:59-23:59", None),
        ("- {id: ci", "- {id: shop-prod", ':16: key "shop-prod": the id is the same as in line 3'),
        (OTHER_HASH, HASH.upper(), ':16: key "ci": the sha256 is the same as in line 3'),
        ("keys:\n", "keys: {}\nrest:\n", ":2: keys: must be a list of keys"),
        ("    team: web\n", "    team: web\n    team: app\n", ':7: keys[0]: duplicate key "team"'),
    ],
)
def test_a_bad_key_is_refused_with_line_and_name(old: str, new: str, said: str | None) -> None:
    """Everything a key names is checked against the policy."""
    text = changed("k", old, new, {"k": KEYS})["k"]
    if said is None:
        assert read(text).by_id("shop-prod") is not None
        return

    assert any(said in line and line.startswith("keys.yaml:") for line in refused(text))


def test_every_bad_key_is_named_at_once() -> None:
    """Two broken keys are two problems."""
    text = KEYS.replace("product: shop", "product: shp").replace("group: ci", "group: c")

    assert len(refused(text)) == 2


def test_free_names_where_the_policy_declares_none() -> None:
    """A policy that declares no teams takes any well-formed team."""
    assert "key.team" not in POLICY.names

    key = read(KEYS.replace("team: web", "team: anything")).by_id("shop-prod")

    assert key is not None
    assert key.team == "anything"


def test_a_keys_file_is_read_from_disk(tmp_path: Path) -> None:
    """Problems name the path as it was given; a file that is not there is one."""
    path = tmp_path / "keys.yaml"
    with pytest.raises(PolicyProblems, match="is missing"):
        load_keys(path, POLICY)
    path.write_text(KEYS)

    assert read(KEYS) == load_keys(path, POLICY)
    path.write_text(KEYS.replace("team: web", "team: [x]"))
    with pytest.raises(PolicyProblems, match=f"{path}:6: key"):
        load_keys(path, POLICY)


def test_a_new_key_can_be_added_as_printed() -> None:
    """The line goes under `keys:` and the secret then finds the key."""
    secret, entry = new_key("fresh", {"product": "shop", "min_label": "internal"})
    key = read(f"{KEYS}  {entry}\n").find(secret, 0.0)

    assert Key(id="fresh", product="shop", min_label="internal") == key
    assert secret.startswith("qr-")
    assert len(secret) >= 3 + 43
    assert secret not in entry
    assert secret != new_key("fresh")[0]
    assert KEY_ID.fullmatch("fresh")
