"""Two votes of one validator that are at odds, signed for real, as CometBFT takes them."""

import hashlib
import tomllib
from base64 import b64encode

from tallystick.consensus.cometbft.rpc import CometRpc
from tallystick.consensus.cometbft.rpc_json import parse_time
from tallystick.consensus.cometbft.validators import address_of
from tallystick.crypto import keys
from tallystick.crypto.votes import PRECOMMIT, BlockId, Vote, sign_bytes
from tallystick.federation.key_file import load_keyring
from tallystick.ledger.genesis import engine_chain_id
from tallystick.ledger.messages import Equivocate


def comet_url(consortium, name):
    """Return where a node's CometBFT answers."""
    text = (consortium.node(name) / "cometbft" / "config" / "config.toml").read_text("utf-8")
    return tomllib.loads(text)["rpc"]["laddr"].replace("tcp://", "http://")


def comet(consortium, name):
    """Return a connection to a node's CometBFT."""
    return CometRpc(comet_url(consortium, name))


class DoubleVote:
    """Two precommits of a member's validator at a height, for blocks that nobody proposed."""

    def __init__(self, consortium, name, height, rpc):
        secret = load_keyring(consortium.home(name)).validator[0]
        chain = engine_chain_id(consortium.genesis)
        self.name, self.height = name, height
        self.address = address_of(keys.public_of(secret)).hex().upper()
        self.time = rpc.call("commit", height=str(height))["signed_header"]["header"]["time"]
        blocks = sorted(
            (BlockId(_digest(name, height, each), 1, _digest(each)) for each in ("one", "other")),
            key=lambda block: block.hash,
        )
        self.votes = tuple(
            Vote(PRECOMMIT, height, 0, block, parse_time(self.time)) for block in blocks
        )
        self.signatures = tuple(
            keys.unsafe_sign_raw(secret, sign_bytes(vote, chain)) for vote in self.votes
        )

    @property
    def message(self):
        """What convicts on the ledger."""
        return Equivocate(self.name, self.votes, self.signatures)

    def evidence(self, power=10, total=40):
        """Return the evidence in CometBFT's JSON."""
        one, other = (
            {
                "type": vote.kind,
                "height": str(self.height),
                "round": vote.round,
                "block_id": {
                    "hash": vote.block.hash.hex().upper(),
                    "parts": {"total": 1, "hash": vote.block.parts_hash.hex().upper()},
                },
                "timestamp": self.time,
                "validator_address": self.address,
                "validator_index": 0,
                "signature": b64encode(signature).decode(),
            }
            for vote, signature in zip(self.votes, self.signatures, strict=True)
        )
        return {
            "type": "tendermint/DuplicateVoteEvidence",
            "value": {
                "vote_a": one,
                "vote_b": other,
                "TotalVotingPower": str(total),
                "ValidatorPower": str(power),
                "Timestamp": self.time,
            },
        }


def _digest(*parts):
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
