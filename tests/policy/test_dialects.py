"""What each upstream dialect takes: closed tables that agree with each other."""

from __future__ import annotations

import pytest

from router.policy.dialects import DIALECTS, KNOWN_FIELDS, NEEDS, Dialect


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_a_dialect_takes_known_fields_only(dialect: Dialect) -> None:
    """What is taken or dropped is a known field, and nothing is both."""
    assert dialect.takes | dialect.drops <= KNOWN_FIELDS
    assert not dialect.takes & dialect.drops
    assert dialect.lacks <= NEEDS


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_every_dialect_takes_the_essentials(dialect: Dialect) -> None:
    """Messages, streaming, sampling and tools go everywhere; an output limit does too."""
    essentials = {"messages", "model", "stream", "max_tokens", "temperature", "tools", "user"}

    assert essentials <= dialect.takes | dialect.drops


def test_prompt_templates_are_taken_nowhere() -> None:
    """A knob that rewrites the prompt is opt-in by policy."""
    assert not any("chat_template_kwargs" in d.takes | d.drops for d in DIALECTS.values())


def test_silently_ignored_fields_are_not_taken() -> None:
    """DashScope ignores these two without a word, so a request with them does not go there."""
    assert not {"frequency_penalty", "logit_bias"} & DIALECTS["dashscope"].takes
