"""How many tokens an answer is expected to take, before there is history: written priors."""

from __future__ import annotations

# Without reasoning, half of chat answers are shorter than about 300 tokens and 95 % shorter than
# 2,000; reasoning multiplies that. They rank targets and feed the cost facts, and bound nothing.
PRIORS = {False: (300, 2_000), True: (2_000, 16_000)}


def output_tokens(*, thinking: bool | None, max_output: int | None) -> tuple[int, int]:
    """Return the expected median and 95th percentile of output tokens.

    `max_output` is the limit that will be sent, in tokens; None where there is none. Qwen3.6 and
    later reason unless told not to (Model Studio, "Deep thinking"), so None counts as reasoning.
    """
    p50, p95 = PRIORS[thinking is not False]
    if max_output is None:
        return p50, p95
    return min(p50, max_output), min(p95, max_output)
