"""Canonical model files: what a user deploys is the file on the ledger.

Reading checks everything before any tensor is touched and allocates no more than the header;
writing streams, so a model never sits in memory a second time. `tallystick.tensors.layout` is the
format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal, TypeAlias, cast

import msgspec
import numpy as np

from tallystick.codec import U63
from tallystick.crypto.hashes import BlobHasher, blob_root
from tallystick.errors import ConfigError, DecodeError
from tallystick.tensors.dtypes import (
    FLOATS,
    RAW,
    Array,
    all_finite,
    dtype_of,
    present,
    raw_view,
)
from tallystick.tensors.layout import (
    MAX_HEADER_BYTES,
    MAX_PARAMETERS,
    PREFIX_BYTES,
    Layout,
    build_layout,
    layout_of,
)
from tallystick.tensors.spec import BlobWriter, ModelSpec, Parameter

__all__ = [
    "DEFAULT_EXPONENT",
    "SLICE",
    "ModelFile",
    "check_finite",
    "flat_slices",
    "model_bytes",
    "open_model",
    "parameters_of",
    "read_model",
    "spec_of",
    "write_model",
]

DEFAULT_EXPONENT = -24
SLICE = 1 << 16  # elements in hand at a time: four bytes each fill one leaf of the blob's tree
COPY_ELEMENTS = 1 << 22  # a tensor not in C order is copied at once up to here, in slices beyond


Dtype: TypeAlias = Literal[
    "BF16", "F16", "F32", "F64", "I16", "I32", "I64", "I8", "U16", "U32", "U8"
]


class _Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    dtype: Dtype
    shape: Annotated[tuple[U63, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[U63, U63]


_STRING_OR_BRACE = re.compile(rb'"(?:[^"\\]|\\.)*+"|\{', re.DOTALL)
_HEADER = msgspec.json.Decoder(dict[str, _Entry])


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked canonical file; tensors are views into it.

    Attributes
    ----------
    data
        The whole file, uint8, read-only; often memory-mapped.
    layout
        Where its tensors lie. Exponents are not in the file; here they are the defaults.
    """

    data: Array
    layout: Layout

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Names, shapes and dtypes, sorted by name."""
        return self.layout.parameters

    def raw(self, name: str) -> Array:
        """Return one tensor without copying; BF16 as its 16-bit patterns.

        Raises
        ------
        ConfigError
            There is no such tensor.
        """
        parameter, offset = self.layout.find(name)
        return self._view(parameter, offset)

    def arrays(self) -> dict[str, Array]:
        """Return every tensor by name without copying.

        Raises
        ------
        MissingExtraError
            A tensor is BF16 and the extra for it is not installed.
        """
        pairs = zip(self.layout.parameters, self.layout.offsets, strict=True)
        return {each.name: present(self._view(each, at), each.dtype) for each, at in pairs}

    def spec(self, exponent: int | Mapping[str, int] = DEFAULT_EXPONENT) -> ModelSpec:
        """Return the spec of this file; ``exponent`` as in `spec_of`."""
        parameters = tuple(
            Parameter(each.name, each.shape, each.dtype, _exponent(each.name, each.dtype, exponent))
            for each in self.parameters
        )
        layout_of(parameters)  # refuses exponents that no terms may hold
        return ModelSpec(blob_root(self.data), len(self.data), parameters)

    def _view(self, parameter: Parameter, offset: int) -> Array:
        kind = RAW[parameter.dtype]
        part = self.data[offset : offset + parameter.size * kind.itemsize]
        return part.view(kind).reshape(parameter.shape)


def read_model(data: Array) -> ModelFile:
    """Return the model in ``data``, a one-dimensional uint8 array, after checking all of it.

    Raises
    ------
    DecodeError
        The bytes are not a canonical file: a header too long, malformed, not the one encoding of
        its names, shapes and dtypes, or a size that differs from what it says.
    """
    if data.dtype != np.uint8 or data.ndim != 1:
        msg = f"a model file is a vector of bytes, not {data.dtype} of shape {data.shape}"
        raise DecodeError(msg)
    room = len(data) - PREFIX_BYTES
    length = int.from_bytes(data[:PREFIX_BYTES].tobytes(), "little")
    if not 0 <= length <= min(room, MAX_HEADER_BYTES):
        msg = f"a header of {length} bytes does not fit into a model file of {len(data)}"
        raise DecodeError(msg)
    prefix = data[: PREFIX_BYTES + length].tobytes()
    try:
        layout = build_layout(_decode_header(prefix[PREFIX_BYTES:]))
    except ConfigError as error:
        msg = f"not a canonical model file: {error}"
        raise DecodeError(msg) from error
    if layout.prefix != prefix:
        msg = "not a canonical model file: its header has another encoding"
        raise DecodeError(msg)
    return _checked(data, layout)


def open_model(data: Array, parameters: tuple[Parameter, ...]) -> ModelFile:
    """Return the model in ``data`` that must have exactly ``parameters``.

    Quicker than `read_model`: nothing is decoded, since the one possible header is known.

    Raises
    ------
    DecodeError
        It is not the canonical file of such a model.
    """
    layout = layout_of(parameters)
    if data[: len(layout.prefix)].tobytes() != layout.prefix:
        msg = "not the canonical file of a model of these names, shapes and dtypes"
        raise DecodeError(msg)
    return _checked(data, layout)


def write_model(
    arrays: Mapping[str, Array],
    writer: BlobWriter,
    exponent: int | Mapping[str, int] = DEFAULT_EXPONENT,
) -> ModelSpec:
    """Write ``arrays`` as a canonical file and return its spec; nothing is kept on an error.

    Raises
    ------
    ConfigError
        As in `spec_of`.
    """
    try:
        parameters = parameters_of(arrays, exponent)
        for piece in _pieces(arrays, parameters):
            writer.write(piece)
    except BaseException:
        writer.abort()
        raise
    root, size = writer.commit()
    return ModelSpec(root, size, parameters)


def spec_of(
    arrays: Mapping[str, Array], exponent: int | Mapping[str, int] = DEFAULT_EXPONENT
) -> ModelSpec:
    """Return the spec of the canonical file of ``arrays`` without keeping the file.

    Parameters
    ----------
    arrays
        Tensors by name, of any memory order.
    exponent
        The power of two in which updates of float tensors count, for all or by name. Integer
        tensors always count in ones.

    Raises
    ------
    ConfigError
        A tensor has a dtype no model can hold, a bad name or shape, a NaN or an infinity.
    """
    parameters = parameters_of(arrays, exponent)
    hasher = BlobHasher()
    for piece in _pieces(arrays, parameters):
        hasher.update(piece)
    return ModelSpec(hasher.root, hasher.size, parameters)


def model_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return the canonical file of ``arrays``; raises as `spec_of` does."""
    return b"".join(piece.tobytes() for piece in _pieces(arrays, parameters_of(arrays)))


def parameters_of(
    arrays: Mapping[str, Array], exponent: int | Mapping[str, int] = DEFAULT_EXPONENT
) -> tuple[Parameter, ...]:
    """Return the parameters of ``arrays``, sorted by name; raises as `spec_of`, NaN apart."""
    found: list[Parameter] = []
    for name in sorted(arrays):
        dtype = cast("Dtype", dtype_of(name, arrays[name]))
        shape = tuple(int(side) for side in arrays[name].shape)
        found.append(Parameter(name, shape, dtype, _exponent(name, dtype, exponent)))
    return layout_of(tuple(found)).parameters


def check_finite(model: ModelFile) -> None:
    """Check that no parameter is a NaN or infinite.

    Raises
    ------
    ConfigError
        One is; the message names the tensor.
    """
    for parameter in model.parameters:
        for piece in flat_slices(model.raw(parameter.name), SLICE):
            _check_slice(parameter, piece)


def flat_slices(array: Array, step: int) -> Iterator[Array]:
    """Yield the elements of ``array`` in C order, at most ``step`` at a time, copying little."""
    array = np.asarray(array)  # a matrix cannot be flat
    if not array.flags.c_contiguous and array.size <= COPY_ELEMENTS:
        array = np.ascontiguousarray(array)
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    for start in range(0, array.size, step):
        yield flat[start : start + step]


def _pieces(arrays: Mapping[str, Array], parameters: tuple[Parameter, ...]) -> Iterator[Array]:
    """Yield the canonical file in contiguous pieces."""
    yield np.frombuffer(layout_of(parameters).prefix, np.uint8)
    for parameter in parameters:
        for piece in flat_slices(arrays[parameter.name], SLICE):
            raw = raw_view(piece, parameter.dtype)
            _check_slice(parameter, raw)
            yield raw


def _check_slice(parameter: Parameter, raw: Array) -> None:
    if not all_finite(raw, parameter.dtype):
        msg = f"tensor '{parameter.name}' holds a NaN or an infinity"
        raise ConfigError(msg)


def _decode_header(header: bytes) -> tuple[Parameter, ...]:
    braces = (found for found in _STRING_OR_BRACE.finditer(header) if found[0] == b"{")
    if sum(1 for _ in islice(braces, MAX_PARAMETERS + 2)) > MAX_PARAMETERS + 1:
        msg = f"a model has at most {MAX_PARAMETERS} tensors"
        raise DecodeError(msg)  # before anything is made of them
    try:
        entries = _HEADER.decode(header)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError) as error:
        msg = f"malformed header: {error}"
        raise DecodeError(msg) from error
    return tuple(
        Parameter(name, entry.shape, entry.dtype, DEFAULT_EXPONENT if entry.dtype in FLOATS else 0)
        for name, entry in entries.items()
    )


def _checked(data: Array, layout: Layout) -> ModelFile:
    if layout.size != len(data):
        msg = f"a model file of {layout.size} bytes has {len(data)}"
        raise DecodeError(msg)
    view = data.view()
    view.flags.writeable = False
    return ModelFile(view, layout)


def _exponent(name: str, dtype: str, exponent: int | Mapping[str, int]) -> int:
    if dtype not in FLOATS:
        return 0
    return exponent if isinstance(exponent, int) else exponent.get(name, DEFAULT_EXPONENT)
