"""Updates: what training changed, in integers on the exponents that the terms fixed.

An update file is a canonical file with the model's names and shapes, all I32. For a float tensor
``q = rint((trained - parent) · 2^-exponent)``, ties to even, the difference taken in the wide type
(`tallystick.tensors.dtypes`); for an integer tensor ``q = trained - parent``, exactly.

Applying is ``new = parent + scale · combined`` elementwise with ``scale = 2^exponent``: both terms
in the wide type, ``combined`` rounded to it once (ties to even), the product exact, the sum rounded
to it once, then once more to F16 or BF16. Integer tensors add in int64 and must fit their dtype.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tallystick.errors import ConfigError
from tallystick.tensors.dtypes import (
    FLOATS,
    Array,
    NonFiniteError,
    all_finite,
    dtype_of,
    narrow,
    raw_view,
    wide_type,
    widen,
)
from tallystick.tensors.layout import layout_of, update_parameters
from tallystick.tensors.model import ModelFile, flat_slices
from tallystick.tensors.paging import drop_pages
from tallystick.tensors.spec import BlobWriter, ModelSpec, Parameter
from tallystick.tensors.streaming import stream

__all__ = ["UpdateError", "apply_slice", "difference_slice", "quantise", "write_update"]

BEYOND = 2**31  # an author's |q| is below; a power of two, so exact in float32
SLICE = 1 << 17  # elements in hand at a time
THREADS = 2


class UpdateError(ConfigError):
    """What a trainer returned cannot become an update.

    Attributes
    ----------
    tensor
        Its name; empty when tensors are missing or too many.
    cause
        ``names``, ``dtype``, ``shape``, ``non-finite`` or ``range``.
    """

    slug = "bad-update"

    def __init__(self, message: str, *, tensor: str = "", cause: str) -> None:
        """Keep the facts beside the sentence."""
        super().__init__(message)
        self.tensor = tensor
        self.cause = cause


def quantise(
    parent: ModelFile, trained: Mapping[str, Array], spec: ModelSpec, writer: BlobWriter
) -> tuple[bytes, int]:
    """Write the update from ``parent`` to ``trained``; return its root and size.

    Memory is a few slices of 131,072 elements, whatever the model. Nothing is kept on an error.

    Raises
    ------
    UpdateError
        Other names, shapes or dtypes than the parent's, a NaN, an infinity, or a change too large
        for 32 bits.
    """
    try:
        _check_names(parent, trained, spec)
        writer.write(np.frombuffer(_prefix(spec), np.uint8))
        for parameter in spec.parameters:
            _quantise_tensor(parent, parameter, trained[parameter.name], writer)
    except BaseException:
        writer.abort()
        raise
    return writer.commit()


def write_update(
    steps: Mapping[str, Array], spec: ModelSpec, writer: BlobWriter
) -> tuple[bytes, int]:
    """Write the update with these ``steps``, int32 by name; return its root and size.

    Raises
    ------
    UpdateError
        Other names or sizes than the model's.
    """
    sizes = {parameter.name: parameter.size for parameter in spec.parameters}
    if sizes != {name: values.size for name, values in steps.items()}:
        msg = "the steps are of other names or sizes than the model's"
        raise UpdateError(msg, cause="names")
    try:
        writer.write(np.frombuffer(_prefix(spec), np.uint8))
        for parameter in spec.parameters:
            writer.write(np.ascontiguousarray(steps[parameter.name], "<i4").reshape(-1))
    except BaseException:
        writer.abort()
        raise
    return writer.commit()


def apply_slice(raw: Array, combined: Array, dtype: str, exponent: int) -> Array:
    """Return ``raw + 2^exponent · combined`` as raw, rounded as the module says.

    Parameters
    ----------
    raw
        A slice of the parent, shape (d,).
    combined
        The change, int64 of shape (d,).

    Raises
    ------
    NonFiniteError
        A result is not finite, or leaves an integer dtype.
    """
    if dtype not in FLOATS:
        return narrow(_exact_sum(widen(raw, dtype), combined, dtype), dtype)
    kind = wide_type(dtype)
    wide = combined.astype(kind)
    np.multiply(wide, kind(math.ldexp(1.0, exponent)), out=wide)
    with np.errstate(over="ignore"):
        np.add(wide, widen(raw, dtype), out=wide)
    return narrow(wide, dtype)


def difference_slice(old: Array, new: Array, dtype: str, exponent: int) -> Array | None:
    """Return the steps from ``old`` to ``new``, both raw, as int32; `None` beyond 31 bits.

    A value that is not a number is beyond, too.
    """
    wide = np.empty(old.size, wide_type(dtype))
    before, after = widen(old, dtype), widen(new, dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # the range check that follows sees both
        np.subtract(after, before, out=wide)
        if dtype in FLOATS:
            np.multiply(wide, wide.dtype.type(math.ldexp(1.0, -exponent)), out=wide)
            np.rint(wide, out=wide)
    if dtype == "I64" and bool((((after ^ before) & (after ^ wide)) < 0).any()):
        return None
    if not (wide.min() > -BEYOND and wide.max() < BEYOND):  # a NaN fails both
        return None
    return wide.astype(np.int32)


def _quantise_tensor(
    parent: ModelFile, parameter: Parameter, trained: Array, writer: BlobWriter
) -> None:
    dtype = parameter.dtype
    before = parent.raw(parameter.name)
    if dtype_of(parameter.name, trained) != dtype:
        msg = f"tensor '{parameter.name}' came back as {trained.dtype.name}, not {dtype}"
        raise UpdateError(msg, tensor=parameter.name, cause="dtype")
    if trained.shape != parameter.shape:
        msg = f"tensor '{parameter.name}' came back as {trained.shape}, not {parameter.shape}"
        raise UpdateError(msg, tensor=parameter.name, cause="shape")

    def work(pair: tuple[Array, Array]) -> Array:
        old, new = pair
        raw = raw_view(new, dtype)
        steps = difference_slice(old, raw, dtype, parameter.exponent)
        drop_pages(old)
        if steps is None:
            raise _refused(parameter, finite=all_finite(raw, dtype))
        return steps

    pairs = zip(flat_slices(before, SLICE), flat_slices(trained, SLICE), strict=True)
    threads = THREADS if trained.size > SLICE else 1
    for quantised in stream(threads, work, pairs):  # computes ahead while this thread writes
        writer.write(quantised)


def _exact_sum(left: Array, right: Array, dtype: str) -> Array:
    """Return the sum of two int64 arrays, or raise where it would wrap."""
    total = np.add(left, right)
    if dtype == "I64" and bool((((left ^ total) & (right ^ total)) < 0).any()):
        raise NonFiniteError(dtype)
    return total


def _check_names(parent: ModelFile, trained: Mapping[str, Array], spec: ModelSpec) -> None:
    if parent.layout.prefix != layout_of(spec.parameters).prefix:
        msg = "the parent is no model of these names, shapes and dtypes"
        raise ConfigError(msg)
    expected = {parameter.name for parameter in spec.parameters}
    if set(trained) != expected:
        missing = ", ".join(sorted(expected - set(trained))) or "none"
        extra = ", ".join(sorted(set(trained) - expected)) or "none"
        msg = f"the trainer returned other tensors: missing {missing}; unknown {extra}"
        raise UpdateError(msg, cause="names")


def _refused(parameter: Parameter, *, finite: bool) -> UpdateError:
    name = parameter.name
    if not finite:
        msg = f"tensor '{name}' came back with a NaN or an infinity"
        return UpdateError(msg, tensor=name, cause="non-finite")
    msg = f"tensor '{name}' changed by 2^31 steps of 2^{parameter.exponent} or more"
    return UpdateError(msg, tensor=name, cause="range")


def _prefix(spec: ModelSpec) -> bytes:
    return layout_of(update_parameters(spec.parameters)).prefix
