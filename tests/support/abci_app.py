"""An organisation's application in a folder: it is started, stopped, and killed as power loss does.

Its clock stands still unless a test moves it, so that time is what blocks say it is.
"""

from __future__ import annotations

import shutil
from contextlib import suppress

from tallystick.consensus.cometbft.application import Application
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.cometbft.server import Server
from tallystick.consensus.cometbft.snapshots import Snapshots
from tallystick.storage.sqlite import LedgerStore

__all__ = ["App"]

LEDGER = "ledger.sqlite"
LAST_OF_A_COMMIT = "DELETE FROM pool"


class App:
    """A replica behind a socket.

    ``every`` is the height between two snapshots; ``options`` go to the replica.
    """

    def __init__(self, folder, genesis, *, every=0, **options):
        self.folder, self.genesis, self.every = folder, genesis, every
        self.options = {"clock": lambda: 0, **options}
        self.lives = 0
        self.accused, self.blamed = [], []
        self.replica = None
        self.confirm = lambda _: None

    @property
    def socket(self):
        return self.folder / "s"

    @property
    def path(self):
        """Where the ledger of this life lies."""
        return self.folder / str(self.lives) / LEDGER

    @property
    def is_running(self):
        return self.replica is not None

    def start(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.store = LedgerStore(self.path)
        self.replica = Replica(self.store, self.genesis, **self.options)
        self.snapshots = Snapshots(
            self.path.with_name("snapshots"),
            self.path,
            self.replica.restore,
            lambda header: self.confirm(header),  # noqa: PLW0108 - a test may change it
            self.every,
        )
        application = Application(
            self.replica,
            self.snapshots,
            self.accused.append,
            lambda *blamed: self.blamed.append(blamed),
        )
        self.server = Server(application, self.socket)

    def stop(self):
        self.server.close()
        self.snapshots.wait()
        self.replica.close()
        self.replica = None

    def kill(self):
        """End it; the next life has what was on the disk at this moment."""
        self.copy_disk()
        self.die()

    def die(self):
        """End it; the next life has what `copy_disk` found."""
        self.stop()
        self.lives += 1

    def copy_disk(self):
        """Note what the disk holds now for the next life, whatever is written later in this one."""
        copied = self.folder / str(self.lives + 1)
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(self.path.parent, copied, ignore=shutil.ignore_patterns("*-shm", "*-lock"))

    def copy_disk_while_writing(self):
        """As `copy_disk`, in the middle of the transaction that writes the next block."""

        def trace(statement):
            if statement.startswith(LAST_OF_A_COMMIT) and self.store._db.in_transaction:
                with suppress(OSError):
                    self.copy_disk()

        self.store._db.set_trace_callback(trace)
