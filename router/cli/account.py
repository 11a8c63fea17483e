"""The account of a decision, for people: of one that is explained, and of one on record."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from router.cli.output import console, table


def show(told: dict[str, Any]) -> None:
    """Print an account."""
    out = console()
    label, order, refusal = told["label"], told["order"], told["refusal"]
    rows = [
        ("label", f"{label['value']}   because {'; '.join(map(_source, label['because']))}"),
        ("tier", told["tier"]),
        ("plan", " → ".join(told["plan"]) or "nothing may be tried"),
        ("ordered by", _order(order)),
        ("estimate", _estimate(told["estimate"])),
        ("policy", told["policy"]),
    ]
    if told["shape"]["rules"]:
        rows.insert(4, ("shape", _shape(told["shape"])))
    if refusal:
        rows.insert(3, ("refused", _refusal(refusal)))
    if told["degraded"]:
        rows.insert(3, ("degraded", ", ".join(told["degraded"])))
    out.print(table(("", ""), rows))
    targets = [_target(name, verdict, told["plan"]) for name, verdict in told["targets"].items()]
    targets.sort(key=lambda row: (row[1] == "removed", row[1]))
    out.print(table(("target", "try", "why not", "USD p50", "USD p95"), targets))
    if "why_not" in told:
        out.print(_why_not(told["why_not"]), markup=False, soft_wrap=True)


def _refusal(of: dict[str, Any]) -> str:
    message = f", {of['message']}" if of["message"] else ""
    return f"{of['http_status']} {of['code']}: {of['stage']}{message}"


def _source(source: dict[str, Any]) -> str:
    return f"{source['rule']}{_place(source)}{_given(source['facts'])}"


def _place(of: dict[str, Any]) -> str:
    return f" ({of['at']})" if of["at"] else ""


def _given(facts: dict[str, Any]) -> str:
    told = ", ".join(f"{name} = {_value(value)}" for name, value in facts.items())
    return f" with {told}" if told else ""


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ", ".join(value) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _order(order: dict[str, Any]) -> str:
    objective = order["objective"]
    by = " → ".join(objective) if isinstance(objective, list) else objective
    floor = f", below {order['min_tier']} last" if order["min_tier"] else ""
    rule = f"{order['rule']}{_place(order)}: " if order["rule"] else ""
    return f"{rule}{by}{floor}"


def _estimate(of: dict[str, Any]) -> str:
    return (
        f"{of['input_tokens']:,} tokens in, {of['output_tokens_p50']:,} out "
        f"(95 %: {of['output_tokens_p95']:,})"
    )


def _shape(of: dict[str, Any]) -> str:
    knobs = {k: of[k] for k in ("thinking", "max_output") if of[k] is not None}
    return ", ".join(f"{k} {_value(v)}" for k, v in knobs.items()) + f" by {', '.join(of['rules'])}"


def _target(name: str, verdict: dict[str, Any], plan: list[str]) -> tuple[str, ...]:
    costs = tuple(_usd(verdict[f"cost_usd_{p}_estimated"]) for p in ("p50", "p95"))
    if verdict["verdict"] == "eligible":
        return (name, str(plan.index(name) + 1), "", *costs)
    return (name, "removed", "\n".join(map(_reason, verdict["reasons"])), *costs)


def _reason(reason: dict[str, Any]) -> str:
    rule = f" {reason['rule']}" if reason["rule"] else ""
    # The stage of a rule says no more than its code does.
    stage = "" if reason["code"] == reason["stage"] else f"{reason['stage']}: "
    return f"{stage}{reason['code']}{rule}{_place(reason)}{_given(reason['facts'])}"


def _usd(text: str | None) -> str:
    return "unpublished" if text is None else f"{Decimal(text):.6f}"


def _why_not(of: dict[str, Any]) -> str:
    if of["eligible"]:
        return f"{of['target']} is eligible."
    if of["changes"] is None:
        rules = ", ".join(f"{r['rule'] or r['code']}{_place(r)}" for r in of["reasons"])
        return (
            f"No change of up to three facts lets {of['target']} in; the policy would have to "
            f"change: {rules}"
        )
    return f"{of['target']} would be eligible with: {'; '.join(map(_change, of['changes']))}"


def _change(of: dict[str, Any]) -> str:
    before, after = of["from"], of["to"]
    if of["name"] == "received_at":
        before, after = _time(before), _time(after)
    return f"{of['name']}: {_value(before)} → {_value(after)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
