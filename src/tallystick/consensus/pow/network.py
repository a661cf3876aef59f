"""Miners on a network with delay, in virtual time: the event that is due first happens first.

Transactions and blocks go from a node straight to every other one, each link in the order in which
they were sent. A miner that finds a block before it has heard of another's makes a fork; both
branches are mined until one is longer. Everything is drawn from the race's and the delay's dice, so
a run can be had again.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from tallystick.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick.consensus.pow.node import Node
    from tallystick.consensus.pow.race import Race
    from tallystick.ledger.block import Block

__all__ = ["Network"]

REFRESH = 20  # ms after which a miner whose block is fixed looks at what has come in
MOST_EVENTS = 1_000_000


class Network:
    """Nodes that mine against each other.

    Parameters
    ----------
    nodes
        At least one; all of one genesis, with different names.
    race
        Where the times between blocks come from.
    delay
        How long a message takes, in milliseconds: called once for each.

    Attributes
    ----------
    now
        Virtual time in milliseconds since genesis.
    mined
        Every block in the order in which they were found, those of dead branches among them.
    """

    def __init__(self, nodes: Sequence[Node], race: Race, delay: Callable[[], int]) -> None:
        """Let everybody start."""
        self.nodes = tuple(nodes)
        self.now = 0
        self.mined: list[Block] = []
        self._race = race
        self._delay = delay
        self._order = count()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._arrival: dict[tuple[str, str], int] = {}
        self._flying = 0  # messages that have not arrived
        self._attempts = dict.fromkeys((node.name for node in nodes), 0)
        self._stale: set[str] = set()  # who will look at its pool again soon
        for node in self.nodes:
            self._restart(node)

    @property
    def time(self) -> int:
        """The block time that it is now, in milliseconds."""
        return self.nodes[0].genesis.time + self.now

    @property
    def converged(self) -> bool:
        """Whether all nodes have the same tip, and no block or transaction is on its way."""
        silent = not self._flying and not any(node.outbox for node in self.nodes)
        return silent and len({node.tip for node in self.nodes}) == 1

    def advance(self) -> None:
        """Let the next event happen."""
        self._carry()
        self.now, _, event = heapq.heappop(self._events)
        event()

    def run(self, until: Callable[[], bool]) -> None:
        """Advance until a condition holds.

        Raises
        ------
        InvariantError
            It never does.
        """
        for _ in range(MOST_EVENTS):
            if until():
                return
            self.advance()
        msg = "what the network was run for never happens"
        raise InvariantError(msg)

    def converge(self) -> None:
        """Mine on until the nodes agree on the tip and have nothing more to tell each other."""
        self.run(lambda: self.converged)

    def _at(self, time: int, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def _restart(self, node: Node) -> None:
        """Let a miner begin a new attempt; the one before counts no longer."""
        self._attempts[node.name] += 1
        number = self._attempts[node.name]
        attempt = self._race.start(node, self.time)
        self._at(self.now + attempt.delay, lambda: self._find(node, number, attempt.block))

    def _find(self, node: Node, number: int, block: Block | None) -> None:
        if number != self._attempts[node.name]:
            return
        mined = node.mine(self.time)[0] if block is None else block
        self.mined.append(mined)
        node.receive(mined)
        self._send(node, lambda other: self._deliver(other, mined))
        self._restart(node)

    def _deliver(self, node: Node, block: Block) -> None:
        if node.receive(block):
            self._restart(node)

    def _carry(self) -> None:
        """Send what members have handed in since."""
        for node in self.nodes:
            wires, node.outbox = tuple(node.outbox), []
            for wire in wires:
                self._send(node, lambda other, wire=wire: self._hear(other, wire))
            if wires:
                self._refresh(node)

    def _hear(self, node: Node, wire: bytes) -> None:
        node.hear(wire)
        self._refresh(node)

    def _refresh(self, node: Node) -> None:
        """Let a miner whose block is fixed put into a new one what has come in."""
        if self._race.commits and node.name not in self._stale:
            self._stale.add(node.name)
            self._at(self.now + REFRESH, lambda: self._look_again(node))

    def _look_again(self, node: Node) -> None:
        self._stale.discard(node.name)
        self._restart(node)

    def _send(self, node: Node, arrive: Callable[[Node], None]) -> None:
        """Bring something to every other node, not before what was sent there earlier."""
        for other in self.nodes:
            if other is not node:
                link = (node.name, other.name)
                at = max(self._arrival.get(link, 0), self.now + self._delay())
                self._arrival[link] = at
                self._flying += 1
                self._at(at, lambda other=other: self._land(other, arrive))

    def _land(self, node: Node, arrive: Callable[[Node], None]) -> None:
        self._flying -= 1
        arrive(node)
