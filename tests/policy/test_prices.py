"""What a request costs, USD in decimal arithmetic."""

from __future__ import annotations

from decimal import Decimal

import pytest

from router.policy.prices import Marginal, marginal_usd
from tests.policy.builders import OWN, PLUS

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("given", "made", "usd"),
    [
        (0, 0, "0"),
        (MILLION // 10, 0, "0.04"),
        (0, MILLION, "1.60"),
        (262_144, 1000, "0.1064576"),  # the boundary belongs to the lower tier
        (262_145, 1000, "0.319374"),  # and above it the whole request is billed at the upper one
        (2_000_000, 0, "2.40"),  # longer than the last tier: at the last tier
    ],
)
def test_list_price(given: int, made: int, usd: str) -> None:
    """A vendor's price takes the tier of the total input."""
    assert PLUS.price is not None
    assert PLUS.price.usd(given, made) == Decimal(usd)


def test_gpu_price() -> None:
    """Our own tokens cost the GPU time that they take: 2 GPUs for an hour are 5 dollars."""
    assert OWN.price is not None
    assert OWN.price.usd(9000 * 1800, 1500 * 1800) == Decimal(5)


@pytest.mark.parametrize(
    ("marginal", "usd"), [("sunk", "0"), ("price", "3.60"), (Decimal("0.5"), "0.75")]
)
def test_marginal_cost(marginal: Marginal, usd: str) -> None:
    """Routing compares nothing, the price, or an amount per million tokens of any kind."""
    price = PLUS.price

    assert price is not None
    assert marginal_usd(price, marginal, MILLION, MILLION // 2) == Decimal(usd)
