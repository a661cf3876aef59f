"""Peel off the updates that point against the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import msgspec
import numpy as np

from tallystick.mechanisms.aggregation import bench_of
from tallystick.mechanisms.reasons import COSINE, WRONG_SHAPE
from tallystick.mechanisms.records import Attestation, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.mechanisms.screening import refuse, shaped_in
from tallystick.tensors.arithmetic import cosine_ppm
from tallystick.tensors.dtypes import Array

__all__ = ["Peers", "peel"]

BPS = 10_000
PPM_PER_BPS = 100


@register
@dataclass(frozen=True, slots=True)
class Peers:
    """Repeatedly refuse the update whose median cosine to those left is lowest, while it is low.

    Needs no data and no committee, only the products of all pairs. An honest majority points
    roughly one way; the peeling stops at the declared tolerance, so honest members with odd data
    are lost only up to it.

    Parameters
    ----------
    cosine_bps
        Refuse at this median cosine or below, in basis points; -10,000 to 10,000.
    tolerance_bps
        The share of other members that may be refused: of n live updates at most
        ``floor((n - 1) · (tolerance_bps + 1) / 10,000)``, so 3333 is one third; below 10,000.
    without_allies
        Leave out of each one's median its highest cosines, as many as there may still be allies:
        one less than may still be refused. Colluders who send the same vouch for one another; those
        voices then count for nothing, and for honest members it takes as many away.

    Notes
    -----
    Cosines are in parts per million, rounded up, which keeps each comparison exact; of an even
    number the median is the floor of the average of the middle two; alone it is 0, and so is the
    cosine to a zero update. Ties go by id, then author. The median is appended to the subject's
    columns: at removal for the refused, at the end for those kept. An update of the wrong shape is
    refused as such. Who was refused before stays as it was. Tolerates up to the tolerance; does not
    see backdoors.
    """

    id: ClassVar[str] = "screen/peers/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    needs_model: ClassVar[bool] = True

    cosine_bps: int = 0
    tolerance_bps: int = 3333
    without_allies: bool = False

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        if not -BPS <= self.cosine_bps <= BPS:
            msg = f"cosine_bps is -{BPS} to {BPS}, not {self.cosine_bps}"
            raise ValueError(msg)
        if not 0 <= self.tolerance_bps < BPS:
            msg = f"tolerance_bps is 0 to {BPS - 1}, not {self.tolerance_bps}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        given = inputs.of[0]
        evidence = given.root
        order = sorted(shaped_in(inputs), key=lambda at: given.subjects[at].rank)
        bench, model = bench_of(inputs)
        products = bench.gram([given.subjects[at].id for at in order], model)
        most = (len(order) - 1) * (self.tolerance_bps + 1) // BPS
        allies = max(0, most - 1) if self.without_allies else 0
        removed, medians = peel(_cosines(products), self.cosine_bps * PPM_PER_BPS, most, allies)
        found = dict(zip(order, medians, strict=True))
        gone = {order[row] for row in removed}

        def judged(at: int, subject: Subject) -> Subject:
            if at in found:
                told = msgspec.structs.replace(subject, columns=(*subject.columns, found[at]))
                return refuse(told, COSINE, evidence) if at in gone else told
            return refuse(subject, WRONG_SHAPE, evidence) if subject.live else subject

        return Output(subjects=tuple(map(judged, range(len(given.subjects)), given.subjects)))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [
            cls(),
            cls(cosine_bps=-500, tolerance_bps=2000),
            cls(cosine_bps=-1000, without_allies=True),
        ]


def peel(cosines: Array, threshold: int, most: int, allies: int = 0) -> tuple[list[int], list[int]]:
    """Return which rows are removed, in order, and every row's median when it left or at the end.

    Parameters
    ----------
    cosines
        int64 of shape (n, n) in parts per million, ties resolved in favour of removing the first.
    threshold
        Remove at or below, in parts per million.
    most
        How many rows may be removed.
    allies
        How many of each row's highest cosines count for nothing, one less after each removal.
    """
    live = list(range(len(cosines)))
    removed: list[int] = []
    medians = [0] * len(cosines)
    while live:
        current = _medians(cosines[np.ix_(live, live)], max(0, allies - len(removed)))
        for row, median in zip(live, current, strict=True):
            medians[row] = median
        lowest = min(range(len(live)), key=current.__getitem__)
        if len(removed) >= most or current[lowest] > threshold:
            break
        removed.append(live.pop(lowest))
    return removed, medians


def _medians(cosines: Array, allies: int) -> list[int]:
    """Return each row's median without its own column and its highest; 0 where none is left."""
    others = len(cosines) - 1 - allies
    if others < 1:
        return [0] * len(cosines)
    rest = cosines.copy()
    np.fill_diagonal(rest, np.iinfo(np.int64).max)  # sorts behind all others
    rest.sort(axis=1)
    return ((rest[:, (others - 1) // 2] + rest[:, others // 2]) >> 1).tolist()


def _cosines(products: tuple[tuple[int, ...], ...]) -> Array:
    count = len(products)
    found = np.zeros((count, count), np.int64)
    for a in range(count):
        for b in range(a):
            cosine = cosine_ppm(products[a][b], products[a][a], products[b][b])
            found[a, b] = found[b, a] = cosine
    return found
