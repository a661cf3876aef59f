"""Find a block to trust from the genesis alone: by the light blocks that nodes hand out.

A node without a history asks the others for headers and commits, each checked from the first block
on, and so knows one header to begin with that nobody had to be believed for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import httpx

from tallystick.consensus.cometbft.chain import check_chain
from tallystick.consensus.cometbft.commits import LightBlock, without_unverifiable
from tallystick.consensus.cometbft.rpc_json import parse_light_block
from tallystick.errors import DecodeError, UnavailableError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallystick.ledger.genesis import Genesis

__all__ = ["LIGHT", "climb", "light_fetcher"]

LIGHT = "/v1/light"  # where a node answers for its CometBFT
TIMEOUT_SECONDS = 10.0
PAGE = 100


def climb(genesis: Genesis, fetch: Callable[[int], LightBlock], height: int) -> LightBlock:
    """Return the light block of a height, checked from the genesis on by as few steps as it takes.

    Raises
    ------
    VerificationError
        What was fetched is no history of this genesis.
    UnavailableError, DecodeError
        As ``fetch``.
    """
    chain = [fetch(1)]
    check_chain(genesis, chain)
    goals = [height]
    while goals:
        if goals[-1] <= chain[-1].height:
            goals.pop()
            continue
        light = fetch(goals[-1])
        try:
            check_chain(genesis, [*chain, light])
        except VerificationError:
            middle = (chain[-1].height + light.height) // 2
            if middle == chain[-1].height:
                raise
            goals.append(middle)  # too many validators are new at once: see those between
        else:
            chain.append(light)
    return chain[-1]


def light_fetcher(url: str, authority: Path | None = None) -> Callable[[int], LightBlock]:
    """Return what fetches light blocks from a node; they are not checked.

    It raises `UnavailableError` when the node does not answer, and `DecodeError` when what it
    answers is none.
    """
    verify: Any = True if authority is None else str(authority)

    def call(method: str, **parameters: str) -> dict[str, Any]:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        try:
            with httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS) as client:
                answer = client.post(f"{url.rstrip('/')}{LIGHT}", json=asked)
            said = answer.json()
        except (httpx.HTTPError, ValueError, OSError) as error:
            msg = f"{url} does not answer for headers: {error}"
            raise UnavailableError(msg) from error
        result = cast("dict[str, Any]", said).get("result") if isinstance(said, dict) else None
        if not isinstance(result, dict):
            msg = f"{url} has no {method} of these heights"
            raise UnavailableError(msg)
        return cast("dict[str, Any]", result)

    def fetch(height: int) -> LightBlock:
        signed = call("commit", height=str(height)).get("signed_header")
        pages: list[dict[str, Any]] = []
        wanted = 1
        while len(pages) * PAGE < wanted:
            page = call(
                "validators", height=str(height), page=str(len(pages) + 1), per_page=str(PAGE)
            )
            pages.append(page)
            try:
                wanted = int(page.get("total", 0))
            except (TypeError, ValueError) as error:
                msg = f"{url} does not count its validators"
                raise DecodeError(msg) from error
        light = without_unverifiable(parse_light_block(signed, *pages))
        if light.height != height:
            msg = f"{url} answers with block {light.height} for block {height}"
            raise DecodeError(msg)
        return light

    return fetch
