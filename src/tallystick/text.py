"""Values as programs read them, and text that others wrote as people may be shown it."""

from __future__ import annotations

import math
import re
from typing import Any, cast

__all__ = ["has_hidden", "plain", "visible"]

# Control characters, line and paragraph separators, and those that turn the reading direction.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def plain(value: Any) -> Any:  # noqa: ANN401, PLR0911 - any value a document may hold
    """Return a value as JSON knows it: bytes as hex, numbers that are not finite as ``null``."""
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in cast("list[object]", value)]
    fields = getattr(value, "__struct_fields__", None)
    if fields is not None:
        return {name: plain(getattr(value, name)) for name in fields}
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    return str(value)


def has_hidden(text: str) -> bool:
    """Whether a text holds a character that ends a line or changes what is shown after it."""
    return _HIDDEN.search(text) is not None


def visible(text: str) -> str:
    r"""Return a text with such characters as escapes.

    Examples
    --------
    >>> print(visible("fine\nok    every check holds\x1b[2J"))
    fine\nok    every check holds\x1b[2J
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
