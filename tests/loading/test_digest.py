"""The digest covers the meaning: all of it, and nothing else; what it covers decides alone."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.loading.nodes import ORDERED, Listing, Scalar, Table
from router.loading.yaml import parse
from router.policy.decide import decide
from router.policy.facts import Facts
from router.policy.state import State
from tests.loading.folders import ENV, FILES, changed, load, policy

if TYPE_CHECKING:
    from router.loading.nodes import Node
    from router.loading.problems import Problem

DIGEST: Final = policy().digest
# Sections whose rules may change place and file without a change of meaning.
FREE: Final = ("raise", "forbid", "invariants")
REQUEST: Final = Facts(
    {
        "request.model": "auto",
        "request.input": frozenset({"text", "image"}),
        "key.product": "hr",
        "key.group": "ci",
        "key.min_label": "confidential",
        "request.bucket": 3,
        "received_at": 1_793_545_200.0,
        "input_tokens_estimated": 100,
    }
)


def _trees() -> dict[str, Table]:
    trees: dict[str, Table] = {}
    for name, text in FILES.items():
        problems: list[Problem] = []
        node = parse(text, name, problems)
        assert isinstance(node, Table)
        trees[name] = node
    return trees


def _shuffled(names: list[str], chance: random.Random) -> list[str]:
    return chance.sample(names, len(names))


def _written(node: Node, chance: random.Random, key: str = "") -> str:
    """Write a node as flow YAML, keys and sets in any order, numbers spelt in any way."""
    if isinstance(node, Table):
        keys = _shuffled(list(node.entries), chance)
        pairs = (f"{json.dumps(k)}: {_written(node.entries[k], chance, k)}" for k in keys)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(node, Listing):
        items = [_written(item, chance) for item in node.items]
        items = items if key in ORDERED else _shuffled(items, chance)
        return "[" + ", ".join(items) + "]"
    assert isinstance(node, Scalar)
    if isinstance(node.value, str):
        return json.dumps(node.written)
    if "." in node.written and "e" not in node.written:
        return node.written + "0" * chance.randrange(3)
    return node.written


def rewritten(seed: int) -> dict[str, str]:
    """Return the world's files with everything moved that means nothing by its place."""
    chance = random.Random(seed)  # noqa: S311 - a world to test with, not a secret
    trees = _trees()
    names = list(trees)
    sections: dict[str, list[str]] = {name: [] for name in names}
    for name, tree in trees.items():
        for section in tree.entries.keys() - {"apiVersion", *FREE}:
            text = _written(tree.entries[section], chance, section)
            sections[name].append(f"{section}: {text}")
    for section in FREE:
        rules = [
            _written(rule, chance)
            for tree in trees.values()
            if isinstance(found := tree.entries.get(section), Listing)
            for rule in found.items
        ]
        homes: dict[str, list[str]] = {}
        for rule in _shuffled(rules, chance):
            homes.setdefault(chance.choice(names), []).append(rule)
        for home, moved in homes.items():
            sections[home].append(f"{section}:\n" + "".join(f"  - {rule}\n" for rule in moved))
    files = {}
    for name in names:
        lines = ["apiVersion: qwen-router/v1", *_shuffled(sections[name], chance)]
        files[name] = "".join(f"# {chance.random()}\n{line}\n" for line in lines)
    return files


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_moving_what_means_nothing_by_its_place_keeps_the_digest(seed: int) -> None:
    """Key order, set order, comments, lines, and the file and order of free rules."""
    files = rewritten(seed)

    assert load(files).policy.digest == DIGEST


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    switches=st.frozensets(st.just("all_home")),
)
def test_the_same_digest_decides_the_same(seed: int, switches: frozenset[str]) -> None:
    """Two policies with one digest are equal, and so are their decisions, reasons included."""
    one, other = policy(), load(rewritten(seed)).policy
    state = State(switches=switches)

    assert one == other
    assert list(one.targets) == list(other.targets)
    assert decide(REQUEST, one, state) == decide(REQUEST, other, state)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("policy.yaml", "Asia/Shanghai", "Asia/Tokyo"),
        ("policy.yaml", "[public, internal,", "[internal, public,"),
        ("policy.yaml", "default: internal", "default: public"),
        ("policy.yaml", "default: standard", "default: basic"),
        ("policy.yaml", "[shop, search,", "[shop, searches,"),
        ("policy.yaml", "[all_home]", "[all_home, more]"),
        ("targets.yaml", "clearance: internal", "clearance: public"),
        ("targets.yaml", "model: qwen3.7-max", "model: qwen3.7-plus"),
        ("targets.yaml", "gpu_hour_usd: 2.50", "gpu_hour_usd: 2.51"),
        ("targets.yaml", "4e-07", "5e-07"),
        ("targets.yaml", "idle_s: 30", "idle_s: 31"),
        ("targets.yaml", "text_rank: 13", "text_rank: 14"),
        ("targets.yaml", "/run/secrets/dashscope", "/run/secrets/other"),
        ("targets.yaml", "messages.think, ", ""),
        ("targets.yaml", "no API is published", "no price is published"),
        ("targets.yaml", "only: [qwen-open]", "only: [qwen-max]"),
        ("sensitivity.yaml", "to: restricted", "to: confidential"),
        ("sensitivity.yaml", "{gte: confidential}", "{gt: confidential}"),
        ("sensitivity.yaml", "[image, audio,", "[image,"),
        ("cost.yaml", "id: home", "id: house"),
        ("cost.yaml", "{gt: 0.50}", "{gt: 0.51}"),
        ("cost.yaml", "CI uses our own models", "CI uses our models"),
        ("cost.yaml", "not: {name: qwen-open}", "name: qwen-max"),
        ("quality.yaml", "[qwen-max, qwen-open]", "[qwen-open, qwen-max]"),
        ("quality.yaml", "then: cheapest}\n  - {id: default", "then: best}\n  - {id: default"),
    ],
)
def test_a_changed_value_changes_the_digest(file: str, old: str, new: str) -> None:
    """Whatever a rule, a target or the head says is covered."""
    assert policy(changed(file, old, new)).digest != DIGEST


def test_the_order_of_prefers_is_meaning() -> None:
    """The first that is TRUE orders, so their order is covered."""
    lines = FILES["quality.yaml"].splitlines(keepends=True)
    swapped = {**FILES, "quality.yaml": "".join([*lines[:2], lines[3], lines[2], lines[4]])}

    assert policy(swapped).digest != DIGEST
    assert [rule.id for rule in policy(swapped).prefers] == ["premium", "canary", "default"]


def test_what_a_variable_resolves_to_is_covered() -> None:
    """Another address is another policy; the same address written out is the same one."""
    plain = changed("targets.yaml", "${QWEN_OPEN_URL}", ENV["QWEN_OPEN_URL"])

    assert load(FILES, {"QWEN_OPEN_URL": "http://10.9.9.9/v1"}).policy.digest != DIGEST
    assert load(plain, {}).policy.digest == DIGEST


def test_a_digest_names_its_algorithm() -> None:
    """`sha256:` and 64 hexadecimal digits."""
    algorithm, _, digits = DIGEST.partition(":")

    assert (algorithm, len(digits)) == ("sha256", 64)
    assert int(digits, 16) >= 0
