"""What members put to the vote: from flags to a change, and from a change to words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.federation.membership import OpenProposal
    from tallystick.ledger.messages import Change

__all__ = ["FLAGS", "change_of", "says", "shown"]

FLAGS = ("--admit", "--remove", "--replace-owner", "--grant", "--seat", "--unseat", "--upgrade")
MOST_DIGITS = 19


def change_of(given: Sequence[Path | str | None]) -> Change:
    """Return the one change that is asked for.

    Parameters
    ----------
    given
        What stands behind each of `FLAGS`, in their order; empty or `None` where nothing does.

    Raises
    ------
    ConfigError
        There is not exactly one, or it is none.
    DecodeError, VerificationError
        A card is none.
    """
    asked = [(flag, value) for flag, value in zip(FLAGS, given, strict=True) if value]
    if len(asked) != 1:
        msg = "a proposal is one change"
        raise ConfigError(msg, hint=f"one of {', '.join(FLAGS[:-1])} and {FLAGS[-1]}")
    flag, value = asked[0]
    return _by_card(flag, value) if isinstance(value, Path) else _by_words(flag, value)


def shown(each: OpenProposal) -> dict[str, Any]:
    """Return an open proposal as documents have it."""
    change = each.change
    fields = {name: getattr(change, name) for name in change.__struct_fields__}
    kind = {"ReplaceOwner": "replace-owner"}.get(type(change).__name__, type(change).__name__)
    facts = {"change": kind.lower(), **fields}
    return {"id": each.id.hex(), **facts, "votes": list(each.votes), "needed": each.needed}


def says(proposal: dict[str, Any]) -> str:
    """Return what a proposal, as `shown`, would do."""
    kind = proposal["change"]
    if kind == "upgrade":
        return f"protocol version {proposal['version']} after block {proposal['height']}"
    if kind == "grant":
        return f"grant {proposal['micros']} micros to {proposal['member']}"
    words = {
        "replace-owner": "a new owner key for",
        "seat": "a validator's seat for",
        "unseat": "no validator's seat for",
    }
    return f"{words.get(kind, kind)} {proposal['member']}"


def _by_card(flag: str, path: Path) -> Change:
    from tallystick.federation.card import load_card
    from tallystick.ledger.messages import Admit, ReplaceOwner

    card = load_card(path)
    if flag == "--admit":
        return Admit(card.name, card.keys)
    return ReplaceOwner(card.name, next(key for key in card.keys if key.role == "owner"))


def _by_words(flag: str, text: str) -> Change:
    from tallystick.ledger.messages import Grant, Remove, Seat, Unseat, Upgrade

    about = {"--remove": Remove, "--seat": Seat, "--unseat": Unseat}
    if flag in about:
        return about[flag](text)
    if flag == "--grant":
        name, _, micros = text.partition("=")
        number = _number(micros, 2**62)
        if name and number:
            return Grant(name, number)
        msg = f"--grant '{text}' is not NAME=MICROS"
        raise ConfigError(msg, hint="a whole number of millionths, such as north=1000000")
    version, _, height = text.partition("@")
    wanted, last = _number(version, 2**8 - 1), _number(height, 2**63 - 1)
    if wanted and last:
        return Upgrade(wanted, last)
    msg = f"--upgrade '{text}' is not VERSION@HEIGHT"
    raise ConfigError(msg, hint="the height is the old version's last, such as 2@100000")


def _number(text: str, most: int) -> int:
    """Return a whole number from 1 to ``most``; 0 for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        return 0
    number = int(text)
    return number if number <= most else 0
