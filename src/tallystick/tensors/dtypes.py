"""The eleven dtypes a model may have: their bits on file, their values in arithmetic.

*Raw* means as stored: little-endian, and BF16 as the 16-bit patterns NumPy has no type for. *Wide*
means what arithmetic runs in: float32 for F32, F16 and BF16, float64 for F64, int64 for integers.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tallystick.errors import ConfigError, MissingExtraError, TallyError

__all__ = [
    "FLOATS",
    "RAW",
    "Array",
    "NonFiniteError",
    "all_finite",
    "check_denormals",
    "dtype_of",
    "narrow",
    "present",
    "raw_view",
    "wide_type",
    "widen",
]

Array: TypeAlias = NDArray[Any]

BFLOAT16 = "bfloat16"  # NumPy's name of the type, and the extra that brings it
FLOATS = frozenset({"BF16", "F16", "F32", "F64"})
RAW: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U8": np.dtype("u1"),
}
_BY_NUMPY_NAME = {kind.name: name for name, kind in RAW.items() if name != "BF16"} | {
    BFLOAT16: "BF16"
}
_BF16_EXPONENT = 0x7F80
_SMALLEST_NORMAL = np.float32(2.0**-126)


class NonFiniteError(TallyError):
    """A result left its dtype's range: infinite, not a number, or an integer too large.

    Attributes
    ----------
    dtype
        The dtype it does not fit.
    """

    slug = "non-finite"

    def __init__(self, dtype: str) -> None:
        """Name the dtype."""
        super().__init__(f"a parameter would leave the range of {dtype}")
        self.dtype = dtype


def dtype_of(name: str, array: object) -> str:
    """Return the safetensors dtype of the tensor called ``name``.

    Raises
    ------
    ConfigError
        It is no array, or of a dtype without a place in a model.
    """
    if not isinstance(array, (np.ndarray, np.generic)):  # a tensor of no dimension may be either
        msg = f"tensor '{name}' is a {type(array).__name__}, not a NumPy array"
        raise ConfigError(msg)
    if isinstance(array, np.ma.MaskedArray):
        msg = f"tensor '{name}' is a masked array: what a masked element holds is undefined"
        raise ConfigError(msg, hint="fill it first, with .filled(value)")
    kind = cast("Array", array).dtype
    found = _BY_NUMPY_NAME.get(kind.name)
    if found is None:
        msg = f"tensor '{name}' has dtype {kind.name}, which a model cannot hold"
        raise ConfigError(msg, hint=f"convert it to one of {', '.join(sorted(_BY_NUMPY_NAME))}")
    return found


def raw_view(array: Array, dtype: str) -> Array:
    """Return ``array`` as raw; a view where its bytes already are."""
    if dtype == "BF16":
        if array.dtype == RAW[dtype]:
            return array
        bits = array.view(np.dtype("u2").newbyteorder(array.dtype.byteorder))
        return bits.astype(RAW[dtype], copy=False)
    return array.astype(RAW[dtype], copy=False)


def present(raw: Array, dtype: str) -> Array:
    """Return ``raw`` as users know the dtype.

    Raises
    ------
    MissingExtraError
        It is BF16 and the package that knows the type is not installed.
    """
    if dtype != "BF16":
        return raw
    try:
        from ml_dtypes import bfloat16  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError(BFLOAT16, "handing out BF16 tensors") from error
    return raw.view(np.dtype(bfloat16))


def wide_type(dtype: str) -> type[np.float32 | np.float64 | np.int64]:
    """Return the type that arithmetic on ``dtype`` runs in."""
    if dtype == "F64":
        return np.float64
    return np.float32 if dtype in FLOATS else np.int64


def widen(raw: Array, dtype: str) -> Array:
    """Return the values of ``raw`` in its wide type, exactly; itself where that is the same."""
    if dtype == "BF16":
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.astype(wide_type(dtype), copy=False)


def narrow(wide: Array, dtype: str) -> Array:
    """Return ``wide`` rounded to ``dtype``, ties to even, as raw; itself where that is the same.

    Raises
    ------
    NonFiniteError
        A value is not finite, or not in the range of ``dtype``.
    """
    if dtype not in FLOATS:
        limits = np.iinfo(RAW[dtype])
        if wide.size and not (limits.min <= wide.min() and wide.max() <= limits.max):
            raise NonFiniteError(dtype)
        return wide.astype(RAW[dtype], copy=False)
    if dtype == "BF16":
        bits = wide.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        raw = ((bits + odd + np.uint32(0x7FFF)) >> np.uint32(16)).astype(RAW[dtype])
        if not (all_finite(wide, "F32") and all_finite(raw, dtype)):  # a NaN's bits may wrap
            raise NonFiniteError(dtype)
        return raw
    with np.errstate(over="ignore"):
        raw = wide.astype(RAW[dtype], copy=False)
    if not all_finite(raw, dtype):
        raise NonFiniteError(dtype)
    return raw


def all_finite(raw: Array, dtype: str) -> bool:
    """Whether no element is infinite or not a number; integers never are."""
    if dtype == "BF16":
        mask = np.uint16(_BF16_EXPONENT)
        return not bool(((raw & mask) == mask).any())
    return dtype not in FLOATS or bool(np.isfinite(raw).all())


def check_denormals() -> None:
    """Check that this thread keeps denormals, as IEEE 754 says and a model's bits need.

    Raises
    ------
    ConfigError
        It flushes them to zero, on reading or on writing.
    """
    smallest = np.full(4, _SMALLEST_NORMAL)
    halves = smallest * np.float32(0.5)
    if not (halves.view(np.uint32).all() and (halves + halves == smallest).all()):
        msg = "this process flushes denormals to zero, so its models would differ from others'"
        raise ConfigError(msg, hint="torch.set_flush_denormal(False), and no -ffast-math libraries")
