"""Names of members, as the ledger and folders have room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import Label, decode, encode
from tallystick.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_name", "check_names"]


def check_names(names: Iterable[str]) -> None:
    """Refuse names that the ledger has no room for, and a federation of nobody.

    Raises
    ------
    ConfigError
        Names the member and what is allowed.
    """
    listed = list(names)
    if not listed:
        msg = "a federation needs at least one member"
        raise ConfigError(msg)
    for name in listed:
        check_name(name)


def check_name(name: str) -> None:
    """Refuse a member name that the ledger has no room for.

    Raises
    ------
    ConfigError
        Names it and what is allowed.
    """
    try:
        decode(Label, encode(name))  # pyright: ignore[reportArgumentType]
    except DecodeError as error:
        msg = f"member name '{name}': lower-case letters, digits, '.', '_' and '-', at most 64"
        raise ConfigError(msg) from error
