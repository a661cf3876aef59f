"""Noise for privacy, drawn from bytes that nobody else knows.

A member draws it from the operating system's bytes, never from a seed that others could have. It is
drawn in clipping norms, so what it hides behind does not depend on the model's unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import shake_256
from itertools import count
from typing import Protocol

import numpy as np

from tallystick.tensors.dtypes import Array

__all__ = ["Entropy", "Gaussian", "Law", "UniformDirection", "reproducible"]

Entropy = Callable[[int], bytes]  # so many bytes that nobody else knows
WORD_BYTES = 8
WORDS = 2.0**64


class Law(Protocol):
    """How noise is distributed."""

    def draw(self, dimension: int, entropy: Entropy) -> Array:
        """Return noise for a vector, float64 of shape (dimension,), in clipping norms."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Independent normal noise in every coordinate.

    Parameters
    ----------
    noise_multiplier
        Standard deviation in clipping norms.

    Notes
    -----
    16 bytes of entropy for two values. Ends at 9.4 standard deviations, which costs a delta of
    under 10^-19 a coordinate.

    References
    ----------
    Box and Muller, Annals of Mathematical Statistics 29(2), 1958. Dwork et al., EUROCRYPT 2006.
    """

    noise_multiplier: float

    def draw(self, dimension: int, entropy: Entropy) -> Array:
        """See `Law.draw`."""
        return self.noise_multiplier * _normals(dimension, entropy)


@dataclass(frozen=True, slots=True)
class UniformDirection:
    """Noise with density proportional to ``exp(-epsilon * |z| / sensitivity)``.

    Its direction is uniform, its length follows a Gamma distribution whose shape is the dimension,
    so it grows with the size of the model: pure epsilon is dear.

    Parameters
    ----------
    scale
        ``sensitivity / epsilon``, in clipping norms.

    Notes
    -----
    The length is a sum of as many exponential draws as there are coordinates.

    References
    ----------
    Chaudhuri, Monteleoni, Sarwate, JMLR 12, 2011. arXiv:0912.0071.
    """

    scale: float

    def draw(self, dimension: int, entropy: Entropy) -> Array:
        """See `Law.draw`."""
        direction = _normals(dimension, entropy)
        length = -self.scale * float(np.log(_uniforms(dimension, entropy)).sum())
        return direction * (length / max(math.sqrt(float(direction @ direction)), 1e-300))


def reproducible(secret: bytes) -> Entropy:
    """Return entropy that is a function of a secret: for simulations, and it protects nobody."""
    drawn = count()
    return lambda size: shake_256(secret + next(drawn).to_bytes(8)).digest(size)


def _uniforms(size: int, entropy: Entropy) -> Array:
    """Return numbers above 0 and up to 1, float64."""
    words = np.frombuffer(entropy(WORD_BYTES * size), "<u8")
    return (words.astype(np.float64) + 1) / WORDS


def _normals(size: int, entropy: Entropy) -> Array:
    half = -(-size // 2)
    radius = np.sqrt(-2 * np.log(_uniforms(half, entropy)))
    angle = 2 * math.pi * _uniforms(half, entropy)
    return np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))[:size]
