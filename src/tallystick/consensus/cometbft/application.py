"""What CometBFT asks, answered by a replica: ABCI 2.0 as methods from message to message."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from tallystick.codec import decode, encode
from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.replica import CannotJudgeError, receipt_hash
from tallystick.consensus.cometbft.snapshots import RETRY, SnapshotInfo
from tallystick.consensus.cometbft.validators import address_of, founding_validators
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import DecodeError, InvariantError, TallyError
from tallystick.ledger.contracts import members, validators
from tallystick.ledger.genesis import engine_chain_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tallystick.consensus.cometbft.replica import Replica
    from tallystick.consensus.cometbft.snapshots import Snapshots

__all__ = ["Application"]

LOG = logging.getLogger(__name__)
ACCEPT, REJECT = 1, 2
RECHECK = 1
FILTER_BY_ID = "/p2p/filter/id/"
FILTER = "/p2p/filter/"
REFUSED, FULL = 1, 2  # codes of this protocol, beside the ledger's own
EQUIVOCATION = 1


class Application:
    """Answers CometBFT.

    Parameters
    ----------
    replica
        The ledger.
    snapshots
        Keeps what newcomers begin with, and takes in what this node begins with.
    accuse
        Called with the height of a block in which CometBFT found that a validator voted twice.
    blame
        Called with the address of the proposer, the height, what is wrong with the block it
        proposed, and the block's transactions.
    """

    def __init__(
        self,
        replica: Replica,
        snapshots: Snapshots,
        accuse: Callable[[int], None] | None = None,
        blame: Callable[[bytes, int, str, list[bytes]], None] | None = None,
    ) -> None:
        """Bind questions to answers."""
        self._replica = replica
        self._snapshots = snapshots
        self._accuse = accuse
        self._blame = blame
        self._answers: dict[str, Callable[..., Message]] = {
            "echo": _echo,
            "flush": _nothing,
            "info": self._info,
            "init_chain": self._init_chain,
            "query": self._query,
            "check_tx": self._check_tx,
            "prepare_proposal": self._prepare_proposal,
            "process_proposal": self._process_proposal,
            "extend_vote": _nothing,
            "verify_vote_extension": _accept,
            "finalize_block": self._finalize_block,
            "commit": self._commit,
            "list_snapshots": self._list_snapshots,
            "offer_snapshot": self._offer_snapshot,
            "load_snapshot_chunk": self._load_snapshot_chunk,
            "apply_snapshot_chunk": self._apply_snapshot_chunk,
        }

    def answer(self, request: abci.Request) -> abci.Response:
        """Answer a request; what cannot be answered is an exception, which stops CometBFT."""
        kind = request.WhichOneof("value")
        response = abci.Response()
        if kind is None:
            response.exception.error = "this is not in ABCI 2.0"
            return response
        try:
            made = self._answers[kind](getattr(request, kind))
            getattr(response, kind).CopyFrom(made)
        except TallyError as error:
            LOG.error("no answer to %s: %s", kind, error)  # noqa: TRY400 - foreseen
            response.exception.error = f"{kind}: {error}"
        except Exception as error:
            LOG.exception("no answer to %s", kind)
            response.exception.error = f"{kind}: {error}"
        return response

    # --- the ledger -----------------------------------------------------------------------------

    def _info(self, asked: abci.InfoRequest) -> abci.InfoResponse:
        replica = self._replica
        LOG.info("CometBFT %s speaks ABCI %s", asked.version, asked.abci_version)
        with replica.lock:
            head = replica.head
            return abci.InfoResponse(
                data=replica.genesis.name,
                app_version=members.protocol(replica.state),
                last_block_height=head.height,
                last_block_app_hash=head.state_root if head.height else b"",
            )

    def _init_chain(self, asked: abci.InitChainRequest) -> abci.InitChainResponse:
        genesis, head = self._replica.genesis, self._replica.head
        chain = self._replica.kernel.chain
        expected = {each.public: each.power for each in founding_validators(genesis)}
        found = {each.pub_key.ed25519: each.power for each in asked.validators}
        if asked.chain_id != engine_chain_id(genesis) or head.height:
            msg = f"CometBFT begins the chain '{asked.chain_id}', and this is another ledger"
            raise InvariantError(msg)
        if found != expected or json.loads(asked.app_state_bytes) != {"genesis": chain.hex()}:
            msg = "CometBFT's genesis file does not begin as the ledger's genesis does"
            raise InvariantError(msg)
        return abci.InitChainResponse(app_hash=head.state_root)

    def _check_tx(self, asked: abci.CheckTxRequest) -> abci.TxResult:
        error = self._replica.check(asked.tx, again=asked.type == RECHECK)
        if error is None:
            return abci.TxResult()
        code = FULL if isinstance(error, RetryLaterError) else error.code or REFUSED
        return abci.TxResult(code=code, log=str(error))

    def _prepare_proposal(self, asked: abci.PrepareProposalRequest) -> abci.PrepareProposalResponse:
        chosen = self._replica.propose(_milliseconds(asked.time), list(asked.txs))
        return abci.PrepareProposalResponse(txs=chosen)

    def _process_proposal(self, asked: abci.BlockRequest) -> abci.Verdict:
        wires = list(asked.txs)
        try:
            wrong = self._replica.refusal(asked.height, _milliseconds(asked.time), wires)
        except CannotJudgeError as error:
            LOG.error("block %d is not judged: %s", asked.height, error)  # noqa: TRY400
            return abci.Verdict(status=REJECT)
        if not wrong:
            return abci.Verdict(status=ACCEPT)
        LOG.error("the block %d that was proposed is refused: %s", asked.height, wrong)
        if self._blame:
            self._blame(asked.proposer_address, asked.height, wrong, wires)
        return abci.Verdict(status=REJECT)

    def _finalize_block(self, asked: abci.BlockRequest) -> abci.FinalizeBlockResponse:
        decided = self._replica.finalize(asked.height, _milliseconds(asked.time), list(asked.txs))
        if self._accuse and any(each.type == EQUIVOCATION for each in asked.misbehavior):
            self._accuse(asked.height)
        for each in asked.misbehavior:
            if each.type != EQUIVOCATION:
                who = each.validator.address.hex()
                LOG.error("validator %s took part in an attack at height %d", who, each.height)
        response = abci.FinalizeBlockResponse(app_hash=decided.outcome.header.state_root)
        for receipt in decided.outcome.receipts:
            response.tx_results.add(code=receipt.code, data=receipt_hash(receipt))
        for public, power in decided.outcome.validator_updates:
            response.validator_updates.add(pub_key=abci.PublicKey(ed25519=public), power=power)
        if decided.version is not None:
            response.consensus_param_updates.version.app = decided.version
        return response

    def _commit(self, _: abci.Nothing) -> abci.CommitResponse:
        self._replica.commit()
        self._snapshots.after(self._replica.head)
        return abci.CommitResponse()

    def _query(self, asked: abci.QueryRequest) -> abci.QueryResponse:
        """Say which peers may connect: those whose key is a member's validator key."""
        if asked.path.startswith(FILTER_BY_ID):
            keys = validators.validator_keys(self._replica.state.reader())
            known = {address_of(public).hex() for _, public in keys}
            if asked.path.removeprefix(FILTER_BY_ID) not in known:
                return abci.QueryResponse(code=REFUSED, log="no member's validator key")
        elif not asked.path.startswith(FILTER):
            return abci.QueryResponse(code=REFUSED, log="ask the node over HTTP")
        return abci.QueryResponse()

    # --- snapshots ------------------------------------------------------------------------------

    def _list_snapshots(self, _: abci.Nothing) -> abci.ListSnapshotsResponse:
        response = abci.ListSnapshotsResponse()
        for each in self._snapshots.listed():
            response.snapshots.add(
                height=each.height,
                format=each.format,
                chunks=len(each.parts),
                hash=each.hash,
                metadata=encode(each),
            )
        return response

    def _load_snapshot_chunk(
        self, asked: abci.LoadSnapshotChunkRequest
    ) -> abci.LoadSnapshotChunkResponse:
        chunk = self._snapshots.load(asked.height, asked.format, asked.chunk)
        return abci.LoadSnapshotChunkResponse(chunk=chunk)

    def _offer_snapshot(self, asked: abci.OfferSnapshotRequest) -> abci.OfferSnapshotResponse:
        offered = asked.snapshot
        told = (offered.height, offered.format, offered.chunks)
        try:
            info = decode(SnapshotInfo, offered.metadata)
        except DecodeError:
            info = None
        if info is not None and told != (info.height, info.format, len(info.parts)):
            info = None
        verdict = self._snapshots.offer(info, offered.hash, asked.app_hash)
        return abci.OfferSnapshotResponse(result=verdict)

    def _apply_snapshot_chunk(
        self, asked: abci.ApplySnapshotChunkRequest
    ) -> abci.ApplySnapshotChunkResponse:
        verdict = self._snapshots.apply(asked.index, asked.chunk)
        response = abci.ApplySnapshotChunkResponse(result=verdict)
        if verdict == RETRY:  # others may have the chunk that was promised
            response.refetch_chunks.append(asked.index)
            response.reject_senders.append(asked.sender)
        return response


def _echo(asked: abci.Echo) -> abci.Echo:
    return abci.Echo(message=asked.message)


def _nothing(_: abci.Nothing) -> abci.Nothing:
    return abci.Nothing()


def _accept(_: abci.Nothing) -> abci.Verdict:
    return abci.Verdict(status=ACCEPT)


def _milliseconds(moment: abci.Moment) -> int:
    return moment.seconds * 1000 + moment.nanos // 1_000_000
