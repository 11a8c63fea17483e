"""The label: the highest that any source gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.policy.values import UNKNOWN
from tests.policy.builders import DECLARED, LABELS, MAX, media, prefer, raised
from tests.policy.contract import (
    ABOVE,
    ALL,
    CANNOT,
    FORBIDDEN,
    HEADER,
    NOT_ASKED,
    Row,
    cases,
    check,
    some,
)

MEDIA = media("image", "audio", "video", "file", source="key.media_label")


def _labelled(*rules: Any, default: str = "internal") -> dict[str, Any]:
    return {"raises": (*DECLARED, *rules), "labels": replace(LABELS, default=default)}


SENSITIVITY = [
    Row(name="sensitivity/default-where-nobody-speaks", label="internal", plan=ALL),
    Row(
        name="sensitivity/beats-cost",
        facts={HEADER: "confidential"},
        policy={"prefers": (prefer(["paid-plus", "own"]),)},
        label="confidential",
        plan=("own",),
        removed={"paid-plus": (ABOVE,), "paid-max": (ABOVE,)},
    ),
    Row(
        name="sensitivity/highest-wins",
        facts={"key.min_label": "confidential", HEADER: "public"},
        label="confidential",
        plan=("own",),
    ),
    Row(
        name="sensitivity/client-may-raise",
        facts={"key.min_label": "public", HEADER: "restricted"},
        label="restricted",
    ),
    Row(
        name="sensitivity/declared-label-replaces-the-default",
        facts={"key.min_label": "public"},
        label="public",
    ),
    Row(
        name="sensitivity/finding-never-lowers-the-default",
        policy=_labelled(raised("public"), default="confidential"),
        label="confidential",
    ),
    Row(
        name="sensitivity/floor-under-everything",
        facts={"key.min_label": "public"},
        policy=_labelled(raised("confidential")),
        label="confidential",
    ),
    Row(
        name="sensitivity/when-true-raises",
        facts={"key.product": "hr"},
        policy=_labelled(raised("restricted", {"key.product": {"in": ["hr"]}})),
        label="restricted",
    ),
    Row(
        name="sensitivity/when-false-is-silent",
        facts={"key.product": "shop"},
        policy=_labelled(raised("restricted", {"key.product": {"in": ["hr"]}})),
        label="internal",
    ),
    Row(
        name="sensitivity/when-unknown-raises",
        facts={"key.product": UNKNOWN},
        policy=_labelled(raised("restricted", {"key.product": {"in": ["hr"]}})),
        label="restricted",
    ),
    Row(
        name="sensitivity/unknown-source-is-the-top",
        facts={"key.min_label": UNKNOWN},
        label="restricted",
    ),
    Row(
        name="sensitivity/name-off-the-scale-is-the-top",
        facts={"key.min_label": "secret"},
        label="restricted",
    ),
    Row(
        name="sensitivity/named-model-cannot-cross-clearance",
        facts={"request.model": "paid-max", HEADER: "confidential"},
        refused=FORBIDDEN,
        removed={"paid-max": (ABOVE,), "own": (NOT_ASKED,)},
    ),
    Row(
        name="sensitivity/above-every-clearance",
        policy={"targets": {"paid-max": MAX}, "labels": replace(LABELS, default="restricted")},
        refused=FORBIDDEN,
    ),
    Row(name="sensitivity/clearance-is-inclusive", facts={HEADER: "internal"}, plan=ALL),
    Row(
        name="sensitivity/a-rule-that-asks-for-the-label-too-early-speaks",
        policy=_labelled(raised("restricted", {"label": {"gte": "restricted"}})),
        label="restricted",
    ),
]

MEDIA_CASES = [
    Row(
        name="media/absent-media-label-is-top",
        facts={"request.input": some("text", "image")},
        policy=_labelled(MEDIA),
        label="restricted",
        plan=("own",),
    ),
    Row(
        name="media/label-of-the-key",
        facts={"request.input": some("text", "image"), "key.media_label": "public"},
        policy=_labelled(MEDIA),
        label="internal",
        plan=("own", "paid-plus"),
    ),
    Row(
        name="media/label-of-the-key-never-lowers-the-default",
        facts={"request.input": some("text", "image"), "key.media_label": "public"},
        policy=_labelled(MEDIA, default="confidential"),
        label="confidential",
    ),
    Row(name="media/text-alone-is-silent", policy=_labelled(MEDIA), label="internal"),
    Row(
        name="media/unknown-parts-speak",
        facts={"request.input": UNKNOWN},
        policy=_labelled(media("image", to="confidential")),
        label="confidential",
        refused=CANNOT,
    ),
    Row(
        name="media/literal-label",
        facts={"request.input": some("text", "video")},
        policy=_labelled(media("video", to="confidential")),
        label="confidential",
    ),
]


@cases([*SENSITIVITY, *MEDIA_CASES])
def test_contract(row: Row) -> None:
    """Each named case decides what its row says."""
    check(row)
