"""One value, one byte string.

Values are frozen, array-like msgspec Structs in msgpack. A decoder accepts only bytes that
re-encode to themselves, which refuses non-minimal integers, unsorted or duplicate map keys,
defaults left out and trailing bytes in one rule. Every integer field carries its range in its
type; ``check_range`` is the same rule for computed values.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import msgspec

from tallystick.errors import DecodeError, InvariantError

__all__ = [
    "I63",
    "MAX_U63",
    "U8",
    "U16",
    "U32",
    "U63",
    "Bytes",
    "Hash",
    "Label",
    "Record",
    "Signature",
    "Text",
    "check_range",
    "convert",
    "decode",
    "encode",
]

MAX_U63 = 2**63 - 1

U8 = Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)]
U16 = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=MAX_U63)]
I63 = Annotated[int, msgspec.Meta(ge=-MAX_U63, le=MAX_U63)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Bytes = Annotated[bytes, msgspec.Meta(max_length=4096)]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
# Names of members, tasks, stages and groups: what a person types and a path may hold.
Label = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")
]

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
# msgspec notes in a class what it knows of it before it knows all: a second thread that comes upon
# that half-known class takes the process down.
_LEARNING = threading.Lock()


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of everything that is hashed, signed or stored: a frozen array of its fields."""


def encode(value: Any) -> bytes:  # noqa: ANN401 - any codec type
    """Return the canonical bytes of ``value``.

    Raises
    ------
    InvariantError
        The value holds something without a canonical form, such as an integer beyond 64 bits.
    """
    try:
        return _ENCODER.encode(value)
    except (OverflowError, TypeError, msgspec.MsgspecError) as error:
        msg = f"cannot encode {type(value).__name__}: {error}"
        raise InvariantError(msg) from error


def decode(kind: type[T], data: bytes | bytearray | memoryview) -> T:
    """Return the value of type ``kind`` that ``data`` encodes.

    Raises
    ------
    DecodeError
        ``data`` is not the canonical encoding of such a value.
    """
    try:
        value = cast("T", _decoder(kind).decode(data))
        canonical = _ENCODER.encode(value)
    except (msgspec.MsgspecError, UnicodeError, ValueError, OverflowError, RecursionError) as error:
        msg = f"not a canonical {_name(kind)}: {error}"
        raise DecodeError(msg) from error
    if canonical != data:
        msg = f"not a canonical {_name(kind)}: another byte string encodes the same value"
        raise DecodeError(msg)
    return value


def convert(value: object, kind: type[T]) -> T:
    """Return the value of type ``kind`` that plain objects stand for; see `msgspec.convert`.

    Unlike that, it may be called from several threads.

    Raises
    ------
    ValidationError
        They stand for none; msgspec's own.
    """
    _decoder(kind)
    return msgspec.convert(value, kind)


def check_range(value: int, low: int = 0, high: int = MAX_U63) -> int:
    """Return ``value``, or raise `InvariantError` when it left ``low`` to ``high``."""
    if not low <= value <= high:
        msg = f"{value} is outside {low} to {high}"
        raise InvariantError(msg)
    return value


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:  # noqa: ANN401 - any codec type
    with _LEARNING:
        return msgspec.msgpack.Decoder(kind)


def _name(kind: object) -> str:
    return getattr(kind, "__name__", str(kind))
