"""The catalog: what a target lacks, its tier for a request, and selectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.policy.targets import Attribute, Both, Everything, Except, Selector
from tests.policy.builders import CATALOG, CLUSTER, EXTERNAL, OWN, PLUS, TIERS, named

ORDINARY = {"unknown_part", "media_url"}


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({}, {"unknown_part", "media_url"}),
        ({"media_url": True}, {"unknown_part"}),
        ({"tools": False}, {"tools", "tool_choice_required", "tool_choice_named"} | ORDINARY),
        ({"json_schema": False}, {"json_schema", "json_object"} | ORDINARY),
        ({"json_schema": False, "json_object": True}, {"json_schema"} | ORDINARY),
        ({"thinking": "never"}, {"thinking_on"} | ORDINARY),
        ({"thinking": "always"}, {"thinking_off"} | ORDINARY),
    ],
)
def test_lacks(changes: dict[str, Any], lacks: set[str]) -> None:
    """Each capability that is not there is a need that the target cannot meet."""
    assert replace(OWN.can, **changes).lacks() == lacks


def test_the_dialect_lacks_too() -> None:
    """A target lacks what its dialect cannot say, whatever its `can` promises."""
    assert {"tool_choice_required", "json_without_word", "json_while_thinking"} <= PLUS.lacks
    assert not {"tool_choice_required", "json_without_word", "json_while_thinking"} & OWN.lacks


def test_pass_fields_are_handled() -> None:
    """A field that the policy passes is handled by that target alone."""
    assert "enable_search" in replace(PLUS, pass_fields=frozenset({"enable_search"})).handles
    assert "enable_search" not in PLUS.handles


@pytest.mark.parametrize(
    ("modalities", "tier"),
    [
        ({"text"}, "premium"),
        ({"text", "file"}, "premium"),
        ({"text", "image"}, "basic"),
        ({"text", "video"}, "basic"),
        ({"text", "audio"}, "basic"),  # not stated: the lowest there is
        (set(), "basic"),
    ],
)
def test_tier_for(modalities: set[str], tier: str) -> None:
    """A mixed request counts at the lowest tier of its modalities; video counts as vision."""
    target = replace(OWN, tier={"text": "premium", "vision": "basic"})

    assert tier == target.tier_for(frozenset(modalities), TIERS)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        (Everything(), {"own", "paid-plus", "paid-max", "preview"}),
        (named("own", "paid-max"), {"own", "paid-max"}),
        (EXTERNAL, {"paid-plus", "paid-max", "preview"}),
        (Attribute("tags.region", frozenset({"cn"})), {"own"}),
        (Attribute("tags.owner", frozenset({"us"})), set()),
        (Attribute("tier.text", frozenset({"premium"})), {"paid-max", "preview"}),
        (Attribute("tier.audio", frozenset({"premium"})), set()),
        (Both((EXTERNAL, Attribute("tier.text", frozenset({"standard"})))), {"paid-plus"}),
        (Except(CLUSTER), {"paid-plus", "paid-max", "preview"}),
    ],
)
def test_selectors(selector: Selector, names: set[str]) -> None:
    """A selector names targets by what the catalog says of them; a missing attribute is none."""
    assert names == {target.name for target in CATALOG if selector.selects(target)}
