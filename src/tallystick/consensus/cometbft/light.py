"""The light client of CometBFT: from a header that one trusts to a later one, few steps between.

A step to the next height needs no trust, since a header names the next set of validators. A longer
step holds when enough of the power that one knew signed the later block; when not, it is halved.
Time and blocks are handed in, so nothing here waits or fetches.

References
----------
CometBFT v0.39, ``spec/light-client/verification`` and ``light/verifier.go``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from tallystick.consensus.cometbft.commits import (
    LightBlock,
    check_power,
    check_shape,
    check_signatures,
    double_signers,
    signers,
)
from tallystick.consensus.cometbft.headers import CometHeader, comet_header_hash
from tallystick.consensus.cometbft.validators import Validators, power_of, validators_hash
from tallystick.crypto.votes import NANOS
from tallystick.errors import ConfigError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.crypto.votes import Moment

__all__ = [
    "ExpiredTrustError",
    "ForkError",
    "NotEnoughTrustError",
    "Policy",
    "Trusted",
    "compare",
    "trust",
    "verify",
    "verify_to",
]

LEAST_LEVEL = Fraction(1, 3)


class NotEnoughTrustError(VerificationError):
    """Too little of the power known signed the block: verify one that lies between first."""

    slug: ClassVar[str] = "not-enough-trust"


class ExpiredTrustError(VerificationError):
    """The trusted header is older than the trusting period: begin again from one known to hold."""

    slug: ClassVar[str] = "trust-expired"


class ForkError(VerificationError):
    """Two blocks of one height are final; ``double`` lists the keys that signed both."""

    slug: ClassVar[str] = "fork"

    def __init__(self, height: int, double: list[bytes]) -> None:
        """Name the height and keep the keys of the double signers."""
        super().__init__(
            f"two blocks are final at height {height}, {len(double)} validators signed both"
        )
        self.height = height
        self.double = double


@dataclass(frozen=True, slots=True)
class Trusted:
    """A header that one trusts, with the validators of its height or of the next."""

    header: CometHeader
    validators: Validators


@dataclass(frozen=True, slots=True)
class Policy:
    """How far trust reaches.

    Parameters
    ----------
    period_nanos
        How long after a header's time its validators are trusted, in nanoseconds.
    drift_nanos
        How far ahead of ``now`` a header may be, in nanoseconds.
    level
        Share of the trusted power that has to have signed a block further on, 1/3 to 1; more than
        this has to.

    Raises
    ------
    ConfigError
        The level is not within 1/3 to 1.
    """

    period_nanos: int
    drift_nanos: int = 10 * NANOS
    level: Fraction = LEAST_LEVEL

    def __post_init__(self) -> None:
        """Refuse a level at which nobody honest has to have signed."""
        if not LEAST_LEVEL <= self.level <= 1:
            msg = f"the trust level is {self.level}, not within 1/3 to 1"
            raise ConfigError(msg)


def trust(light: LightBlock, header_hash: bytes) -> Trusted:
    """Return the light block as trusted because its hash is one obtained elsewhere.

    Raises
    ------
    VerificationError
        It has another hash, or its commit does not check out.
    """
    if light.commit.block_id.hash != header_hash:
        msg = f"the block at height {light.height} is not the one to be trusted"
        raise VerificationError(msg)
    check_shape(light, block_version=light.header.block_version)
    check_signatures(light)
    check_power(light)
    return Trusted(light.header, light.validators)


def verify(
    trusted: Trusted,
    light: LightBlock,
    policy: Policy,
    now: Moment,
    following: Validators | None = None,
) -> None:
    """Check one step, to the next height or further.

    Parameters
    ----------
    following
        The validators of the height after the new block's, where at hand; they are checked too.

    Raises
    ------
    ExpiredTrustError
        The trusted header is too old.
    NotEnoughTrustError
        The step is too long; nothing is known to be wrong with the block.
    VerificationError
        The block is wrong, whatever lies between.
    """
    _check_trusted(trusted, policy, now)
    check_shape(light, block_version=trusted.header.block_version)
    if following is not None and validators_hash(following) != light.header.next_validators_hash:
        msg = f"the block at height {light.height} names other next validators than those given"
        raise VerificationError(msg)
    _check_order(trusted.header, light.header, policy, now)
    is_next = light.height == trusted.header.height + 1
    if is_next and light.header.validators_hash != trusted.header.next_validators_hash:
        msg = f"the validators of height {light.height} are not those the block before named"
        raise VerificationError(msg)
    check_signatures(light)
    if not is_next:
        _check_trust(trusted, light, policy.level)
    check_power(light)


def verify_to(
    trusted: Trusted,
    height: int,
    fetch: Callable[[int], LightBlock],
    policy: Policy,
    now: Moment,
) -> tuple[LightBlock, ...]:
    """Verify the block at ``height`` in as few steps as trust allows.

    Returns
    -------
    tuple of LightBlock
        Those that the steps went over, the target last; none where it is trusted already.

    Raises
    ------
    VerificationError
        As `verify`, or ``height`` lies before the trusted header, or ``fetch`` returned a block of
        another height.
    """
    if height < trusted.header.height:
        msg = f"height {height} lies before the trusted header of height {trusted.header.height}"
        raise VerificationError(msg)
    steps: list[LightBlock] = []
    wanted = [height] if height > trusted.header.height else []
    fetched: dict[int, LightBlock] = {}
    while wanted:
        light = fetched.get(wanted[-1]) or _fetch(fetch, wanted[-1])
        fetched[wanted[-1]] = light
        try:
            verify(trusted, light, policy, now)
        except NotEnoughTrustError:
            wanted.append((trusted.header.height + light.height) // 2)
            continue
        steps.append(light)
        trusted = Trusted(light.header, light.validators)
        wanted.pop()
    return tuple(steps)


def compare(light: LightBlock, other: LightBlock) -> None:
    """Check that another node's block of the same height is the same; both are checked.

    Raises
    ------
    ForkError
        It is another block.
    """
    hashes = {comet_header_hash(each.header) for each in (light, other)}
    if light.height == other.height and len(hashes) > 1:
        raise ForkError(light.height, double_signers(light, other))


def _fetch(fetch: Callable[[int], LightBlock], height: int) -> LightBlock:
    light = fetch(height)
    if light.height != height:
        msg = f"asked for the block at height {height}, got that of {light.height}"
        raise VerificationError(msg)
    return light


def _check_trusted(trusted: Trusted, policy: Policy, now: Moment) -> None:
    header = trusted.header
    if header.time.total + policy.period_nanos <= now.total:
        msg = f"the trusted header of height {header.height} is older than the trusting period"
        raise ExpiredTrustError(msg)
    if validators_hash(trusted.validators) not in {
        header.validators_hash,
        header.next_validators_hash,
    }:
        msg = f"the validators are not those of the trusted header of height {header.height}"
        raise VerificationError(msg)


def _check_order(before: CometHeader, header: CometHeader, policy: Policy, now: Moment) -> None:
    if header.chain_id != before.chain_id:
        msg = f"the header is of chain '{header.chain_id}', not of '{before.chain_id}'"
        raise VerificationError(msg)
    if header.height <= before.height:
        msg = f"height {header.height} does not come after height {before.height}"
        raise VerificationError(msg)
    if header.time.total <= before.time.total:
        msg = f"the header of height {header.height} is not later than the one trusted"
        raise VerificationError(msg)
    if header.time.total >= now.total + policy.drift_nanos:
        msg = f"the header of height {header.height} is from the future"
        raise VerificationError(msg)


def _check_trust(trusted: Trusted, light: LightBlock, level: Fraction) -> None:
    voters = set(signers(light))
    known = power_of(each for each in trusted.validators if each.public in voters)
    if known <= power_of(trusted.validators) * level:
        msg = (
            f"{known} of {power_of(trusted.validators)} power trusted at height "
            f"{trusted.header.height} signed the block at height {light.height}: too few"
        )
        raise NotEnoughTrustError(msg, hint="verify a block between the two first")
