"""Take part in a task from one's own machine: dial in, follow, train, attest, keep the proof.

A member needs nothing but outbound HTTPS. Its folder and the ledger are all it remembers by: ended
at any moment, it goes on where it was. Hours without a connection are normal; it says so and tries
again. Nothing a node says is believed (`tallystick.consensus.remote`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.consensus.client import Route
from tallystick.federation.seat import Progress, Seat, Wishes
from tallystick.federation.trainer import as_trainer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Joined", "Progress", "join"]

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of taking part.

    Attributes
    ----------
    status, cause
        How the task stands: ``running`` (with ``once``), ``done``, ``void``, ``aborted`` or
        ``suspended``, and why.
    completed
        Learning rounds that completed.
    genesis, model_root
        Lower-case hex.
    model_file, bundle
        The model and the proof; `None` while the task runs.
    metrics_file
        A line a round: what its model is worth on this member's data.
    """

    status: str
    cause: str
    completed: int
    genesis: str
    model_root: str
    model_file: Path | None
    bundle: Path | None
    metrics_file: Path


def join(  # noqa: PLR0913 - one call, many options
    urls: str | Sequence[str],
    *,
    task: str,
    trainer: object,
    home: str | Path,
    once: bool = False,
    ca: str | Path | None = None,
    proxy: str | None = None,
    genesis: str = "",
    terms: str = "",
    dataset: str = "",
    limit_seconds: float | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Joined:
    """Take part in ``task`` until it has ended, as the member whose keys are in ``home``.

    Taking part approves the task's terms, unless they were approved before.

    Parameters
    ----------
    urls
        A node's address or several; the next is tried when one does not answer.
    task
        The task's name. One that is not proposed yet is waited for.
    trainer
        An object with ``train`` and ``evaluate``, or shaped like Flower's ``NumPyClient``.
    home
        The member's folder: its key file, and what it has to remember.
    once
        Do what is owed now, then return instead of waiting for what comes.
    ca
        A file with the certificate authority of the nodes, instead of the system's.
    proxy
        The address of a proxy, instead of the environment's.
    genesis
        What the ledger has to start from: the hash or ``CHAIN+HEX`` that the organisations
        publish, or a genesis file. Without it the first genesis a node serves is kept and held to.
    terms
        The hash of the terms, in hex; others under the task's name are not approved.
    dataset
        The root, in hex, of the data set that private records are charged to, or how it begins;
        needed where the member has declared budgets for several.
    limit_seconds
        How long training may take; the window's length by default.
    watch
        Called with what is being done, whenever that changes.

    Raises
    ------
    ConfigError
        No key is here, the ledger does not know the member, or the trainer is none.
    LyingNodeError
        Every node said something that does not check out; the hint names the evidence.
    """
    listed = (urls,) if isinstance(urls, str) else tuple(urls)
    route = Route(listed, None if ca is None else Path(ca), proxy)
    wishes = Wishes(genesis, terms, dataset, limit_seconds, watch)
    with Seat(route, Path(home), task, as_trainer(trainer), wishes) as seat:
        seat.run(once=once)
        row, completed = seat.row, seat.completed
        ended = row is not None and row.status != "running"
        out = seat.folder
        has_model = ended and row is not None and row.model is not None
        return Joined(
            status="waiting" if row is None else row.status,
            cause="" if row is None else row.cause,
            completed=completed,
            genesis=seat.engine.head.chain.hex(),
            model_root=row.model.root.hex() if row is not None and row.model else "",
            model_file=_existing(out / "model.safetensors") if has_model else None,
            bundle=_existing(out / "run.tally") if ended else None,
            metrics_file=out / "metrics.csv",
        )


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
