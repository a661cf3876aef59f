"""How many transactions a consortium takes a second, and how long one takes to be final.

Members send when a transaction's time has come, whatever became of those before, each to its own
organisation's node; what falls due while a request is under way goes together with the next. A
transaction is final when a node shows the block that has it, with the validators' signatures.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.consensus.client import NodeClient, Route, Signer
from tallystick.consensus.wire import API, MOST_TOGETHER, blocks_in, frame
from tallystick.errors import UnavailableError
from tallystick.federation.acting import Acting
from tallystick.lab.bench.machine import Measure
from tallystick.lab.bench.network_load import transfer
from tallystick.ledger.transaction import transaction_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.lab.consortium import Consortium

__all__ = ["RATES", "Step", "find_sustained", "measure_load", "offer"]

SENDERS = 4
RATES = (25, 50, 100, 200, 300, 400, 500, 600, 800, 1000, 1200, 1500, 2000)  # to offer
USUAL, FIRST = 100, 400  # the rate at which latency is measured, and the first to try
SETTLE_SECONDS = 2.0  # from the last transaction on, until one that is not final counts as late
LOST_SECONDS = 30.0  # and until nobody waits for it any more
WAIT_SECONDS = 1.0
AGAIN_SECONDS = 0.2  # until what found no room is sent again


@dataclass(frozen=True, slots=True)
class Step:
    """What became of transactions that were offered at a steady rate.

    Attributes
    ----------
    offered
        Transactions a second.
    seconds
        From when each was due to when it was final, sorted; those that were not are missing.
    sent
        How many there were.
    lasted
        From the first transaction's time until the last one was final, in seconds.
    late
        From the last transaction's time until the last one was final, in seconds.
    """

    offered: float
    seconds: tuple[float, ...]
    sent: int
    lasted: float
    late: float

    @property
    def is_sustained(self) -> bool:
        """Whether all of them are final, soon after the last was sent."""
        return len(self.seconds) == self.sent and self.late <= SETTLE_SECONDS

    @property
    def rate(self) -> float:
        """Final transactions a second."""
        return len(self.seconds) / self.lasted

    def quantile(self, share: float) -> float:
        """Return the time within which a share of them was final."""
        return self.seconds[min(len(self.seconds) - 1, int(len(self.seconds) * share))]


def measure_load(consortium: Consortium, transactions: int) -> list[Measure]:
    """Return the highest rate that is sustained, and the latency at 100 transactions a second.

    Parameters
    ----------
    transactions
        Offered at 100 a second; any rate is offered for as long.

    Raises
    ------
    UnavailableError
        Not even the lowest rate is sustained.
    """

    def at(rate: float) -> Step:
        return offer(consortium, rate, round(rate * transactions / USUAL))

    at(USUAL)  # to warm up
    usual = at(USUAL)
    best = find_sustained(at)
    if best is None or not usual.seconds:
        msg = f"{RATES[0]} transactions a second are not sustained"
        raise UnavailableError(msg, hint="see that nothing else is at work on this machine")
    facts = {"members": len(consortium.names), "engine": "cometbft"}
    sustained = {**facts, "offered": best.offered, "transactions": best.sent}
    calm = {**facts, "offered": usual.offered, "transactions": usual.sent}
    return [
        Measure("transactions_per_second", "1/s", (best.rate,), sustained),
        Measure("latency_p50_seconds", "s", (usual.quantile(0.5),), calm),
        Measure("latency_p95_seconds", "s", (usual.quantile(0.95),), calm),
    ]


def find_sustained(at: Callable[[float], Step]) -> Step | None:
    """Return what became of the highest of `RATES` that is sustained, `None` if none is.

    From the first to try on, upwards while rates are sustained, else downwards until one is.
    """
    first = RATES.index(FIRST)
    best: Step | None = None
    for rate in RATES[first:]:
        step = at(rate)
        if not step.is_sustained:
            break
        best = step
    if best is not None:
        return best
    for rate in reversed(RATES[:first]):
        step = at(rate)
        if step.is_sustained:
            return step
    return None


def offer(consortium: Consortium, rate: float, transactions: int) -> Step:
    """Offer transfers at a rate, spread over up to four members and their nodes."""
    names = consortium.names[:SENDERS]
    each = max(1, transactions // len(names))
    with ExitStack() as opened:
        senders = [opened.enter_context(closing(_Sender(consortium, name, each))) for name in names]
        watch = _Watch(consortium.url(names[-1]))
        opened.callback(watch.close)
        began = time.monotonic() + 0.1
        for number, sender in enumerate(senders):
            first = began + number / rate
            sender.due = [first + turn * len(names) / rate for turn in range(each)]
        due = {
            tx: at for sender in senders for tx, at in zip(sender.hashes, sender.due, strict=True)
        }
        end = max(due.values()) + LOST_SECONDS
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda sender: sender.send(end), senders))
            final = watch.wait(due, end)
    seconds = sorted(final[tx] - due[tx] for tx in final)
    last = end if len(final) < len(due) else max(final.values())
    return Step(rate, tuple(seconds), len(due), last - began, last - max(due.values()))


class _Sender:
    """A member that sends transfers which it has signed beforehand."""

    def __init__(self, consortium: Consortium, name: str, count: int) -> None:
        route = Route((consortium.url(name),))
        with Acting.open(route.urls, key_folder=consortium.home(name)) as acting:
            signed = [transfer(acting, number) for number in range(1, count + 1)]
            who, chain = acting.identity, acting.engine.kernel.chain
        signer = Signer(chain, who.member, who.key, who.secret)
        self._wires = [tx.wire for tx in signed]
        self.hashes = [tx.hash for tx in signed]
        self.due: list[float] = []
        self._client = NodeClient(route, lambda: signer)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def send(self, end: float) -> None:
        """Send each when it is due, in their order; what found no room is sent again."""
        at = 0
        while at < len(self._wires) and time.monotonic() < end:
            now = time.monotonic()
            ready = at
            while ready < min(len(self._wires), at + MOST_TOGETHER) and self.due[ready] <= now:
                ready += 1
            if ready == at:
                time.sleep(self.due[at] - now)
                continue
            taken = self._hand_in(self._wires[at:ready])
            at += taken
            if at < ready:
                time.sleep(AGAIN_SECONDS)

    def _hand_in(self, wires: list[bytes]) -> int:
        """Return how many of the first were taken."""
        body = b"".join(map(frame, wires))
        answer = self._client.ask("POST", f"{API}/transactions/batch", body, signed=True)
        said = answer.document()["answers"]
        return next((number for number, each in enumerate(said) if "error" in each), len(said))


class _Watch:
    """Notes when a node first shows each transaction."""

    def __init__(self, url: str) -> None:
        self._client = NodeClient(Route((url,)))
        self._seen: dict[bytes, float] = {}
        self._height = int(self._client.ask("GET", f"{API}/status").document()["height"])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def wait(self, wanted: dict[bytes, float], end: float) -> dict[bytes, float]:
        """Return when each of the wanted was final, once all are or time is up."""
        while time.monotonic() < end and len(self._seen) < len(wanted):
            time.sleep(0.01)
        return {tx: at for tx, at in self._seen.copy().items() if tx in wanted}

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(WAIT_SECONDS + 1)
        self._client.close()

    def _look(self) -> None:
        while not self._ended.is_set():
            target = f"{API}/blocks?from={self._height + 1}&wait={WAIT_SECONDS:g}"
            try:
                answer = self._client.ask("GET", target, wait_seconds=WAIT_SECONDS)
            except UnavailableError:
                self._ended.wait(AGAIN_SECONDS)
                continue
            now = time.monotonic()
            for block in blocks_in(answer.content):
                self._height = block.header.height
                self._seen |= {transaction_hash(wire): now for wire in block.transactions}
