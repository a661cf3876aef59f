"""``tally key``: a member's secrets, made on its own machine, and the card it hands out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallystick.cli.options import Json
from tallystick.cli.output import print_document, say

if TYPE_CHECKING:
    from tallystick.federation.card import Card

__all__ = ["keys"]

keys = typer.Typer(help="Make a member's keys, or see which they are.", rich_markup_mode=None)
FORMAT = "tally.key/1"


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="The member's name: lower case, for good.")],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the secret stays; NAME.card is public.")
    ],
    json: Json = False,
) -> None:
    """Make the keys of a member, and the card to hand to the others.

    The secrets come from the operating system and stay in DIR, which others cannot read.
    """
    from tallystick.errors import ConfigError
    from tallystick.federation.card import make_card, save_card
    from tallystick.federation.key_file import save_keyring
    from tallystick.federation.keyring import new_keyring

    keyring = new_keyring(name)
    card = make_card(keyring)
    path = out / f"{name}.card"
    if path.exists():
        msg = f"{path} exists already and is not overwritten"
        raise ConfigError(msg, hint="name another folder with --out")
    secret = save_keyring(out, keyring)
    save_card(path, card)
    if json:
        print_document({**_facts(card), "files": {"key": str(secret), "card": str(path)}})
        return
    say(f"secret       {secret}  (keep it, keep a copy, show it to nobody)")
    say(f"card         {path}  (hand it to the other members)")
    _tell(card)


@keys.command()
def show(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder that `tally key new` wrote.")
    ],
    card: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the card again, with the newest keys."),
    ] = None,
    json: Json = False,
) -> None:
    """Show whose keys a folder holds: names, public keys and fingerprint, no secrets."""
    from tallystick.federation.card import make_card, save_card
    from tallystick.federation.key_file import key_path, load_keyring

    keyring = load_keyring(folder)
    made = make_card(keyring)
    if card is not None:
        save_card(card, made)
    path = key_path(folder, keyring.name)
    if json:
        files = {"key": str(path), "card": None if card is None else str(card)}
        held = {key.role: len(keyring.secrets(key.role)) for key in made.keys}
        print_document({**_facts(made), "held": held, "files": files})
        return
    say(f"secret       {path}")
    if card is not None:
        say(f"card         {card}")
    _tell(made)


def _facts(card: Card) -> dict[str, Any]:
    from tallystick.federation.card import card_fingerprint

    public = [{"role": key.role, "public": key.public} for key in card.keys]
    fingerprint = card_fingerprint(card)
    facts = {"name": card.name, "fingerprint": fingerprint, "keys": public}
    return {"format": FORMAT, "ok": True, **facts}


def _tell(card: Card) -> None:
    from tallystick.federation.card import card_fingerprint

    say(f"member       {card.name}")
    for key in card.keys:
        say(f"{key.role:<12} {key.public.hex()}")
    say(f"fingerprint  {card_fingerprint(card)}")
