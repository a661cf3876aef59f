"""A ledger as CometBFT would have ordered it: its light blocks, and a JSON-RPC that has them."""

from __future__ import annotations

import threading
from base64 import b64encode
from datetime import UTC, datetime

from msgspec.structs import replace

from support.comet_chain import signed, validators
from support.validators import VALIDATOR
from support.world import public_of
from tallystick.consensus.cometbft.headers import CometHeader, data_hash
from tallystick.consensus.cometbft.rpc import RpcError
from tallystick.consensus.cometbft.validators import address_of, validators_hash
from tallystick.consensus.engine import RetryLaterError
from tallystick.crypto.merkle_proof import EMPTY_ROOT
from tallystick.crypto.votes import BlockId, Moment
from tallystick.errors import UnavailableError

__all__ = ["FakeRpc", "commit_json", "lights_of", "names_at", "validators_json"]

GENERATIONS = 8  # of validator keys that a test uses


def names_at(world, height):
    """Return who votes on a height, each by the seed of its key: changes act two blocks later."""
    known = {
        public_of(name, generation): f"{name}/{generation}"
        for name in world.generations
        for generation in range(VALIDATOR, VALIDATOR + GENERATIONS)
    }
    founders = world.genesis.founders
    power = {key.public for each in founders for key in each.keys if key.role == "validator"}
    for outcome in world.outcomes[: max(0, height - 2)]:
        for public, weight in outcome.validator_updates:
            (power.add if weight else power.discard)(public)
    return sorted(known[public] for public in power)


def lights_of(world, *, absent=None, round_=0, **fields):
    """Return the light blocks of a world's blocks, by height; ``fields`` are of every header."""
    lights, last = {}, BlockId()
    parent = world.kernel.found()[1]
    for outcome in world.outcomes:
        height, time = outcome.header.height, outcome.header.time
        names = names_at(world, height)
        header = CometHeader(
            block_version=11,
            app_version=1,
            chain_id=world.kernel.chain_id,
            height=height,
            time=Moment(time // 1000, time % 1000 * 10**6),
            last_block_id=last,
            last_commit_hash=EMPTY_ROOT,
            data_hash=data_hash(outcome.block.transactions),
            validators_hash=validators_hash(validators(names)),
            next_validators_hash=validators_hash(validators(names_at(world, height + 1))),
            consensus_hash=EMPTY_ROOT,
            app_hash=parent.state_root,
            last_results_hash=EMPTY_ROOT,
            evidence_hash=EMPTY_ROOT,
            proposer_address=validators(names)[0].public[:20],
        )
        gone = (absent or {}).get(height, ())
        lights[height] = signed(replace(header, **fields), names, absent=gone, round_=round_)
        last, parent = lights[height].commit.block_id, outcome.header
    return lights


def commit_json(light):
    """Return what ``/commit`` answers for a light block."""
    header, commit = light.header, light.commit
    names = (
        "last_commit_hash", "data_hash", "validators_hash", "next_validators_hash",
        "consensus_hash", "app_hash", "last_results_hash", "evidence_hash", "proposer_address",
    )  # fmt: skip
    told = {
        "version": {"block": str(header.block_version), "app": str(header.app_version)},
        "chain_id": header.chain_id,
        "height": str(header.height),
        "time": time_text(header.time),
        "last_block_id": block_id(header.last_block_id),
        **{name: getattr(header, name).hex().upper() for name in names},
    }
    votes = [
        {
            "block_id_flag": each.flag,
            "validator_address": each.address.hex().upper(),
            "timestamp": time_text(each.time) if each.signature else "0001-01-01T00:00:00Z",
            "signature": b64encode(each.signature).decode() or None,
        }
        for each in commit.signatures
    ]
    agreed = {
        "height": str(commit.height),
        "round": commit.round,
        "block_id": block_id(commit.block_id),
        "signatures": votes,
    }
    return {"signed_header": {"header": told, "commit": agreed}, "canonical": True}


def validators_json(light, page=1, per_page=100):
    """Return what ``/validators`` answers for a page."""
    listed = [
        {
            "address": address_of(each.public).hex().upper(),
            "pub_key": {
                "type": "tendermint/PubKeyEd25519",
                "value": b64encode(each.public).decode(),
            },
            "voting_power": str(each.power),
            "proposer_priority": "0",
        }
        for each in light.validators
    ]
    part = listed[(page - 1) * per_page : page * per_page]
    return {"validators": part, "count": str(len(part)), "total": str(len(listed))}


def block_id(each):
    parts = {"total": each.parts, "hash": each.parts_hash.hex().upper()}
    return {"hash": each.hash.hex().upper(), "parts": parts}


def time_text(moment):
    day = datetime.fromtimestamp(moment.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{day}.{moment.nanos:09}Z"


class FakeRpc:
    """CometBFT's JSON-RPC without a socket; what it has to say a test writes into its fields.

    Parameters
    ----------
    lights
        By height; asked for another one it has none yet.
    """

    def __init__(self, lights=None):
        self.lights = {} if lights is None else lights
        self.taken = []  # every transaction that was handed over, as often as it was
        self.asked = []  # every call
        self.full, self.dead = False, False
        self.known = set()
        self.per_page = 100
        self.peers, self.catching_up = [], False
        self.heard = threading.Condition()

    def __call__(self):
        """Connect once more."""
        return self

    def close(self):
        """Hang up."""

    def broadcast(self, wires):
        self._answer("broadcast", {})
        with self.heard:
            self.taken += wires
            self.heard.notify_all()
        return [
            None if wire in self.known or not self.full else RetryLaterError("full")
            for wire in wires
        ]

    def call(self, method, **parameters):
        self._answer(method, parameters)
        match method:
            case "commit":
                return commit_json(self._light(parameters["height"]))
            case "validators":
                page, most = int(parameters["page"]), int(parameters["per_page"])
                light = self._light(parameters["height"])
                return validators_json(light, page, min(self.per_page, most))
            case "net_info":
                return {"peers": [{"node_info": {"id": each}} for each in self.peers]}
            case "status":
                return {"sync_info": {"catching_up": self.catching_up}}
        raise RpcError(method)

    def wait_for(self, count):
        """Wait until so many transactions were handed over."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.taken) >= count, 30)

    def _answer(self, method, parameters):
        self.asked.append((method, parameters))
        if self.dead:
            raise UnavailableError("CometBFT does not answer")

    def _light(self, height):
        if int(height) not in self.lights:
            raise RpcError(f"height {height} must be less than or equal to the current height")
        return self.lights[int(height)]
