"""What is read when metrics are scraped: the writer, its chain's head, and external contacts.

The head shows that records were removed from the end of a file, which the file alone cannot show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from router.records.writer import RecordWriter
    from router.upstreams.contacts import Contacts


class Gauges(Collector):
    """Reads the writer's and the transport's own counts."""

    def __init__(self, *, writer: RecordWriter, contacts: Contacts) -> None:
        """Take what to read."""
        self._writer = writer
        self._contacts = contacts

    def collect(self) -> Iterator[Metric]:
        """Yield one metric family each."""
        writer = self._writer
        yield _gauge(
            "router_records_can_write", "1 while records can be written.", writer.can_write
        )
        yield _gauge("router_records_waiting", "Records in the writer's queue.", writer.depth)
        yield _gauge(
            "router_record_copies_dropped",
            "Copies for standard output that were dropped.",
            writer.dropped_copies,
        )
        head = GaugeMetricFamily(
            "router_record_chain_head",
            "Sequence number of the last record of this writer's chain, and its mac.",
            labels=["writer", "mac"],
        )
        head.add_metric([writer.head.writer, writer.head.mac], writer.head.seq)
        yield head
        for name, text, counts in (
            ("router_contacts", "Requests that the transport let out.", self._contacts.made),
            ("router_external_contacts", "Those to external targets.", self._contacts.external),
            (
                "router_reconnects",
                "Those sent once more: a kept connection was dead.",
                self._contacts.reconnected,
            ),
            ("router_addresses_refused", "Addresses not dialled.", self._contacts.refused),
        ):
            yield _by_target(name, text, counts)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _by_target(name: str, text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        name, f"{text} By target; counted by the transport itself.", labels=["target"]
    )
    for target, count in counts.items():
        family.add_metric([target], count)
    return family
