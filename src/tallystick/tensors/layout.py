"""Where every tensor lies in a canonical file: computable from the parameters alone.

A canonical safetensors file is: the header's length as eight little-endian bytes; the header, a
JSON object without white space, padded with spaces to a multiple of eight; the tensors in the
header's order, C-ordered, little-endian, without gaps. Names are sorted by code point. Each entry
is ``{"dtype":…,"shape":[…],"data_offsets":[…,…]}`` in this order. Strings are UTF-8 in which only
``"`` and the backslash are escaped. There is no ``__metadata__``. So a list of names, shapes and
dtypes has exactly one header.

References
----------
The safetensors format, Hugging Face, 2022; ours is the subset with one encoding per value.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache

from tallystick.codec import MAX_U63
from tallystick.errors import ConfigError
from tallystick.tensors.dtypes import FLOATS, RAW
from tallystick.tensors.spec import Parameter
from tallystick.text import has_hidden

__all__ = [
    "MAX_HEADER_BYTES",
    "MAX_PARAMETERS",
    "PREFIX_BYTES",
    "Layout",
    "Segment",
    "build_layout",
    "check_parameters",
    "layout_of",
    "update_parameters",
]

PREFIX_BYTES = 8
MAX_HEADER_BYTES = 8 << 20
MAX_PARAMETERS = 8192
MAX_NAME = 256
MAX_DIMENSIONS = 8
MAX_PRODUCT = 1 << 60  # array libraries count a shape's bytes without its zeros


@dataclass(frozen=True, slots=True)
class Segment:
    """A longest run of neighbours with one dtype and exponent: one flat vector in the file.

    Attributes
    ----------
    start, stop
        Positions of its elements among all the model's elements, in file order.
    offset
        Byte of the model file where it starts.
    """

    start: int
    stop: int
    offset: int
    dtype: str
    exponent: int

    @property
    def is_float(self) -> bool:
        """Whether its values are floats, and so part of the geometry of updates."""
        return self.dtype in FLOATS


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The canonical file of a list of parameters.

    Attributes
    ----------
    prefix
        Length and header: the bytes before the first tensor.
    offsets
        Byte of the file where each parameter starts, in order.
    size, count
        Bytes of the file, elements in it.
    positions
        Place of each name among the parameters.
    """

    parameters: tuple[Parameter, ...]
    prefix: bytes
    offsets: tuple[int, ...]
    size: int
    count: int
    segments: tuple[Segment, ...]
    positions: dict[str, int] = field(repr=False)

    def find(self, name: str) -> tuple[Parameter, int]:
        """Return the parameter called ``name`` and the byte where it starts.

        Raises
        ------
        ConfigError
            There is none.
        """
        at = self.positions.get(name)
        if at is None:
            msg = f"the model has no tensor '{name}'"
            raise ConfigError(msg)
        return self.parameters[at], self.offsets[at]


def check_parameters(parameters: tuple[Parameter, ...]) -> None:
    """Check that ``parameters`` describe a model that has a canonical file; no file is needed.

    Raises
    ------
    ConfigError
        Too many, a bad or unsorted name, a bad shape or dtype, too many bytes, an integer tensor
        with an exponent, or a header that would exceed 8 MiB.
    """
    build_layout(parameters)


@lru_cache(maxsize=16)
def layout_of(parameters: tuple[Parameter, ...]) -> Layout:
    """Return what `build_layout` does, remembering it: for parameters that terms fixed."""
    return build_layout(parameters)


def build_layout(parameters: tuple[Parameter, ...]) -> Layout:
    """Return the layout of the canonical file of ``parameters``.

    Raises
    ------
    ConfigError
        They have none: see `check_parameters`.
    """
    _check_each(parameters)
    entries: dict[str, object] = {}
    starts: list[int] = []
    segments: list[Segment] = []
    byte = count = 0
    for parameter in parameters:
        end = byte + parameter.size * RAW[parameter.dtype].itemsize
        entries[parameter.name] = {
            "dtype": parameter.dtype,
            "shape": list(parameter.shape),
            "data_offsets": [byte, end],
        }
        starts.append(byte)
        _extend(segments, parameter, byte, count)
        byte, count = end, count + parameter.size
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % PREFIX_BYTES)
    if len(header) > MAX_HEADER_BYTES:
        _refuse(f"a header of {len(header)} bytes exceeds {MAX_HEADER_BYTES}")
    prefix = len(header).to_bytes(PREFIX_BYTES, "little") + header
    return Layout(
        parameters=parameters,
        prefix=prefix,
        offsets=tuple(len(prefix) + start for start in starts),
        size=len(prefix) + byte,
        count=count,
        segments=tuple(
            Segment(part.start, part.stop, len(prefix) + part.offset, part.dtype, part.exponent)
            for part in segments
        ),
        positions={parameter.name: at for at, parameter in enumerate(parameters)},
    )


@lru_cache(maxsize=16)
def update_parameters(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return the parameters of an update file: the same names and shapes, all I32."""
    return tuple(Parameter(each.name, each.shape, "I32", 0) for each in parameters)


def _extend(segments: list[Segment], parameter: Parameter, byte: int, start: int) -> None:
    """Add ``parameter`` to the last segment, or start one; empty tensors belong to none."""
    if not parameter.size:
        return
    stop = start + parameter.size
    kind = (parameter.dtype, parameter.exponent)
    if segments and (segments[-1].dtype, segments[-1].exponent) == kind:
        last = segments.pop()
        start, byte = last.start, last.offset
    segments.append(Segment(start, stop, byte, *kind))


def _check_each(parameters: tuple[Parameter, ...]) -> None:
    if len(parameters) > MAX_PARAMETERS:
        _refuse(f"a model has at most {MAX_PARAMETERS} tensors, not {len(parameters)}")
    previous = ""
    total = 0
    for parameter in parameters:
        name = parameter.name
        _check_name(name)
        if name <= previous:
            _refuse(f"tensor '{name}' is out of order or there twice: names are sorted")
        previous = name
        if parameter.dtype not in RAW:
            _refuse(f"tensor '{name}' has dtype {parameter.dtype}, which a model cannot hold")
        if len(parameter.shape) > MAX_DIMENSIONS or not all(
            0 <= side <= MAX_U63 for side in parameter.shape
        ):
            _refuse(f"tensor '{name}' has more than {MAX_DIMENSIONS} dimensions, or one too long")
        if math.prod(side or 1 for side in parameter.shape) >= MAX_PRODUCT:
            _refuse(f"the sides of tensor '{name}', zeros left out, multiply to 2^60 or more")
        lowest = -60 if parameter.dtype in FLOATS else 0
        if not lowest <= parameter.exponent <= 0:
            _refuse(f"tensor '{name}' has exponent {parameter.exponent} outside {lowest} to 0")
        total += parameter.size * RAW[parameter.dtype].itemsize
    if total > MAX_U63 - MAX_HEADER_BYTES:
        _refuse(f"a model of {total} bytes is too large")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME or name == "__metadata__":
        _refuse(f"a tensor's name has 1 to {MAX_NAME} characters and is not __metadata__: '{name}'")
    try:
        name.encode()
    except UnicodeEncodeError:
        _refuse(f"a tensor's name is not valid Unicode: {name!a}")
    if has_hidden(name):
        _refuse(f"a tensor's name has control characters: {name!a}")


def _refuse(message: str) -> None:
    raise ConfigError(message)
