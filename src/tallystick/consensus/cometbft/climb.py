"""Find a block to trust from the genesis alone: by the light blocks that nodes hand out.

A node without a history asks the others for headers and commits, each checked from the first block
on, and so knows one header to begin with that nobody had to be believed for.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.consensus.cometbft.chain import check_chain, check_next
from tallystick.consensus.cometbft.commits import LightBlock, check_commit, without_unverifiable
from tallystick.consensus.cometbft.light import Policy, Trusted, verify_to
from tallystick.consensus.cometbft.rpc import validator_pages
from tallystick.consensus.cometbft.rpc_json import parse_light_block
from tallystick.errors import DecodeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.client import NodeClient
    from tallystick.ledger.genesis import Genesis

__all__ = ["LIGHT", "climb", "climb_past", "light_fetcher"]

LIGHT = "/v1/light"  # where a node answers for its CometBFT
FOR_EVER = 1 << 100  # nanoseconds, longer than any two moments lie apart
# A chain from the genesis knows no clock, and trusts two thirds.
WITHOUT_A_CLOCK = Policy(FOR_EVER, FOR_EVER, Fraction(2, 3))


def climb(genesis: Genesis, fetch: Callable[[int], LightBlock], height: int) -> LightBlock:
    """Return the light block of a height, checked from the genesis on by as few steps as it takes.

    Raises
    ------
    VerificationError
        What was fetched is no history of this genesis.
    UnavailableError, DecodeError
        As ``fetch``.
    """
    return _chain_to(genesis, fetch, height)[-1]


def climb_past(
    genesis: Genesis, fetch: Callable[[int], LightBlock], height: int
) -> tuple[LightBlock, LightBlock]:
    """Return the light block of a height and that of the next, which fixes its state.

    Raises as `climb`.
    """
    chain = _chain_to(genesis, fetch, height)
    following = fetch(height + 1)
    check_commit(following)
    check_next(chain[-1], following)
    return chain[-1], following


def _chain_to(
    genesis: Genesis, fetch: Callable[[int], LightBlock], height: int
) -> list[LightBlock]:
    first = fetch(1)
    check_chain(genesis, [first])
    trusted = Trusted(first.header, first.validators)
    steps = verify_to(trusted, height, fetch, WITHOUT_A_CLOCK, first.header.time)
    chain = [first, *steps]
    check_chain(genesis, chain)  # by a verifier's rule, which is stricter about parents
    return chain


def light_fetcher(client: NodeClient) -> Callable[[int], LightBlock]:
    """Return what fetches light blocks from nodes; they are not checked.

    It raises as `NodeClient.ask`, and `DecodeError` when what is answered is none.
    """

    def call(method: str, **parameters: str) -> dict[str, Any]:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = client.ask("POST", LIGHT, msgspec.json.encode(asked))
        try:
            return msgspec.convert(answer.document().get("result"), dict[str, Any])
        except msgspec.ValidationError as error:
            msg = f"{answer.url} has no {method} of these heights"
            raise UnavailableError(msg) from error

    def fetch(height: int) -> LightBlock:
        signed = call("commit", height=str(height)).get("signed_header")
        light = without_unverifiable(parse_light_block(signed, *validator_pages(call, height)))
        if light.height != height:
            msg = f"a node answers with block {light.height} for block {height}"
            raise DecodeError(msg)
        return light

    return fetch
