"""What makes a block final, whichever engine ordered it: one place that tells the engines apart.

A solo ledger's block is final by its sealer's signature, one under CometBFT by those of two thirds
of the validators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.codec import decode
from tallystick.consensus.cometbft.commits import LightBlock, check_commit, double_signers, signers
from tallystick.consensus.cometbft.evidence import check_evidence
from tallystick.consensus.solo import check_seal, check_twin_seal, is_sealed_with, sealing_keys
from tallystick.errors import ConfigError, VerificationError
from tallystick.ledger.contracts.validators import validator_keys
from tallystick.ledger.genesis import engine_chain_id

if TYPE_CHECKING:
    from collections.abc import Collection

    from tallystick.consensus.wire import SealedHeader
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.state import State

__all__ = [
    "ENGINES",
    "check_engine",
    "check_final",
    "check_root",
    "check_twin",
    "describe",
    "node_keys",
    "orderers",
]

ENGINES = ("cometbft", "solo")  # whose blocks others can check
MILLISECOND = 10**6  # nanoseconds
FEW = 4  # validators; with fewer none may fail


def check_engine(genesis: Genesis) -> None:
    """Refuse a ledger whose blocks cannot be checked here.

    Raises
    ------
    ConfigError
        It is one of another engine.
    """
    if genesis.engine not in ENGINES:
        msg = f"this release does not follow ledgers of the engine '{genesis.engine}'"
        raise ConfigError(msg, hint="upgrade tallystick")


def check_final(
    genesis: Genesis, state: State, parent: Header, before: bytes, block: Block
) -> None:
    """Check that a block is final after ``parent``.

    Parameters
    ----------
    state
        After the parent.
    before
        The parent's evidence, checked; empty for the header of height 0.

    Raises
    ------
    DecodeError
        The block's evidence is none of this engine.
    VerificationError
        It does not show that the block is final.
    """
    if genesis.engine == "solo":
        check_seal(state, genesis, block.header, block.evidence)
    else:
        check_evidence(genesis, parent, decode(LightBlock, before) if before else None, block)


def check_twin(state: State, genesis: Genesis, known: SealedHeader, twin: SealedHeader) -> str:
    """Check that another header of the height of ``known`` was made final, too; return who did it.

    Raises
    ------
    DecodeError, VerificationError
        It was not: what it is brought with proves nothing.
    """
    if genesis.engine == "solo":
        check_twin_seal(state, genesis, known, twin)
        return f"'{genesis.sealer}'"
    one, other = decode(LightBlock, known.evidence), decode(LightBlock, twin.evidence)
    check_commit(other)
    same_set = one.header.validators_hash == other.header.validators_hash
    guilty = double_signers(one, other)
    if not guilty or not same_set:
        msg = "the two headers do not come with two blocks that the same validators signed"
        raise VerificationError(msg)
    names = {public: name for name, public in validator_keys(state)}
    return ", ".join(sorted(f"'{names.get(public, public.hex()[:12])}'" for public in guilty))


def check_root(
    genesis: Genesis, publics: Collection[bytes], header: Header, evidence: bytes
) -> None:
    """Check that the state root of a header is final, by keys known from elsewhere.

    Under CometBFT nothing else in the header is; its time is before that of the next one.

    Parameters
    ----------
    publics
        Of a solo ledger the keys that may have sealed it; under CometBFT those of all validators.
    evidence
        Of a solo ledger that of the header; under CometBFT that of the next one, which fixes the
        state before it.

    Raises
    ------
    DecodeError
        The evidence is none of this engine.
    VerificationError
        It does not show that.
    """
    if genesis.engine == "solo":
        if not is_sealed_with(publics, header, evidence):
            msg = f"the header is not sealed by '{genesis.sealer}'"
            raise VerificationError(msg)
        return
    light = decode(LightBlock, evidence)
    check_commit(light)
    known = set(publics)
    voted = [public for public in signers(light) if public in known]
    if light.header.chain_id != engine_chain_id(genesis) or 3 * len(voted) <= 2 * len(known):
        msg = f"{len(voted)} of {len(known)} validators signed it on this ledger: too few"
        raise VerificationError(msg)
    if light.height != header.height + 1 or light.header.app_hash != header.state_root:
        msg = f"what they signed is not the state after block {header.height}"
        raise VerificationError(msg)
    if header.time * MILLISECOND >= light.header.time.total:
        msg = f"the header of block {header.height} is of a later time than the block after it"
        raise VerificationError(msg)


def node_keys(state: State, genesis: Genesis) -> tuple[bytes, ...]:
    """Return the public keys whose owners' nodes give their word: for transactions and blobs."""
    if genesis.engine == "solo":
        return sealing_keys(state, genesis.sealer)
    return tuple(public for _, public in validator_keys(state, active=True))


def orderers(genesis: Genesis) -> str:
    """Return who a message says makes blocks final."""
    return f"'{genesis.sealer}'" if genesis.engine == "solo" else "two thirds of the validators"


def describe(genesis: Genesis, evidence: bytes) -> dict[str, Any]:
    """Return what the finality of a ledger rests on, from the evidence of its newest block.

    Parameters
    ----------
    evidence
        Checked; empty where there is no block.
    """
    if genesis.engine == "solo":
        says = (
            f"ordered by {genesis.sealer} alone: no protection against omission or a second history"
        )
        return {"engine": genesis.engine, "signers": 1, "says": says}
    if not evidence:
        return {"engine": genesis.engine, "signers": 0, "says": "no block yet"}
    light = decode(LightBlock, evidence)
    signed, of = len(signers(light)), len(light.validators)
    says = (
        f"agreed by {signed} of {of} validators, each set of which was named by the one before; "
        "assumes that no past set's keys were misused by more than two thirds, even later"
    )
    if of < FEW:
        says += f"; with {of} validators no fault is tolerated"
    return {"engine": genesis.engine, "signers": signed, "validators": of, "says": says}
