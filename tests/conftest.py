"""What every test shares.

Hypothesis tries the same examples each time and keeps no database. Parameters name their test by
what they hold, sets in order, so that every process of a parallel run finds the same names.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.policy.contract")
settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")

LONGEST_NAME = 100


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Return the name of one parameter, None for objects: pytest counts those."""
    shown = _shown(val)
    return None if shown is None else shown[:LONGEST_NAME]


def _shown(value: Any) -> str | None:
    if isinstance(value, type):
        return value.__name__
    plain = isinstance(value, set | frozenset | str | int | float | list | dict | tuple)
    return _ordered(value) if plain or value is None else None


def _ordered(value: Any) -> str:
    """Return a value as text with every set inside it in order."""
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(_ordered, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_ordered, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_ordered(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, str | int | float) or value is None else "_"
