"""Founding a network: from members' cards to the genesis they publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tallystick.codec import decode, encode
from tallystick.errors import ConfigError, DecodeError
from tallystick.federation.card import Card, check_card
from tallystick.federation.keyring import Keyring
from tallystick.federation.names import check_names
from tallystick.federation.trial import DEFAULT_LIMITS, FUNDS, secret_of, simulated_genesis
from tallystick.ledger.contracts.validators import faults_of, founding_seats
from tallystick.ledger.genesis import Engine, Founder, Genesis, Limits, check_genesis

__all__ = [
    "TrialNetwork",
    "check_engine",
    "found_network",
    "trial_keyring",
    "trial_network",
    "warning",
]

LEAST = 4  # validators of which one may fail


@dataclass(frozen=True, slots=True)
class TrialNetwork:
    """A complete network made from a seed: whoever knows the seed has all of its keys."""

    genesis: Genesis
    keyrings: Mapping[str, Keyring]


def found_network(  # noqa: PLR0913 - one argument per choice that founders make
    name: str,
    cards: Sequence[Card],
    *,
    engine: str = "solo",
    sealer: str | None = None,
    funds: int = FUNDS,
    time: int,
    trial: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Genesis:
    """Return the genesis of a network whose founders are the owners of the cards.

    Parameters
    ----------
    name
        The network's: lower-case letters, digits and '-', at most 32.
    engine
        What orders transactions: ``solo``, or ``cometbft``, where all founders do together.
    sealer
        Who seals the blocks of a solo network; by default the owner of the first card.
    funds
        What each founder starts with, in micros.
    time
        When the ledger begins, in milliseconds since 1970.

    Raises
    ------
    ConfigError
        Two cards are of one name, the sealer has no card or there is none, a founder who has to
        validate has no key for it, or a value is out of its range.
    DecodeError, VerificationError
        As `check_card`.
    """
    ordering = check_engine(engine)
    if not cards:
        msg = "a network needs at least one founder"
        raise ConfigError(msg, hint="name the cards of its members")
    _check_once(cards)
    for card in cards:
        check_card(card)
        if ordering == "cometbft" and all(key.role != "validator" for key in card.keys):
            msg = f"the card of '{card.name}' has no validator key, and every founder validates"
            raise ConfigError(msg, hint="a card that `tally key new` makes has one")
    genesis = Genesis(
        name=name,
        time=time,
        engine=ordering,
        sealer=_sealer(ordering, sealer, cards[0].name),
        trial=trial,
        founders=tuple(
            Founder(card.name, card.keys, funds)
            for card in sorted(cards, key=lambda card: card.name)
        ),
        limits=limits,
    )
    return _checked(genesis)


def check_engine(engine: str) -> Engine:
    """Return the engine if networks are founded on it.

    Raises
    ------
    ConfigError
        It is neither ``solo`` nor ``cometbft``.
    """
    if engine == "solo" or engine == "cometbft":  # noqa: PLR1714 - narrows the type
        return engine
    msg = f"no network is founded on the engine '{engine}'"
    raise ConfigError(msg, hint="say --engine solo or --engine cometbft")


def warning(genesis: Genesis) -> str:
    """Return what founders should know before they publish a genesis; mostly nothing."""
    count = len(founding_seats(genesis))
    if genesis.engine != "cometbft" or faults_of(count):
        return ""
    who = "one validator tolerates" if count == 1 else f"{count} validators tolerate"
    return f"{who} no fault: when one fails nothing is ordered; {LEAST} tolerate one"


def trial_network(
    names: Sequence[str],
    seed: int,
    *,
    name: str = "trial",
    engine: str = "solo",
    sealer: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> TrialNetwork:
    """Return a network whose every secret comes from ``seed``, marked ``trial``.

    Keys and salts are those of a simulation with that seed, so both draw the same.

    Raises
    ------
    ConfigError
        A name is out of its range or there twice, the sealer is none of them, or there is no such
        engine or sealer.
    """
    ordering = check_engine(engine)
    check_names(names)
    twice = [member for member, count in Counter(names).items() if count > 1]
    if twice:
        msg = f"'{twice[0]}' is named twice"
        raise ConfigError(msg, hint="every member has a name of its own")
    genesis = simulated_genesis(name, tuple(names), seed, limits, ordering)
    chosen = _sealer(ordering, sealer, genesis.sealer)
    genesis = msgspec.structs.replace(genesis, sealer=chosen)
    keyrings = {member: trial_keyring(seed, member) for member in sorted(names)}
    return TrialNetwork(_checked(genesis), keyrings)


def trial_keyring(seed: int, member: str) -> Keyring:
    """Return the keyring that a simulation with ``seed`` gives a member."""
    owner, worker, validator, salt = (
        secret_of(seed, member, what) for what in ("owner", "worker", "validator", "salt")
    )
    return Keyring(member, (owner,), (worker,), (validator,), salt)


def _sealer(engine: Engine, wanted: str | None, default: str) -> str:
    """Return who seals; nobody does where all order together."""
    if engine == "solo":
        return wanted or default
    if wanted:
        msg = f"'{wanted}' cannot seal: under '{engine}' all validators order together"
        raise ConfigError(msg, hint="leave --sealer out")
    return ""


def _check_once(cards: Sequence[Card]) -> None:
    seen: dict[str, Card] = {}
    for card in cards:
        if card.name in seen:
            same = "the same one" if seen[card.name] == card else "with different keys"
            msg = f"'{card.name}' has two cards, {same}"
            raise ConfigError(msg, hint="name one card of each member")
        seen[card.name] = card


def _checked(genesis: Genesis) -> Genesis:
    """Put a genesis through the codec, which knows every field's range, and its own rules."""
    check_genesis(genesis)
    try:
        return decode(Genesis, encode(genesis))
    except DecodeError as error:
        msg = f"network name '{genesis.name}', time, funds or limits: {error}"
        raise ConfigError(msg, hint="names: lower-case letters, digits and '-', at most 32") from (
            error
        )
