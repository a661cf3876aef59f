"""How a member protects what it submits: contributions clipped, added up, covered by noise.

A *contribution* is the change that one row asks for, or with unit ``update`` the whole update. Each
is put on the terms' grid and shortened to the clipping norm in exact integers, so its length
is within the clipping norm with all rounding counted. Only then are they added up, noise comes on
top, and the sum is divided by their number. Everything after the noise (rounding it to the grid,
dividing, staying in range) is a function of what is public by then.

What neighbours are, and so what epsilon is about, is the terms' ``adjacency``:

- ``zero-out``: one contribution is replaced by no change at all; at most one clipping norm apart;
- ``replace-one``: one contribution is replaced by any other; at most two.

The number of contributions is public under both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tallystick.errors import ConfigError
from tallystick.mechanisms.theory.noise import Entropy, Law
from tallystick.mechanisms.theory.rdp import ORDERS, Vector
from tallystick.tensors.arithmetic import squared_norms
from tallystick.tensors.dtypes import FLOATS, Array
from tallystick.tensors.spec import ModelSpec, Parameter

__all__ = ["ROW", "SENSITIVITIES", "UNITS", "UPDATE", "ClippedSum", "Protection", "check_terms"]

Arrays: TypeAlias = Mapping[str, Array]

ROW, UPDATE = "row", "update"
UNITS = (ROW, UPDATE)
SENSITIVITIES = {"zero-out": 1, "replace-one": 2}
MICROS = 10**6
PICOS = 10**12
SCALE_BITS = 32
BEYOND_INT32 = 2**31
MOST_NOISE = 2.0**60  # steps; noise beyond is cut, which needs no knowledge of the data


@dataclass(frozen=True, slots=True)
class Protection:
    """What the terms ask of a member's submission.

    Attributes
    ----------
    unit
        ``row`` or ``update``: what is clipped, and whom epsilon protects.
    clipping_norm_micros
        The longest a contribution may be, in millionths of the parameters' unit.
    law
        How the noise is distributed.
    """

    unit: str
    clipping_norm_micros: int
    law: Law


def check_terms(
    unit: str, adjacency: str, clipping_norm_micros: int, delta_picos: int, table: Vector
) -> None:
    """Refuse parameters of a private stage that have no meaning.

    Raises
    ------
    ValueError
        Names the parameter.
    """
    problem = ""
    if unit not in UNITS:
        problem = f"unit = '{unit}': one of {', '.join(UNITS)}"
    elif adjacency not in SENSITIVITIES:
        problem = f"adjacency = '{adjacency}': one of {', '.join(SENSITIVITIES)}"
    elif not 1 <= clipping_norm_micros < BEYOND_INT32 * MICROS:
        problem = f"clipping_norm_micros = {clipping_norm_micros}: at least 1, below 2^31 units"
    elif not 1 <= delta_picos < PICOS:
        problem = f"delta_picos = {delta_picos}: above 0 and below 10^12"
    elif len(table) != len(ORDERS) or any(not -(2**62) < each < 2**62 for each in table):
        problem = f"table has a 62-bit integer for each of the {len(ORDERS)} orders"
    if problem:
        raise ValueError(problem)


class ClippedSum:
    """Contributions on the terms' grid, each within the clipping norm, added up exactly.

    Parameters
    ----------
    model
        Names, shapes and steps. Integer tensors (counters, indices) have no share: a private
        update leaves them as they are.

    Attributes
    ----------
    count
        How many contributions there are.

    Raises
    ------
    ConfigError
        The clipping norm exceeds 2^31 of the model's finest steps, or no tensor is a float's.

    Notes
    -----
    A contribution with a NaN or an infinity, or too long for float64, counts as no change. Lengths
    are of all float tensors together, in squares of the finest step, as
    `tallystick.tensors.workbench` measures them.
    Memory: 8 bytes a parameter, and the batch in hand.
    """

    def __init__(self, model: ModelSpec, clipping_norm_micros: int) -> None:
        """Start with nothing."""
        self._parts = tuple(each for each in model.parameters if each.dtype in FLOATS)
        self._finest = min((each.exponent for each in self._parts), default=0)
        self._norm_micros = clipping_norm_micros
        self._totals = {each.name: np.zeros(each.size, np.int64) for each in self._parts}
        self._model = model
        self.count = 0
        if not self._parts:
            msg = "the model has no float tensor, and noise protects no other"
            raise ConfigError(msg)
        if clipping_norm_micros << -self._finest >= (BEYOND_INT32 - 1) * MICROS:
            msg = f"the clipping norm exceeds 2^31 steps of 2^{self._finest}"
            raise ConfigError(msg, hint="choose a smaller clip")

    @property
    def totals(self) -> dict[str, Array]:
        """The sums in steps, int64 of shape (size,), by name."""
        return self._totals

    def fresh(self) -> ClippedSum:
        """Return an empty sum over the same model, with the same clipping norm."""
        return ClippedSum(self._model, self._norm_micros)

    def merge(self, totals: Arrays, count: int) -> None:
        """Add sums of contributions that were clipped elsewhere."""
        for name, total in totals.items():
            self._totals[name] += total
        self.count += count

    def add(self, batch: Arrays) -> None:
        """Add a batch of contributions.

        Parameters
        ----------
        batch
            A tensor for each of the model's float tensors, with one axis more in front: the rows.

        Raises
        ------
        ConfigError
            A shape that does not fit.
        """
        rows = [_rows_of(batch, each) for each in self._parts]
        if len({len(row) for row in rows}) > 1:
            msg = "a batch of contributions has as many rows in every tensor"
            raise ConfigError(msg)
        steps = self._on_grid(rows)
        scales = self._scales(steps)
        for part, values in zip(self._parts, steps, strict=True):
            shortened = (np.abs(values) * scales[:, None]) >> SCALE_BITS
            self._totals[part.name] += (np.sign(values) * shortened).sum(axis=0)
        self.count += len(rows[0])

    def applied(self, parent: Arrays) -> dict[str, Array]:
        """Return ``parent`` moved by the mean contribution, without noise: for nobody else."""
        moved = dict(parent)
        for part in self._parts:
            mean = self._totals[part.name] / max(1, self.count) * math.ldexp(1.0, part.exponent)
            old = parent[part.name]
            moved[part.name] = (old + mean.reshape(part.shape)).astype(old.dtype)
        return moved

    def protect(self, law: Law, entropy: Entropy) -> dict[str, Array]:
        """Return the noisy mean in steps, int32 by name: what may leave the member.

        Notes
        -----
        Noise is rounded to the grid before it meets the sum, so its low bits say nothing about the
        data; the mean is rounded to the nearest step, ties up, and cut to 31 bits.

        References
        ----------
        Mironov, CCS 2012, on the low bits of floating-point noise.
        """
        noise = law.draw(sum(each.size for each in self._parts), entropy)
        count, at = max(1, self.count), 0
        values = {each.name: np.zeros(each.size, np.int32) for each in self._model.parameters}
        for part in self._parts:
            unit = self._norm_micros / MICROS * math.ldexp(1.0, -part.exponent)
            own = np.rint(noise[at : at + part.size] * unit).clip(-MOST_NOISE, MOST_NOISE)
            noisy = self._totals[part.name] + own.astype(np.int64)
            mean = (2 * noisy + count) // (2 * count)
            values[part.name] = mean.clip(1 - BEYOND_INT32, BEYOND_INT32 - 1).astype(np.int32)
            at += part.size
        return values

    def _on_grid(self, rows: list[Array]) -> list[Array]:
        """Return the rows in steps, int64, about as long as they may be; exactness comes after."""
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.sqrt(sum((row * row).sum(axis=1) for row in rows))
        finite = np.logical_and.reduce([np.isfinite(row).all(axis=1) for row in rows])
        norm = self._norm_micros / MICROS
        scales = norm / np.where(finite, np.maximum(lengths, norm), norm)
        found: list[Array] = []
        for part, row in zip(self._parts, rows, strict=True):
            kept = np.where(finite[:, None], row, 0) * scales[:, None]
            found.append(np.rint(kept * math.ldexp(1.0, -part.exponent)).astype(np.int64))
        return found

    def _scales(self, steps: list[Array]) -> Array:
        """Return by how much each row has to be shortened, in 2^-32, rounded down."""
        lengths = [0] * len(steps[0])
        for part, values in zip(self._parts, steps, strict=True):
            shift = 2 * (part.exponent - self._finest)
            for at, square in enumerate(squared_norms(values.astype(np.int32))):
                lengths[at] += square << shift
        most = (self._norm_micros << (SCALE_BITS - self._finest)) // MICROS
        whole = 1 << SCALE_BITS
        return np.array([min(whole, most // max(1, _root(each))) for each in lengths], np.int64)


def _rows_of(batch: Arrays, parameter: Parameter) -> Array:
    """Return one tensor of a batch, a row of it to a line."""
    found = np.asarray(batch[parameter.name], np.float64)
    if found.shape[1:] != parameter.shape:
        msg = f"contributions to '{parameter.name}' have shape {found.shape}: rows, then the tensor"
        raise ConfigError(msg)
    return found.reshape(len(found), parameter.size)


def _root(square: int) -> int:
    """Return the square root, rounded up."""
    return math.isqrt(square - 1) + 1 if square else 0
