"""Read a single row of a ledger from a node, proven: without its blocks, and without trust.

Whoever knows the genesis and the keys that seal believes a row because the sealer signed the root
it hangs from. That the row is of the newest state is the node's word alone: compare the header's
height and time with what is expected. Under CometBFT the time can be an earlier one than it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tallystick.codec import decode
from tallystick.consensus.client import RefusedError
from tallystick.consensus.finality import check_root
from tallystick.consensus.wire import API
from tallystick.consensus.witness import Witness
from tallystick.crypto.merkle_map import MapProof, verify_absent, verify_member
from tallystick.errors import DecodeError, UnavailableError, VerificationError
from tallystick.ledger.block import Header
from tallystick.ledger.genesis import genesis_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.consensus.client import Answer, NodeClient
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.state import Table

__all__ = ["read_row"]

V = TypeVar("V")


def read_row(
    client: NodeClient,
    genesis: Genesis,
    sealer_keys: Sequence[bytes],
    table: Table[V],
    *parts: object,
    witness: Witness | None = None,
) -> tuple[V | None, Header]:
    """Return a row, `None` where there is none, and the sealed header that says so.

    Parameters
    ----------
    sealer_keys
        The public keys that may have sealed it; under CometBFT those of all validators. Before
        its first block a ledger has no seal, and what a node serves of it cannot be read so.
    witness
        Writes down what was not true; nobody does without it.

    Raises
    ------
    LyingNodeError
        ``false-proof``: what the node answered does not show what it says.
    UnavailableError
        No node answers, or there is no block yet.
    """
    key = table.key(*parts)
    try:
        answer = client.ask("GET", f"{API}/state/{key.hex()}")
    except RefusedError as error:
        msg = f"a node refuses to show a row: {error}"
        raise UnavailableError(msg) from error
    said = answer.document()
    try:
        header = decode(Header, _bytes_in(said, "header"))
        if not header.height and header.chain == genesis_hash(genesis):
            msg = f"{answer.url}: the ledger has no block yet"
            raise UnavailableError(msg)
        row = _check(said, header, key, genesis, sealer_keys)
        found: V | None = None if row is None else decode(table.kind, row)
    except (DecodeError, VerificationError) as error:
        client.turn(answer.url)
        raise _named(witness or Witness(None), answer, key, said, error) from error
    return found, header


def _check(
    said: dict[str, object],
    header: Header,
    key: bytes,
    genesis: Genesis,
    sealer_keys: Sequence[bytes],
) -> bytes | None:
    """Return the row's bytes, `None` where there is none; raise unless all of it is shown."""
    if header.chain != genesis_hash(genesis):
        msg = "the header is another ledger's"
        raise VerificationError(msg)
    check_root(genesis, sealer_keys, header, _bytes_in(said, "evidence"))
    proof = decode(MapProof, _bytes_in(said, "proof"))
    if said.get("row") is None:
        verify_absent(header.state_root, key, proof)
        return None
    row = _bytes_in(said, "row")
    verify_member(header.state_root, key, row, proof)
    return row


def _bytes_in(said: dict[str, object], name: str) -> bytes:
    try:
        return bytes.fromhex(str(said[name]))
    except (KeyError, ValueError) as error:
        msg = f"'{name}' is not in hex"
        raise DecodeError(msg) from error


def _named(
    witness: Witness, answer: Answer, key: bytes, said: dict[str, object], error: Exception
) -> VerificationError:
    facts = {name: str(said.get(name)) for name in ("row", "proof", "header", "evidence")}
    msg = f"what it answers about row {key.hex()[:24]} does not show it: {error}"
    return witness.name(answer.url, "false-proof", msg, key=key, **facts)
