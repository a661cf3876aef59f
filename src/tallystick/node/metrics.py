"""What a node counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.node.reception import Reception

__all__ = ["Metrics"]


class Metrics:
    """One node's counters, in a registry of its own."""

    def __init__(self, clerk: Reception) -> None:
        """Start at zero; what the clerk knows is asked when somebody looks."""
        self._registry = CollectorRegistry()
        self.beside: Callable[[], bytes] = lambda: b""  # what another process counts
        labels = ["route", "status"]
        self.requests = Counter(
            "tally_requests", "Requests answered.", labels, registry=self._registry
        )
        self.seconds = Histogram(
            "tally_request_seconds", "Time to answer.", ["route"], registry=self._registry
        )
        self.blob_bytes = Counter(
            "tally_blob_bytes",
            "Bytes of tasks' blobs taken in and served.",
            ["direction"],
            registry=self._registry,
        )
        self.replicated_bytes = Counter(
            "tally_replicated_bytes",
            "Bytes of tasks' blobs taken from other nodes and given to them.",
            ["direction"],
            registry=self._registry,
        )
        self.pending_pushes = Gauge(
            "tally_pending_pushes",
            "Blobs that other nodes are still to be given, one for each node.",
            registry=self._registry,
        )
        self.refused = Counter(
            "tally_refused_requests", "Requests refused.", ["code"], registry=self._registry
        )
        engine = clerk.engine
        self._gauge("tally_height", "Height of the newest block.", lambda: engine.head.height)
        self._gauge("tally_pending", "Transactions waiting for a block.", lambda: engine.pending)
        self._gauge(
            "tally_block_time_seconds", "Time of the newest block.", lambda: engine.head.time / 1000
        )
        self._gauge("tally_up", "Whether blocks are sealed.", lambda: float(clerk.works))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format, CometBFT's own counters included."""
        return generate_latest(self._registry) + self.beside()

    def _gauge(self, name: str, says: str, value: object) -> None:
        gauge = Gauge(name, says, registry=self._registry)
        gauge.set_function(value)  # pyright: ignore[reportArgumentType]
