"""`price:` and `marginal:` of a target. Amounts are USD, exactly as they are written."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, cast

from router.loading.fields import (
    Fields,
    Report,
    amount,
    count,
    each,
    iso_date,
    mapping,
    one_of,
    positive,
)
from router.loading.nodes import Listing, Scalar
from router.policy.prices import GpuPrice, Marginal, Price, Tier, TokenPrice

if TYPE_CHECKING:
    from decimal import Decimal

    from router.loading.nodes import Node

MARGINALS: Final = ("sunk", "price")
UNPUBLISHED: Final = "unpublished"


def price(node: Node, report: Report) -> Price | None:
    """Read a price of either kind; None for `unpublished`."""
    if isinstance(node, Scalar):
        if node.value == UNPUBLISHED:
            return None
        report.refuse(node, "must be a mapping with per_million or gpu_hour_usd, or unpublished")
    if "gpu_hour_usd" in mapping(node, report).entries:
        return _gpus(node, report)
    return _tokens(node, report)


def marginal(node: Node, report: Report) -> Marginal:
    """Read `sunk`, `price`, or an amount in USD per million tokens."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return cast("Literal['sunk', 'price']", one_of("marginal", MARGINALS)(node, report))
    return amount(node, report)


def _gpus(node: Node, report: Report) -> GpuPrice:
    fields = Fields(node, report)
    gpu_hour_usd = fields.need("gpu_hour_usd", positive)  # our own GPUs are never free
    gpus = fields.need("gpus", count)
    speeds = fields.need("tokens_per_s", _speeds)
    fields.done()
    return GpuPrice(
        gpu_hour_usd=gpu_hour_usd,
        gpus=gpus,
        input_tokens_per_s=speeds[0],
        output_tokens_per_s=speeds[1],
    )


def _speeds(node: Node, report: Report) -> tuple[Decimal, Decimal]:
    fields = Fields(node, report)
    read = fields.need("input", positive), fields.need("output", positive)
    fields.done()
    return read


def _tokens(node: Node, report: Report) -> TokenPrice:
    fields = Fields(node, report)
    as_of = fields.need("as_of", iso_date)
    # Other currencies would need a rate with a date; until then an amount in CNY is refused.
    fields.need("currency", one_of("currency", ("USD",)))
    tiers = fields.need("per_million", _tiers)
    fields.offer("gpu_hour_usd")
    fields.done()
    return TokenPrice(as_of=as_of, per_million=tiers)


def _tiers(node: Node, report: Report) -> tuple[Tier, ...]:
    if not isinstance(node, Listing) or not node.items:
        report.refuse(node, "must be a list of {up_to, input, output}")
    tiers = each(((item, report.item(i)) for i, item in enumerate(node.items)), _tier)
    for index, (lower, upper) in enumerate(pairwise(tiers), start=1):
        if upper.up_to <= lower.up_to:
            report.item(index).refuse(node.items[index], "up_to must be above the one before it")
    return tiers


def _tier(node: Node, report: Report) -> Tier:
    fields = Fields(node, report)
    up_to = fields.need("up_to", count)
    input_usd = fields.need("input", amount)
    output_usd = fields.need("output", amount)
    cached = fields.take("cached_input", amount, None)
    fields.done()
    return Tier(up_to=up_to, input=input_usd, output=output_usd, cached_input=cached)
