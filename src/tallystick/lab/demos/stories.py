"""What happens to a consortium when members are missing, late, dead, or serve bad bytes.

Each story is a short federation of its own with the demo's members and data. ``quorum`` is the
smallest number of updates that the terms call enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tallystick.errors import UnavailableError
from tallystick.federation.conduct import Honest
from tallystick.lab.attacks.absentee import Absentee
from tallystick.lab.demos.audit import replay_blocks
from tallystick.lab.demos.checks import Check, at_most, holds, same
from tallystick.lab.demos.world import scratch_folder
from tallystick.ledger.contracts import accounts
from tallystick.mechanisms.records import ROUND
from tallystick.storage.blobs import FileBlobs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tallystick.federation.conduct import Moment
    from tallystick.federation.run import Run
    from tallystick.lab.demos.world import World
    from tallystick.ledger.collect.notes import Shut
    from tallystick.provenance.facts import At, RoundHistory
    from tallystick.tensors.spec import Blobs, BlobWriter

__all__ = ["Liar", "blob_checks", "death_checks", "quorum_checks", "quorum_of", "void_checks"]

UPDATE = "update"


class _Silent(Honest):
    """Trains and attests like everybody, but sends no update in some rounds."""

    def __init__(self, rounds: Iterable[int]) -> None:
        self._rounds = frozenset(rounds)

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        sends = moment.key.stage == UPDATE and moment.window != "hold"
        return not sends or moment.key.round not in self._rounds


def quorum_of(members: int) -> int:
    """Return how many are more than half."""
    return members // 2 + 1


def quorum_checks(world: World, prefix: str = "") -> Iterable[Check]:
    """Yield what follows when one too few, and then just enough, send updates."""
    quorum = quorum_of(len(world.members))
    few, enough = world.members[quorum - 1 :], world.members[quorum:]
    conduct = {name: _Silent((2,)) for name in few}
    conduct |= {name: _Silent((2, 3)) for name in enough}
    with scratch_folder() as folder:
        run = world.run(folder, conduct=conduct, rounds=3)
        times = replay_blocks(run.bundle).times
    short, full = _round(run, 2), _round(run, 3)
    yield same(
        f"{prefix}quorum-minus-one-voids",
        short.ended[1].cause if short.ended else None,
        "update-short",
        f"With {quorum - 1} of {len(world.members)} updates the round is void, as the terms say.",
    )
    yield same(
        f"{prefix}absentees-named",
        ", ".join(_absent(short)),
        ", ".join(few),
        "The ledger names exactly those who sent nothing.",
    )
    within = next(stage.within for stage in run.terms.round if stage.name == UPDATE)
    yield at_most(
        f"{prefix}deadline-kept",
        _open_seconds(short, times),
        within / 1000,
        "The window shut at its deadline, in seconds of the ledger's time.",
    )
    yield holds(
        f"{prefix}quorum-completes",
        full.completed and _absent(full) == enough,
        f"With {quorum} updates the round completes, and names the {len(enough)} others.",
    )
    with scratch_folder() as folder:
        asks_less = {UPDATE: {"need": quorum - 1}}
        modest = world.run(folder, conduct=conduct, rounds=2, stage=asks_less)
    yield holds(
        f"{prefix}terms-decide",
        _round(modest, 2).completed,
        f"Under terms that need {quorum - 1} updates the same round completes.",
    )


def void_checks(world: World, prefix: str = "") -> Iterable[Check]:
    """Yield what follows when too few answer for good."""
    few = world.members[quorum_of(len(world.members)) - 1 :]
    with scratch_folder() as folder:
        run = world.run(folder, conduct={name: _Silent(range(100)) for name in few}, rounds=5)
        state = replay_blocks(run.bundle).state
    yield same(
        f"{prefix}three-voids-end-the-task",
        f"{run.status} after {run.history.attempts} rounds",
        "void after 3 rounds",
        "Three void rounds in a row end the task.",
    )
    totals = accounts.totals(state)
    balances = [accounts.balance(state, name) for name in world.members]
    yield same(
        f"{prefix}everybody-gets-back-what-is-due",
        totals.escrow
        + totals.bonds
        + totals.sink
        + sum(abs(own - totals.supply // len(balances)) for own in balances),
        0,
        "Escrow and bonds are back with whom they came from, to the last micro-unit.",
    )


def death_checks(world: World, prefix: str = "") -> Iterable[Check]:
    """Yield that one dead member changes little, and that all this can be had again, exactly."""
    dead = world.members[-1]
    rounds = min(3, world.rounds)
    runs: list[Run] = []
    for _ in range(2):
        with scratch_folder() as folder:
            runs.append(world.run(folder, conduct={dead: Absentee()}, rounds=rounds))
    run, again = runs
    yield same(
        f"{prefix}dead-member-tolerated",
        f"{run.status}, {run.completed} models",
        f"done, {rounds} models",
        f"{dead} is dead from the first round on; every round still ends with a model.",
    )
    yield same(
        f"{prefix}same-seed-same-roots",
        f"{again.state_root} {again.model_root}",
        f"{run.state_root} {run.model_root}",
        "Run a second time with the same seed, state and model have the same roots.",
    )


def blob_checks(run: Run, prefix: str = "") -> Iterable[Check]:
    """Yield that a flipped byte is noticed and another holder asked."""
    root, size = bytes.fromhex(run.model_root), (run.model_file or run.bundle).stat().st_size
    good = FileBlobs(run.out / "blobs")
    with scratch_folder() as folder:
        damaged, mine = FileBlobs(folder / "damaged"), FileBlobs(folder / "mine", durable=False)
        damaged.fetch(root, size, [good])
        _flip(folder / "damaged" / root.hex()[:2] / root.hex()[2:])
        refused = _refuses(FileBlobs(folder / "damaged"), root)
        alone = _fetches(mine, root, size, [Liar(good)])
        helped = _fetches(mine, root, size, [Liar(good), good])
        whole = helped and bool(np.array_equal(mine.open(root), good.open(root)))
    yield holds(
        f"{prefix}flipped-byte-refused",
        refused and not alone,
        "A model with one flipped byte is refused, on one's own disk and from a holder.",
    )
    yield holds(
        f"{prefix}another-holder-used",
        whole,
        "The next holder's bytes are taken instead.",
    )


class Liar:
    """A holder that serves every blob with its last byte changed."""

    def __init__(self, blobs: FileBlobs) -> None:
        self._blobs = blobs

    def has(self, root: bytes) -> bool:
        """See `Blobs.has`."""
        return self._blobs.has(root)

    def open(self, root: bytes) -> np.ndarray:
        """See `Blobs.open`."""
        data = self._blobs.open(root).copy()
        data[-1] ^= 1
        return data

    def create(self) -> BlobWriter:
        """See `Blobs.create`."""
        return self._blobs.create()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _refuses(blobs: FileBlobs, root: bytes) -> bool:
    try:
        blobs.open(root)
    except UnavailableError:
        return True
    return False


def _fetches(mine: FileBlobs, root: bytes, size: int, holders: list[Blobs]) -> bool:
    try:
        mine.fetch(root, size, holders)
    except UnavailableError:
        return False
    return mine.has(root)


def _round(run: Run, number: int) -> RoundHistory:
    return next(
        found for found in run.history.rounds if found.phase == ROUND and found.number == number
    )


def _shut(found: RoundHistory) -> tuple[At, Shut] | None:
    """Return how the window shut in which updates were sealed."""
    for instance in found.stages[UPDATE].instances.values():
        for at, shut in instance.shut:
            if shut.window == "seal":
                return at, shut
    return None


def _absent(found: RoundHistory) -> tuple[str, ...]:
    shut = _shut(found)
    return () if shut is None else shut[1].absent


def _open_seconds(found: RoundHistory, times: tuple[int, ...]) -> float | None:
    shut = _shut(found)
    opened = [each.opened for each in found.stages[UPDATE].instances.values() if each.opened]
    if shut is None or not opened:
        return None
    return (times[shut[0].height] - times[opened[0].height]) / 1000
