"""What the metrics say of one finished request. Every label is a name of the policy or an enum."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.policy.decision import Decision
    from router.records.schema import DecisionFinished
    from router.telemetry import Metrics


def count(metrics: Metrics, decision: Decision, record: DecisionFinished) -> None:
    """Count one request, once, at its end."""
    first = decision.plan[0] if decision.plan else "none"
    metrics.decisions.labels(decision.label.value, first).inc()
    metrics.requests.labels(record.outcome, record.code or "none").inc()
    metrics.duration.observe(record.duration_ms / 1000)
    metrics.overhead.observe(record.overhead_ms / 1000)
    if decision.refusal:
        metrics.refusals.labels(decision.refusal.stage.value, decision.refusal.code).inc()
    for attempt in record.attempts:
        metrics.attempts.labels(attempt.target, attempt.fault or "none").inc()
    if record.usage and record.target:
        metrics.tokens.labels(record.target, "input").inc(record.usage.input_tokens)
        metrics.tokens.labels(record.target, "output").inc(record.usage.output_tokens)
        if record.cost_usd is not None:
            metrics.cost.labels(record.target).inc(float(record.cost_usd))
