"""Text that others wrote, as it may be shown: on one line, with nothing a terminal obeys."""

from __future__ import annotations

import re

__all__ = ["has_hidden", "visible"]

# Control characters, line and paragraph separators, and those that turn the reading direction.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


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
