"""What a node counts, for Prometheus."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.node.reception import Reception

__all__ = ["EngineMetrics", "Metrics"]

LOG = logging.getLogger(__name__)
ENGINE_SECONDS = 2.0


class EngineMetrics:
    """What an engine's own process on this machine counts.

    Parameters
    ----------
    url
        Where it says so.
    """

    def __init__(self, url: str) -> None:
        """Ask nobody yet."""
        self._url = url
        self._client = httpx.Client(timeout=ENGINE_SECONDS, trust_env=False)  # no proxy leads here

    def __call__(self) -> bytes:
        """Return it, in Prometheus' text format; nothing while it does not answer."""
        try:
            return self._client.get(self._url).content
        except httpx.HTTPError as error:
            LOG.debug("the engine does not say what it counts: %s", error)
            return b""

    def close(self) -> None:
        """Hang up."""
        self._client.close()


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
