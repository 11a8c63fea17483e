"""Metrics and the operating log. Neither can hold text of a request: labels are closed sets."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """Every metric of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        """Make the registry."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "router_requests",
            "Answered requests, by outcome (`undecided`: turned away before that) and error code.",
            ["outcome", "code"],
            **make,
        )
        self.decisions = Counter(
            "router_decisions", "Decisions, by label and first target.", ["label", "target"], **make
        )
        self.refusals = Counter(
            "router_refusals", "Refused decisions, by stage and code.", ["stage", "code"], **make
        )
        self.attempts = Counter(
            "router_attempts",
            "Calls to targets, by fault (`none`: served).",
            ["target", "fault"],
            **make,
        )
        self.in_flight = Gauge("router_in_flight", "Requests in flight.", **make)
        self.duration = Histogram(
            "router_request_seconds", "Time from arrival to the end.", buckets=SECONDS, **make
        )
        self.first_token = Histogram(
            "router_first_token_seconds",
            "Time from the call to the first token, by target.",
            ["target"],
            buckets=SECONDS,
            **make,
        )
        self.overhead = Histogram(
            "router_overhead_seconds",
            "Time of a request that was not a target's.",
            buckets=OVERHEAD_SECONDS,
            **make,
        )
        self.tokens = Counter(
            "router_tokens", "Tokens as targets counted them.", ["target", "direction"], **make
        )
        self.cost = Counter(
            "router_cost_usd", "List price of what was used, USD.", ["target"], **make
        )
        self.loads = Counter(
            "router_policy_loads",
            "Policy loads, by result (`loaded`, `rejected`).",
            ["result"],
            **make,
        )
        self.policy = Gauge(
            "router_policy_info", "1 for the digest that is serving.", ["digest"], **make
        )
        self.controls = Gauge(
            "router_controls",
            "1 for each suspended target and each switch that is on.",
            ["kind", "name"],
            **make,
        )


class _Places(logging.Handler):
    """Other libraries' logs: logger, level and place, never the message.

    A message without arguments is no template either: libraries put text into it themselves.
    """

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        at = f"{record.module}.py:{record.lineno} {record.funcName}"
        log().log(record.levelno, "library", logger=record.name, at=at, error=error)


def configure_logging(level: int = logging.INFO) -> None:
    """Send the operating log to standard error as JSON lines, libraries' warnings included."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_text,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Places(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    # What the interpreter itself prints of an exception is its message, and that may hold anything.
    sys.excepthook = lambda _, error, __: log().error("process.crashed", exc_info=error)
    threading.excepthook = lambda crash: log().error("thread.crashed", exc_info=crash.exc_value)
    sys.unraisablehook = lambda crash: log().error("not_raised", exc_info=crash.exc_value)


def log() -> FilteringBoundLogger:
    """Return the operating log."""
    logger: FilteringBoundLogger = structlog.get_logger("router")
    return logger


def _without_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and its frames: messages and locals may hold anything."""
    error = event.pop("exc_info", None)
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["frames"] = frames(error)
    return event


def frames(error: BaseException) -> list[str]:
    """Return where an error was raised, innermost last: `file:line function`, without any text."""
    return [
        f"{frame.filename.rpartition('/router/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
