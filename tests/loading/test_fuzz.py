"""Whatever is done to the text of a folder or a keys file, it loads or is refused: nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from router.loading import PolicyProblems, Problem
from router.loading.keyring import keyring
from router.loading.nodes import Listing, Scalar, Table
from router.loading.yaml import parse
from tests.loading.folders import ENV, FILES, KEYS, load, policy

if TYPE_CHECKING:
    from router.loading.nodes import Node

POLICY: Final = policy()
TOKENS: Final = (
    *"{}[],:-#&*!|>'\"%@`?\n\t \\\x00\u0085\ufeff€",
    *("- ", ": ", "  ", "---\n", "...\n", "<<: ", "${", "${X}", "${X:-", "}", "~", "null"),
    *("true", "no", "0", "-1", "1e5", "4e-07", "1e999", ".nan", "0x1", "9" * 40, "2026-13-01"),
    *("all: ", "any: ", "not: ", "{}", "[]", "[[]]", "{a: {}}", "label", "target.name", "UNKNOWN"),
    *("from", "when", "then", "price", "can", "apiVersion", "files", "forbid:\n", "x" * 5000),
)
EDITS: Final = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 40),
        st.sampled_from(TOKENS) | st.text(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    for at, length, put in edits:
        start = at % (len(text) + 1)
        text = text[:start] + put + text[start + length :]
    return text


@settings(max_examples=150, deadline=None)
@given(file=st.sampled_from(sorted(FILES)), edits=EDITS)
def test_a_mutated_folder_loads_or_is_refused(file: str, edits: list[tuple[int, int, str]]) -> None:
    """A refusal names the file and says something; no other exception leaves."""
    problems: tuple[Problem, ...] | None = None
    try:
        load({**FILES, file: _edited(FILES[file], edits)}, ENV)
    except PolicyProblems as refused:
        problems = refused.problems

    assert problems is None or problems
    assert all(p.message and p.file.startswith("policies/") for p in problems or ())


ODD: Final = (
    *("{}", "[]", "[[]]", "[{}]", "{a: b}", "{a: {b: [c]}}", "null", "true", "false", "'true'"),
    *("0", "-1", "1.5", "7", "4e-07", "text", "'2026-01-01'", "[text, 3]", "'${X}'", "UNKNOWN"),
    *("all", "label", "{label: {gt: restricted}}", "{not: {switch.all_home: true}}", "[auto]"),
)


def _nodes(node: Node) -> list[Node]:
    """Return every node inside, itself first."""
    inner: tuple[Node, ...] = ()
    if isinstance(node, Table):
        inner = tuple(node.entries.values())
    elif isinstance(node, Listing):
        inner = node.items
    return [node, *(found for child in inner for found in _nodes(child))]


def _written(node: Node, odd: dict[int, str]) -> str:
    """Write a node as flow YAML, with the odd texts instead of the nodes of these identities."""
    if id(node) in odd:
        return odd[id(node)]
    if isinstance(node, Table):
        return "{" + ", ".join(f'"{k}": {_written(v, odd)}' for k, v in node.entries.items()) + "}"
    if isinstance(node, Listing):
        return "[" + ", ".join(_written(item, odd) for item in node.items) + "]"
    assert isinstance(node, Scalar)
    return json.dumps(node.written) if isinstance(node.value, str) else node.written


@settings(max_examples=150, deadline=None)
@given(
    file=st.sampled_from(sorted(FILES)),
    odd=st.lists(st.tuples(st.integers(0, 500), st.sampled_from(ODD)), min_size=1, max_size=3),
)
def test_a_folder_with_odd_values_loads_or_is_refused(
    file: str, odd: list[tuple[int, str]]
) -> None:
    """Any value in the place of any other: wrong types are found by the readers, not by Python."""
    tree = parse(FILES[file], file, [])
    assert tree is not None
    nodes = _nodes(tree)[1:]
    spoilt = _written(tree, {id(nodes[at % len(nodes)]): text for at, text in odd})
    with contextlib.suppress(PolicyProblems):
        load({**FILES, file: spoilt}, ENV)


@settings(max_examples=100, deadline=None)
@given(edits=EDITS)
def test_a_mutated_keys_file_loads_or_is_refused(edits: list[tuple[int, int, str]]) -> None:
    """No other exception leaves."""
    problems: tuple[Problem, ...] | None = None
    try:
        keyring(_edited(KEYS, edits), "keys.yaml", POLICY)
    except PolicyProblems as refused:
        problems = refused.problems

    assert problems is None or problems
