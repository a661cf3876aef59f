"""Ask a CometBFT on this machine over JSON-RPC: batches of calls on one kept connection.

References
----------
CometBFT v0.39, ``rpc/openapi/openapi.yaml`` and ``rpc/jsonrpc``.
"""

from __future__ import annotations

import http.client
import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec

from tallystick.consensus.cometbft.rpc_json import total_validators
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import DecodeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MOST_AT_ONCE", "CometRpc", "RpcError", "validator_pages"]

MOST_AT_ONCE = 100  # calls in a request; its configuration allows twice as many
TIMEOUT_SECONDS = 5.0
FULL = "mempool is full"
KNOWN = "tx already exists in cache"
PAGE = 100  # validators in an answer


class RpcError(UnavailableError):
    """CometBFT answers that it cannot."""


class CometRpc:
    """One CometBFT's JSON-RPC.

    Parameters
    ----------
    url
        Such as ``http://127.0.0.1:26657``.
    """

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Connect at the first call."""
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=timeout_seconds
        )
        self._number = 0
        self._lock = threading.Lock()  # one call at a time

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def call(self, method: str, **parameters: str) -> dict[str, Any]:
        """Return the result of a call; numbers are given as text.

        Raises
        ------
        RpcError
            It answers with an error.
        UnavailableError
            It does not answer.
        DecodeError
            It does not answer as JSON-RPC does.
        """
        (answer,) = self._ask([self._call(method, parameters)])
        if "error" in answer:
            raise RpcError(_said(answer))
        result = answer.get("result")
        if not isinstance(result, dict):
            msg = f"CometBFT's answer to {method} has no result"
            raise DecodeError(msg)
        return cast("dict[str, Any]", result)

    def broadcast(self, wires: Sequence[bytes]) -> list[RetryLaterError | RpcError | None]:
        """Hand over transactions; return for each why it is not taken, `None` if it is.

        One that it has already counts as taken. What it says of a transaction's content it says
        later, so whoever hands one over has checked it.

        Raises
        ------
        UnavailableError
            It does not answer; some may have been taken.
        DecodeError
            It does not answer as JSON-RPC does.
        """
        found: list[RetryLaterError | RpcError | None] = []
        for start in range(0, len(wires), MOST_AT_ONCE):
            calls = [
                self._call("broadcast_tx_async", {"tx": b64encode(wire).decode()})
                for wire in wires[start : start + MOST_AT_ONCE]
            ]
            found += [_problem(answer) for answer in self._ask(calls)]
        return found

    def _call(self, method: str, parameters: dict[str, str]) -> dict[str, Any]:
        self._number += 1
        return {"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters}

    def _ask(self, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
        asked = msgspec.json.encode(calls if len(calls) > 1 else calls[0])
        try:
            with self._lock:
                said = self._post_again(asked)
        except (OSError, http.client.HTTPException) as error:
            msg = f"CometBFT does not answer: {str(error) or type(error).__name__}"
            raise UnavailableError(msg) from error
        except msgspec.DecodeError as error:
            msg = "CometBFT does not answer in JSON"
            raise DecodeError(msg) from error
        answers = cast("list[object]", said if isinstance(said, list) else [said])
        told = [cast("dict[str, Any]", each) for each in answers if isinstance(each, dict)]
        by_id = {each.get("id"): each for each in told}
        found = [by_id[call["id"]] for call in calls if call["id"] in by_id]
        if len(found) != len(calls):
            why = _said(told[0]) if told else "nothing"
            msg = f"CometBFT answers {len(found)} of {len(calls)} calls: {why}"
            raise DecodeError(msg)
        return found

    def _post_again(self, content: bytes) -> object:
        """Post on the kept connection, or on a new one if that was given up."""
        is_kept = self._connection.sock is not None  # CometBFT hangs up on whoever is silent
        try:
            return self._post(content)
        except ConnectionError:
            if not is_kept:
                raise
            return self._post(content)

    def _post(self, content: bytes) -> object:
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request("POST", "/", content, headers)
            return msgspec.json.decode(self._connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next request connects again
            raise


def validator_pages(call: Callable[..., dict[str, Any]], height: int) -> list[dict[str, Any]]:
    """Return as many answers to ``/validators`` as the validators of a height take.

    Parameters
    ----------
    call
        Asks as `CometRpc.call` does.

    Raises
    ------
    DecodeError
        An answer does not say how many there are, or says more than there can be.
    """
    pages: list[dict[str, Any]] = []
    wanted = 1
    while len(pages) * PAGE < wanted:
        pages.append(
            call("validators", height=str(height), page=str(len(pages) + 1), per_page=str(PAGE))
        )
        wanted = total_validators(pages[-1])
    return pages


def _problem(answer: dict[str, Any]) -> RetryLaterError | RpcError | None:
    if "error" not in answer:
        return None
    said = _said(answer)
    if KNOWN in said:
        return None
    if FULL in said:
        return RetryLaterError("the mempool is full", hint="send it again in a second")
    return RpcError(said)


def _said(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    if not isinstance(error, dict):
        return "no error"
    facts = cast("dict[str, Any]", error)
    return f"CometBFT: {facts.get('message', '')}: {facts.get('data', '')}"[:300]
