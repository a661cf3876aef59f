"""Named tensors as NumPy arrays: what a trainer gets, what it may return, and what is refused.

Other frameworks' tensors are recognised by their methods, so none of them is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from tallystick.errors import ConfigError, TallyError
from tallystick.tensors.dtypes import FLOATS, dtype_of, present, raw_view, widen

__all__ = ["Arrays", "TrainerError", "as_arrays", "check_arrays", "list_names"]

Arrays = dict[str, np.ndarray]

SCAN_ELEMENTS = 1 << 20  # elements looked at together, so that a scan needs a megabyte at most


class TrainerError(TallyError):
    """A trainer raised, ran out of time or returned what cannot be submitted.

    Attributes
    ----------
    tensor
        The parameter at fault; empty when the fault is not one tensor's.
    traceback
        The trainer's own traceback as text; empty when it did not raise.
    """

    slug: ClassVar[str] = "trainer-failed"

    def __init__(
        self, message: str, *, tensor: str = "", traceback: str = "", hint: str = ""
    ) -> None:
        """Keep the tensor and the traceback apart from the sentence."""
        super().__init__(message, hint=hint)
        self.tensor = tensor
        self.traceback = traceback


def list_names(count: int) -> tuple[str, ...]:
    """Return ``p000``, ``p001``, …: names for a list, padded so that sorting keeps its order."""
    width = max(3, len(str(count - 1)))
    return tuple(f"p{index:0{width}d}" for index in range(count))


def as_arrays(parameters: object) -> Arrays:
    """Return named C-ordered arrays from a state dictionary or a list of arrays.

    Values may be NumPy arrays, PyTorch tensors (on any device) or anything with ``__array__``.
    Nothing is copied that need not be. A list gets the names of `list_names`.

    Raises
    ------
    ConfigError
        Neither a dictionary with names for keys nor a list, or a value that is no array of
        numbers a model may hold; the message names it.
    MissingExtraError
        A bfloat16 tensor, and the package that knows the type is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(as_arrays([np.zeros(2), np.ones(1)]))
    ['p000', 'p001']
    """
    if isinstance(parameters, Mapping):
        named = list(cast("Mapping[object, object]", parameters).items())
    elif isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes):
        values = cast("Sequence[object]", parameters)
        named = list(zip(list_names(len(values)), values, strict=True))
    else:
        msg = f"parameters are of type {type(parameters).__name__}: give a dict or list of arrays"
        raise ConfigError(msg)
    arrays: Arrays = {}
    for name, value in named:
        if not isinstance(name, str) or not name:
            msg = f"a parameter's name is {name!r}: names are non-empty strings"
            raise ConfigError(msg)
        arrays[name] = _as_array(name, value)
    return arrays


def check_arrays(arrays: Arrays, parent: Mapping[str, np.ndarray]) -> None:
    """Refuse ``arrays`` that could not replace ``parent``.

    Raises
    ------
    TrainerError
        Other names, another shape or dtype, or a value that is not finite; ``tensor`` names it.
    """
    for name in sorted(set(parent) - set(arrays)):
        msg = f"tensor '{name}' is missing from the result"
        raise TrainerError(msg, tensor=name)
    for name in sorted(set(arrays) - set(parent)):
        msg = f"tensor '{name}' is in the result but not in the model"
        raise TrainerError(msg, tensor=name)
    for name, array in arrays.items():
        wanted = parent[name]
        if array.shape != wanted.shape:
            msg = f"tensor '{name}' has shape {array.shape}, the model's has {wanted.shape}"
            raise TrainerError(msg, tensor=name)
        if array.dtype != wanted.dtype:
            msg = f"tensor '{name}' has dtype {array.dtype}, the model's has {wanted.dtype}"
            hint = f"return it as .astype('{wanted.dtype}')"
            raise TrainerError(msg, tensor=name, hint=hint)
        at = _first_not_finite(name, array)
        if at is not None:
            msg = f"tensor '{name}' holds {array.reshape(-1)[at]} at element {at}"
            raise TrainerError(msg, tensor=name, hint="a smaller learning rate may help")


def _as_array(name: str, value: object) -> np.ndarray:
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = _from_torch(value)
    if not hasattr(value, "__array__"):
        msg = f"tensor '{name}' is of type {type(value).__name__}, not an array"
        raise ConfigError(msg)
    array = np.asarray(cast("Any", value), order="C")  # keeps a zero-dimensional array as it is
    dtype_of(name, array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _from_torch(tensor: Any) -> np.ndarray:  # noqa: ANN401 - torch is not a dependency
    """Return a PyTorch tensor as an array; bfloat16, which it will not convert, by its bits."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        bits = tensor.contiguous().view(sys.modules["torch"].int16)
        return present(bits.numpy().view(np.uint16), "BF16")
    return cast("np.ndarray", tensor.numpy())


def _first_not_finite(name: str, array: np.ndarray) -> int | None:
    """Return the flat index of the first NaN or infinity, or `None`."""
    dtype = dtype_of(name, array)
    if dtype not in FLOATS:
        return None
    flat = raw_view(array.reshape(-1), dtype)
    for start in range(0, flat.size, SCAN_ELEMENTS):
        finite = np.isfinite(widen(flat[start : start + SCAN_ELEMENTS], dtype))
        if not finite.all():
            return start + int(np.argmin(finite))
    return None
