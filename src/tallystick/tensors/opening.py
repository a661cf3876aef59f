"""Open one coefficient of a model whose root is known, without the rest of the file.

Where a coefficient lies follows from the parameters, since a canonical file has one header. The
proof shows bytes under a root; that the file under it is a model of these parameters is what the
ledger's record of the root says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from tallystick.codec import U63, Hash, Record
from tallystick.crypto.hashes import CHUNK_BYTES, chunk_hashes, chunk_proof, verify_chunk
from tallystick.errors import ConfigError, VerificationError
from tallystick.tensors.dtypes import RAW, Array, widen
from tallystick.tensors.layout import layout_of
from tallystick.tensors.model import read_model
from tallystick.tensors.spec import Parameter

__all__ = ["ChunkOpening", "CoefficientProof", "prove_coefficient", "verify_coefficient"]

MAX_PATH = 64


class ChunkOpening(Record):
    """One chunk of a blob with its path to the root, from the leaf upwards."""

    index: U63
    data: Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES)]
    path: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MAX_PATH)]


class CoefficientProof(Record):
    """The chunk that holds a coefficient; two where it lies across a boundary."""

    chunks: Annotated[tuple[ChunkOpening, ...], msgspec.Meta(min_length=1, max_length=2)]


def prove_coefficient(
    blob: Array, name: str, index: int, leaves: Sequence[bytes] | None = None
) -> tuple[int | float, CoefficientProof]:
    """Return one coefficient of a model file, and its proof.

    Parameters
    ----------
    blob
        The whole file, uint8.
    name, index
        The tensor, and the element's position in C order.
    leaves
        The file's chunk hashes; without them the file is hashed.

    Raises
    ------
    DecodeError
        ``blob`` is not a canonical file.
    ConfigError
        There is no such coefficient.
    """
    model = read_model(blob)
    start, stop, dtype = _place(model.parameters, name, index)
    hashes = chunk_hashes(blob) if leaves is None else leaves
    chunks = tuple(
        ChunkOpening(
            number,
            blob[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES].tobytes(),
            chunk_proof(hashes, number),
        )
        for number in range(start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES + 1)
    )
    return _value(blob[start:stop].tobytes(), dtype), CoefficientProof(chunks)


def verify_coefficient(
    root: bytes,
    size: int,
    parameters: tuple[Parameter, ...],
    name: str,
    index: int,
    value: float,
    proof: CoefficientProof,
) -> None:
    """Check that element ``index`` of tensor ``name`` is ``value`` in the model under ``root``.

    Raises
    ------
    VerificationError
        It is not, the proof does not show it, or a model of ``parameters`` has another size.
    ConfigError
        There is no such coefficient.
    """
    start, stop, dtype = _place(parameters, name, index)
    if size != layout_of(parameters).size:
        msg = f"a model of these parameters does not have {size} bytes"
        raise VerificationError(msg)
    first = start // CHUNK_BYTES
    expected = range(first, (stop - 1) // CHUNK_BYTES + 1)
    if [chunk.index for chunk in proof.chunks] != list(expected):
        msg = f"the proof opens other chunks than the one that holds {name}[{index}]"
        raise VerificationError(msg)
    for chunk in proof.chunks:
        verify_chunk(root, size, chunk.index, chunk.data, chunk.path)
    opened = b"".join(chunk.data for chunk in proof.chunks)
    origin = first * CHUNK_BYTES
    found = _value(opened[start - origin : stop - origin], dtype)
    if found != value:
        msg = f"{name}[{index}] is {found!r}, not {value!r}"
        raise VerificationError(msg)


def _place(parameters: tuple[Parameter, ...], name: str, index: int) -> tuple[int, int, str]:
    """Return the first byte, the byte after the last, and the dtype of a coefficient."""
    parameter, offset = layout_of(parameters).find(name)
    if not 0 <= index < parameter.size:
        msg = f"tensor '{name}' has no element {index}"
        raise ConfigError(msg)
    width = RAW[parameter.dtype].itemsize
    start = offset + index * width
    return start, start + width, parameter.dtype


def _value(data: bytes, dtype: str) -> int | float:
    value: int | float = widen(np.frombuffer(data, RAW[dtype]), dtype)[0].item()
    return value
