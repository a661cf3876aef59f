"""Members of a network that share a process: each with its own key, ledger, blobs and node.

One thread lets them act in turn, so that those who conspire may look at each other's work. What a
member sends, fetches and checks is what it would if it were alone.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Self

from tallystick.consensus.client import NodeClient, Route, Signer
from tallystick.consensus.remote import Remote
from tallystick.consensus.witness import LyingNodeError, Witness
from tallystick.errors import UnavailableError
from tallystick.federation.acting import MEMBER
from tallystick.federation.approving import BLOBS
from tallystick.federation.conduct import HONEST
from tallystick.federation.courier import Courier
from tallystick.federation.habits import Habits
from tallystick.federation.key_file import load_keyring
from tallystick.federation.member import Member
from tallystick.federation.poll import Poll
from tallystick.ledger.collect.rows import TASKS
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.sqlite import LedgerStore
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tallystick.federation.conduct import Conduct
    from tallystick.federation.trainer import Trainer
    from tallystick.lab.consortium import Consortium
    from tallystick.ledger.collect.rows import TaskRow

__all__ = ["Company", "Player"]

LOG = logging.getLogger(__name__)
WAIT_SECONDS = 5.0
LEAST_WAIT_SECONDS = 0.01
PAUSE_SECONDS = 0.2  # before something that found no room is said again


class Player:
    """One member at its node: the ledger as it has checked it, and its bytes.

    Parameters
    ----------
    habits
        How it is; its carrier is the player's own.
    done
        Called, from other threads, when there may be something to do.
    """

    def __init__(
        self,
        network: Consortium,
        name: str,
        trainer: Trainer,
        habits: Habits,
        done: Callable[[], None],
    ) -> None:
        """Open the member's folder and catch up with the ledger."""
        home = network.home(name)
        work = home / MEMBER
        work.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as opened:
            client = NodeClient(Route((network.url(name),)), self._sign)
            opened.callback(client.close)
            store = LedgerStore(work / "ledger.db", durable=False)
            opened.callback(store.close)
            witness = Witness(work / "evidence")
            self.engine = Remote(store, client, network.genesis, witness)
            self.engine.catch_up()
            self._identity = load_keyring(home).identity_in(self.engine.state)
            self.blobs = FileBlobs(work / BLOBS, durable=False)
            opened.callback(self.blobs.close)
            self._courier = habits.carrier = Courier(client, self.blobs, witness, done)
            opened.callback(self._courier.close)
            workbench = Workbench(self.blobs)
            self.member = Member(self._identity, self.engine, trainer, workbench, work, habits)
            opened.enter_context(closing(self.member))
            self._poll = Poll(self.engine, done)
            opened.callback(self._poll.close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the folder."""
        self._opened.close()

    def act(self) -> int:
        """Look at what is new and do what is owed; return how much that was.

        Raises
        ------
        LyingNodeError
            What its node showed is not true.
        """
        try:
            self._poll.take()
            owed = self.member.step()
        except LyingNodeError:
            raise
        except UnavailableError as error:
            LOG.warning("%s: %s; trying again", self._identity.member, error)
            return 0
        self._courier.settle()
        return owed

    def ask(self) -> float:
        """Ask for what comes next; return after how many seconds to look again all the same."""
        self._poll.ask()
        wake = self.member.wake
        seconds = WAIT_SECONDS
        if wake is not None:
            seconds = max(LEAST_WAIT_SECONDS, (wake - self.engine.now) / 1000)
        busy = self.member.found_no_room or self._courier.is_waiting
        return min(seconds, PAUSE_SECONDS if busy else WAIT_SECONDS)

    def row(self, task: bytes) -> TaskRow | None:
        """Return the task's row, as this member sees it."""
        return self.engine.state.get(TASKS, task)

    def _sign(self) -> Signer:
        who = self._identity
        return Signer(self.engine.kernel.chain, who.member, who.key, who.secret)


class Company:
    """All members of a network in one process, while the context lasts.

    Parameters
    ----------
    trainers
        One for each member, by name.
    conduct
        How members behave that are not honest, by name.
    task
        The one task they take part in, by name.
    """

    def __init__(
        self,
        network: Consortium,
        trainers: Mapping[str, Trainer],
        conduct: Mapping[str, Conduct],
        task: str,
    ) -> None:
        """Let everybody sit down."""
        self.trainers = trainers
        self._bell = threading.Event()
        self._members: dict[str, Member] = {}  # for those who conspire to look at
        self.players: dict[str, Player] = {}
        dishonest = frozenset(conduct)
        with ExitStack() as opened:
            for name, trainer in sorted(trainers.items()):
                habits = Habits(
                    conduct=conduct.get(name, HONEST),
                    allies=dishonest if name in dishonest else frozenset(),
                    peers=self._members if name in dishonest else {},
                    only=task,
                )
                player = Player(network, name, trainer, habits, self._bell.set)
                opened.callback(player.close)
                self.players[name] = player
                self._members[name] = player.member
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let everybody leave."""
        self._opened.close()

    def run(self, task: bytes, watch: Callable[[TaskRow], None]) -> TaskRow:
        """Take part until everybody has seen the task's end; return its last row.

        Parameters
        ----------
        watch
            Called with the row as the first member sees it, whenever anybody has acted.

        Raises
        ------
        LyingNodeError
            A node showed what is not true.
        """
        while True:
            self._bell.clear()
            owed = sum(player.act() for player in self.players.values())
            rows = [player.row(task) for player in self.players.values()]
            if rows[0] is not None:
                watch(rows[0])
            ended = [row for row in rows if row is not None and row.status != "running"]
            if len(ended) == len(rows):
                return ended[0]
            if not owed:
                self._bell.wait(min(player.ask() for player in self.players.values()))
