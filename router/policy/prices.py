"""What a request costs on a target, in USD and decimal arithmetic.

Two prices of two kinds: a vendor's per-token list price, with tiers; and a GPU price, where a token
costs the GPU time that it takes. The *price* is what a request is charged at (never free); the
*marginal* cost is what routing compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

MILLION = Decimal(1_000_000)
SECONDS_PER_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """USD per million tokens for requests of up to `up_to` input tokens (the boundary included)."""

    up_to: int
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """A vendor's list price on `as_of` (ISO date), its tiers in rising order."""

    as_of: str
    per_million: tuple[Tier, ...]

    def usd(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the price; the whole request is billed at the tier of its total input."""
        tier = next((t for t in self.per_million if input_tokens <= t.up_to), self.per_million[-1])
        return (tier.input * input_tokens + tier.output * output_tokens) / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPrice:
    """The price of our own GPUs: USD per GPU-hour, how many, and tokens per second of them all."""

    gpu_hour_usd: Decimal
    gpus: int
    input_tokens_per_s: Decimal
    output_tokens_per_s: Decimal

    def usd(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the price of the GPU time that the tokens take."""
        seconds = input_tokens / self.input_tokens_per_s + output_tokens / self.output_tokens_per_s
        return self.gpu_hour_usd * self.gpus * seconds / SECONDS_PER_HOUR


Price = TokenPrice | GpuPrice

# `sunk`: paid for already, so 0; `price`: the price; a number: USD per million tokens, any kind.
Marginal = Literal["sunk", "price"] | Decimal


def marginal_usd(
    price: Price, marginal: Marginal, input_tokens: int, output_tokens: int
) -> Decimal:
    """Return what one more request costs, for comparing targets."""
    if marginal == "sunk":
        return Decimal(0)
    if isinstance(marginal, Decimal):
        return marginal * (input_tokens + output_tokens) / MILLION
    return price.usd(input_tokens, output_tokens)
