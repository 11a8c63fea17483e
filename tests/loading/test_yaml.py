"""YAML text → nodes: exact numbers, lines, and nothing guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from router.loading.nodes import Listing, Scalar, Table, canonical
from router.loading.yaml import Variables, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.loading.nodes import Node
    from router.loading.problems import Problem


def read(text: str, env: Mapping[str, str] | None = None) -> Node:
    """Parse text that is good."""
    problems: list[Problem] = []
    node = parse(text, "f", problems, None if env is None else Variables(env))
    assert not problems
    assert node is not None
    return node


def refused(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Parse text that is bad; return what is said."""
    problems: list[Problem] = []
    parse(text, "f", problems, None if env is None else Variables(env))
    return [str(problem) for problem in problems]


def scalar(text: str, env: Mapping[str, str] | None = None) -> object:
    """Return the value of `k: TEXT`."""
    table = read(f"k: {text}", env)
    assert isinstance(table, Table)
    node = table.entries["k"]
    assert isinstance(node, Scalar)
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("2.50", Decimal("2.50")),
        ("4e-07", Decimal("4e-07")),
        ("1e3", Decimal(1000)),
        (".5", Decimal("0.5")),
        ("-0.0", Decimal(0)),
        ("true", True),
        ("false", False),
        ("'true'", "true"),
        ('"no"', "no"),
        ("2026-05-25", "2026-05-25"),
        ("2026-05-25T10:00:00Z", "2026-05-25T10:00:00Z"),
        ("22:30", "22:30"),
        ("190:20:30", "190:20:30"),
        ("1,000", "1,000"),
        ("3.7.1", "3.7.1"),
        ("=", "="),
        ("nope", "nope"),
        ("|\n  two\n  lines", "two\nlines"),
        ("~", None),
        ("", None),
        ("null", None),
    ],
)
def test_a_scalar_means_what_it_looks_like(text: str, value: object) -> None:
    """Numbers are exact, dates and clock times are text, only true and false are truth values."""
    assert (type(value), value) == (type(scalar(text)), scalar(text))


@pytest.mark.parametrize("text", "y Y yes Yes n N no NO on On off OFF True TRUE False".split())
def test_a_yaml_1_1_boolean_is_refused_as_a_value_and_as_a_key(text: str) -> None:
    """Norway stays a country: what YAML 1.1 calls a boolean must be written out or quoted."""
    word = "true" if text.lower() in {"y", "yes", "on", "true"} else "false"
    value = f"f:1: k: {text} is not taken for a truth value; write {word}, or quote it"
    key = f"f:1: {text} is a truth value in YAML; quote it to use it as a key"

    assert [value] == refused(f"k: {text}")
    assert [key] == refused(f"{text}: k")
    assert text == scalar(f'"{text}"')


@pytest.mark.parametrize("text", "0x1F 0o17 017 00 0b11 1_000 1_000.5 -0x1 +012 0_1 09.5".split())
def test_a_number_that_yaml_versions_read_differently_is_refused(text: str) -> None:
    """Octal, hexadecimal, binary and underscored numbers are never silently something."""
    assert [f'f:1: k: write "{text}" in plain decimal digits, or quote it'] == refused(f"k: {text}")


@pytest.mark.parametrize("text", ".inf -.inf .Inf +.INF .nan .NaN".split())
def test_what_is_not_finite_is_refused(text: str) -> None:
    """NaN and infinity are no amounts."""
    assert refused(f"k: {text}") == ["f:1: k: NaN and infinity are not taken"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: is empty"),
        ("# nothing\n", "f: is empty"),
        ("---\n", "f: is empty"),
        ("a: 1\n---\nb: 2\n", "f:2: several documents in one file"),
        ("a: 1\nb: 2\na: 3\n", 'f:3: duplicate key "a"; the first is in line 1'),
        ("a: {b: 1, b: 2}", 'f:1: a: duplicate key "b"; the first is in line 1'),
        ("a: {<<: {b: 1}}", "f:1: a: merge keys (<<) are not taken; write it out"),
        ("a: &x 1", "f:1: a: anchors (&name) are not taken; write it out"),
        ("a: [1, *x]", "f:1: a[1]: aliases (*name) are not taken; write it out"),
        ("&x a: 1", "f:1: anchors and tags are not taken"),
        ("a: !!python/name:os.system x", "f:1: a: tags (!name) are not taken"),
        ("a: !x {b: 1}", "f:1: a: tags (!name) are not taken"),
        ("? [a]\n: 1", "f:1: a key must be text"),
        ("~: 1", "f:1: a key is empty"),
        ("a:\n\t- b", "f:2: bad YAML: found character that cannot start any token"),
        ("a: 'x\n", "f:1: bad YAML: found unexpected end of stream"),
        ("a: 1\nb: \x01", "f:2: a character that YAML does not allow"),
        ('a: "\\ud800"', "f:1: bad YAML: found invalid Unicode character escape code"),
        ("a: " + "1" * 29, "f:1: a: a number has more than 28 digits; quote it if it is text"),
        ("a: 1e31", "f:1: a: a number is out of range; quote it if it is text"),
        ("[" * 40 + "]" * 40, "f:1: nested deeper than 32 levels"),
        ("[" * 200_000, "f:1: nested deeper than 32 levels"),
    ],
)
def test_what_is_left_open_is_refused(text: str, said: str) -> None:
    """Each with its line and its key; a hundred thousand brackets are no stack overflow."""
    assert [said] == refused(text)


def test_a_billion_laughs_are_refused_at_once() -> None:
    """Aliases are refused before they expand."""
    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )

    assert "aliases (*name) are not taken" in " ".join(refused(bomb))


def test_every_problem_of_a_text_is_found() -> None:
    """The reader goes on after a problem."""
    said = refused("a: yes\nb: 0x1\na: 1\nc: &x 2\n")

    assert [int(line.split(":")[1]) for line in said] == [1, 2, 3, 4]


def test_a_value_knows_its_line() -> None:
    """Values and keys carry the line that they stand in."""
    node = read("a:\n  - 1\n  -\n    b: 2\n")
    assert isinstance(node, Table)
    items = node.entries["a"]
    assert isinstance(items, Listing)
    inner = items.items[1]
    assert isinstance(inner, Table)

    assert [str(node.keys["a"]), str(items.items[0].at), str(inner.at)] == ["f:1", "f:2", "f:4"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("'x-${A}-${A}'", "x-one-one"),
        ("${B:-two}", "two"),
        ("${B:-}", ""),
        ("${E:-two}", "two"),
        ("'${E}'", ""),
        ("${A:-two}", "one"),
        ("'$${A}'", "${A}"),
        ("$A", "$A"),
        ("$$", "$$"),
        ("5$", "5$"),
        ("'${A'", "${A"),
        ("'${}'", "${}"),
        ("'${1A}'", "${1A}"),
        ("'${A-b}'", "${A-b}"),
        ("${N}", "42"),
    ],
)
def test_variables_resolve_as_in_a_shell_and_stay_text(text: str, value: str) -> None:
    """`${A}` and `${A:-default}` only; what they give is never read as YAML again."""
    env = {"A": "one", "E": "", "N": "42"}

    assert value == scalar(text, env)


def test_a_variable_is_not_set() -> None:
    """A variable without a value and default is an error, with its line and key."""
    said = ["f:2: b: the variable NOPE is not set and has no default"]

    assert said == refused("a: 1\nb: ${NOPE}\n", {})


def test_without_variables_a_dollar_is_text() -> None:
    """A keys file resolves nothing."""
    assert scalar("${A}") == "${A}"


def test_only_used_variables_are_remembered() -> None:
    """What a policy did not name is not kept with it."""
    variables = Variables({"A": "1", "B": "2", "C": "3"})
    parse("a: ${A}\nb: ${D:-x}\n${B}: c\n", "f", [], variables)

    assert variables.used == {"A": "1"}


def test_half_a_surrogate_from_the_environment_is_refused() -> None:
    """An environment that is not UTF-8 cannot reach the digest."""
    assert refused("a: ${A}", {"A": "\udc80"}) == ["f:1: a: holds half a surrogate pair"]


def test_the_canonical_text_sees_meaning_only() -> None:
    """Key order, set order and the spelling of numbers make no difference; `order` does."""
    one = "{a: [2, 1], b: 2.50, order: [p, q]}"
    same = "order: [p, q]  # said\nb: 2.5\na: [1, 2]\n"
    other = "{a: [2, 1], b: 2.50, order: [q, p]}"

    assert canonical(read(one)) == canonical(read(same))
    assert canonical(read(one)) != canonical(read(other))
    assert canonical(read(one)) == '{"a":[1,2],"b":2.5,"order":["p","q"]}'
