"""Strong Kleene logic over True, False and None (UNKNOWN)."""

from __future__ import annotations

import itertools

import pytest

from router.policy.values import ABSENT, OTHER, UNKNOWN, Truth, every, negate, some

TRUTHS: tuple[Truth, ...] = (True, None, False)
PAIRS = list(itertools.product(TRUTHS, repeat=2))
TRIPLES = list(itertools.product(TRUTHS, repeat=3))


@pytest.mark.parametrize(
    ("a", "b", "conjunction", "disjunction"),
    [
        (True, True, True, True),
        (True, None, None, True),
        (True, False, False, True),
        (None, None, None, None),
        (None, False, False, None),
        (False, False, False, False),
    ],
)
def test_truth_table(a: Truth, b: Truth, conjunction: Truth, disjunction: Truth) -> None:
    """FALSE settles a conjunction and TRUE a disjunction, whatever is unknown."""
    assert every((a, b)) is every((b, a)) is conjunction
    assert some((a, b)) is some((b, a)) is disjunction


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_de_morgan(a: Truth, b: Truth) -> None:
    """A negated conjunction is the disjunction of the negations."""
    assert negate(every((a, b))) is some((negate(a), negate(b)))
    assert negate(some((a, b))) is every((negate(a), negate(b)))


@pytest.mark.parametrize(("a", "b", "c"), TRIPLES)
def test_association_and_distribution(a: Truth, b: Truth, c: Truth) -> None:
    """Grouping does not matter, and each distributes over the other."""
    assert every((a, b, c)) is every((a, every((b, c))))
    assert some((a, b, c)) is some((a, some((b, c))))
    assert every((a, some((b, c)))) is some((every((a, b)), every((a, c))))


@pytest.mark.parametrize("a", TRUTHS)
def test_double_negation(a: Truth) -> None:
    """Negating twice changes nothing, and UNKNOWN stays UNKNOWN."""
    assert negate(negate(a)) is a
    assert negate(None) is None


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_knowing_more_never_flips(a: Truth, b: Truth) -> None:
    """What is settled with an UNKNOWN part stays so for every truth the part could have had."""
    for join in (every, some):
        settled = join((a, None))
        if settled is not None:
            assert join((a, b)) is settled


def test_of_nothing() -> None:
    """The empty conjunction is TRUE and the empty disjunction FALSE."""
    assert every(()) is True
    assert some(()) is False


def test_the_words_survive_json() -> None:
    """The three words are upper-case text, as no declared name is."""
    assert [ABSENT, OTHER, UNKNOWN] == ["ABSENT", "OTHER", "UNKNOWN"]
